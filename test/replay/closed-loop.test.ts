/** Closed loops of the shipped captures against PyTorch's own runs of the same rules (fixtures/make/closed_loop_oracle.py). */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runClosedLoop } from '../../src/experiment/measure/closed-loop.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import {
  type ClosedLoopState,
  checkBaseline,
  replayClosedLoop,
} from '../../src/experiment/replay/closed-loop.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Oracle {
  readonly steps: number[];
  readonly rules: readonly {
    readonly rule: string;
    readonly float32: { verdict: string; loss: unknown[]; minClipFactor: unknown[] };
    readonly float64: { verdict: string };
  }[];
}
const CAPTURES = [
  'incident/capture',
  'captures/embedding',
  'captures/seed-2',
  'captures/micro-divergence',
  'captures/nan',
];
const path = (name: string): string => join(projectRoot, 'fixtures', name);
const oracleOf = (name: string): Oracle =>
  JSON.parse(
    readFileSync(
      path(name === 'incident/capture' ? 'oracles/incident-closed-loop.json' : `${name}/closed-loop.json`),
      'utf8',
    ),
  ) as Oracle;

async function run(
  name: string,
  rules: readonly string[],
  more: Partial<Parameters<typeof replayClosedLoop>[0]> = {},
) {
  const capture = await openCapture(path(name));
  const model = await openCaptureModel(capture, undefined, {});
  return replayClosedLoop({
    capture,
    model,
    rules: rules.flatMap(parseRule),
    batch: (index) => captureBatch(capture, index),
    ...more,
  });
}

const relative = (found: number, expected: number): number =>
  Object.is(found, expected) ? 0 : Math.abs(found - expected) / Math.max(1e-12, Math.abs(expected));

/** Whether the long project runs this. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;
/** Trained to their end in both projects; the others for ten steps in the fast one. */
const WHOLE = ['incident/capture', 'captures/nan'];

describe.each(LONG ? CAPTURES.filter((name) => !WHOLE.includes(name)) : CAPTURES)('%s', (name) => {
  const toItsEnd = LONG || WHOLE.includes(name);
  const verdicts = toItsEnd ? ', and the verdicts where both precisions agree' : '';
  it(`first ten losses and factors are PyTorch’s${verdicts}`, async () => {
    const oracle = oracleOf(name);
    const { entries, baseline } = await run(
      name,
      oracle.rules.map((r) => r.rule),
      toItsEnd ? {} : { steps: 10 },
    );
    expect(baseline).toMatchObject({ follows: true });
    expect(baseline.firstSteps).toBeLessThan(1e-4);
    let agreed = 0;
    for (const [r, expected] of oracle.rules.entries()) {
      const entry = entries[r]!;
      const steps = toItsEnd ? oracle.steps : oracle.steps.slice(0, 10);
      expect(entry.steps).toEqual(steps);
      expect(entry.loss).toHaveLength(steps.length);
      for (let i = 0; i < 10; i++) {
        expect(
          relative(entry.loss![i]!, numberFromJson(expected.float32.loss[i])!),
          `${expected.rule} loss ${i}`,
        ).toBeLessThan(1e-3);
        expect(
          relative(entry.minClipFactor[i]!, numberFromJson(expected.float32.minClipFactor[i])!),
          `${expected.rule} factor ${i}`,
        ).toBeLessThan(1e-3);
      }
      if (!toItsEnd || expected.float32.verdict !== expected.float64.verdict) continue;
      // The oracle judges by the run's own losses; where one is left above the usual we do not say that it prevents.
      if (expected.float32.verdict === 'prevented' && / where up to .* was usual$/.test(entry.why)) {
        expect(entry.verdict).toBe('cannot-tell');
        continue;
      }
      agreed++;
      expect(entry.verdict, `${expected.rule}: ${entry.why}`).toBe(expected.float32.verdict);
      expect(entry.confidence).toBe('exact');
    }
    if (toItsEnd) expect(agreed).toBeGreaterThan(3);
  });
});

it('goes on from any interruption to the same result, having lost at most the step it was in', async () => {
  const rules = ['none', 'global-norm:1.0', 'clippy'];
  const whole = await run('captures/seed-2', rules, { steps: 10 });
  for (const stopAfter of [0, 9, 20]) {
    let saved: string | undefined;
    let count = 0;
    const interrupted = run('captures/seed-2', rules, {
      steps: 10,
      checkpoint: async (state) => {
        // What is written to disk is a copy; the live state goes on.
        saved = JSON.stringify(state(), (_key, value: unknown) =>
          value instanceof Float32Array ? { f32: [...value] } : value,
        );
        if (count++ === stopAfter) throw new Error('killed');
      },
    });
    await interrupted.catch((error: Error) => expect(error.message).toBe('killed'));
    const resume = JSON.parse(saved!, (_key, value: { f32?: number[] } | null) =>
      value?.f32 === undefined ? value : Float32Array.from(value.f32),
    ) as ClosedLoopState;
    let steps = 0;
    const { entries } = await run('captures/seed-2', rules, {
      steps: 10,
      resume,
      checkpoint: async () => void steps++,
    });
    expect(entries).toEqual(whole.entries);
    expect(steps).toBeLessThanOrEqual(2 * 10 + 10 - (stopAfter + 1));
  }
});

it('a smaller learning rate is another run, and the baseline keeps the recorded one', async () => {
  const { entries, baseline } = await run('captures/seed-2', ['none'], { learningRateMultipliers: [0.1] });
  expect(baseline.follows).toBe(true);
  expect(entries[0]!.learningRateMultiplier).toBe(0.1);
  expect(
    entries[0]!.updateNorm[0]! / (await run('captures/seed-2', ['none'])).entries[0]!.updateNorm[0]!,
  ).toBeCloseTo(0.1, 5);
});

it('several rules train on as one: with none beside it a rule takes the same steps', async () => {
  const { entries } = await run(
    'captures/seed-2',
    ['layer-norm:0.1', 'none+layer-norm:0.1', 'layer-norm:0.1+rms:0.01'],
    {
      steps: 4,
    },
  );
  const [alone, beside, more] = entries;
  expect(beside!.loss).toEqual(alone!.loss);
  expect(beside!.minClipFactor).toEqual(alone!.minClipFactor);
  expect(more!.rules!.map(({ label }) => label)).toEqual(['layer-norm:0.1', 'rms:0.01']);
  expect(more!.updateNorm[0]).toBeLessThan(alone!.updateNorm[0]!);
});

it('gives no verdict where it ends before the recorded incident', async () => {
  const { entries } = await run('captures/seed-2', ['clippy'], { steps: 5 });
  expect(entries[0]).toMatchObject({
    verdict: 'cannot-tell',
    why: 'the replay ends at step 394, before the incident that was recorded at step 400',
  });
  for (const task of entries[0]!.tasks!) expect(task.verdict).toBe('cannot-tell');
});

it('gives no verdict where the computed run does not follow the record', async () => {
  const { entries, baseline } = await run('captures/seed-2', ['clippy'], {
    batch: async (index) => captureBatch(await openCapture(path('captures/seed-2')), index + 1),
    steps: 10,
  });
  expect(baseline.follows).toBe(false);
  expect(entries[0]!.verdict).toBe('cannot-tell');
  expect(entries[0]!.why).toMatch(
    /at step \d+ where .* was recorded: the model, the batches or the optimizer/,
  );
});

it('checkBaseline: missing losses, NaN on both sides, the first departure', () => {
  expect(checkBaseline([1, 2], [null, null], [5, 6])).toMatchObject({ follows: false, departsAt: null });
  expect(checkBaseline([1, Number.NaN], [1, Number.NaN], [5, 6])).toMatchObject({
    follows: true,
    departsAt: null,
  });
  expect(checkBaseline([1, Number.NaN], [1, 2], [5, 6])).toMatchObject({ follows: false, departsAt: 6 });
  expect(checkBaseline([1, 1, 1, 1, 1, 2], [1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6])).toMatchObject({
    follows: true,
    departsAt: 6,
  });
});

it('checkBaseline: where the loss explodes its rounding may too, by as much, and to no more than 1 %', () => {
  // SGD at ten times its limit, recorded by another framework: 24053 and 24050 are the same step.
  const exploding = [5.692, 399.1, 24053];
  const check = (computed: readonly number[]) => checkBaseline(computed, exploding, [138, 139, 140], 2);
  expect(check([5.692, 399.1, 24050])).toMatchObject({ follows: true, departsAt: null });
  // At half of the rate, and another model: neither is rounding.
  expect(check([5.692, 150, 900])).toMatchObject({ follows: false });
  expect(check([5.7, 399.1, 24053])).toMatchObject({ follows: false });
  expect(check([5.692, 399.1, 24400])).toMatchObject({ follows: false });
  const calm = [5.692, 5.6, 5.5];
  expect(checkBaseline([5.692, 5.601, 5.5], calm, [138, 139, 140], 2)).toMatchObject({ follows: false });
});

it('checkBaseline: the losses up to the onset are checked, after it rounding grows', () => {
  const recorded = [1, 2, 40, 9000, 1e6];
  const computed = [1, 2, 40, 9100, 1.2e6];
  const numbers = [1, 2, 3, 4, 5];
  expect(checkBaseline(computed, recorded, numbers)).toMatchObject({ follows: false });
  expect(checkBaseline(computed, recorded, numbers, 2)).toMatchObject({ follows: true, departsAt: 4 });
  // One step is taken in any case: the first loss alone says nothing of the optimizer.
  expect(checkBaseline([1, 3], [1, 2], [1, 2], 0)).toMatchObject({ follows: false });
});

it('a state file carries a replay over an interruption, and refuses to serve another', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-state-'));
  const stateFile = join(folder, 'state.json');
  try {
    const capture = await openCapture(path('captures/nan'));
    const rules = ['none', 'clippy'].flatMap(parseRule);
    const options = { rules, stateFile, interval: 0, clock: () => Date.now() };
    // The rule `none` is the baseline and does not run again; this is the fifth step of the third run.
    const killedAt = 2 * capture.steps.length + 5;
    const whole = await runClosedLoop(capture, { rules, clock: Date.now });
    await expect(
      runClosedLoop(capture, {
        ...options,
        progress: (done) => {
          if (done === killedAt) throw new Error('killed');
        },
      }),
    ).rejects.toThrow('killed');
    expect(existsSync(stateFile)).toBe(true);
    await expect(runClosedLoop(capture, { ...options, rules: parseRule('none') })).rejects.toMatchObject({
      code: 'closed-loop-state',
    });
    const state = readFileSync(stateFile, 'utf8');
    const changed = join(folder, 'capture');
    cpSync(capture.path, changed, { recursive: true });
    const weights = readFileSync(join(changed, 'initial.safetensors'));
    weights[weights.length - 2]! ^= 1;
    writeFileSync(join(changed, 'initial.safetensors'), weights);
    await expect(runClosedLoop(await openCapture(changed), options)).rejects.toThrow(/another replay/);
    const digit = state.indexOf('float32') + 20;
    writeFileSync(
      stateFile,
      `${state.slice(0, digit)}${state[digit] === 'A' ? 'B' : 'A'}${state.slice(digit + 1)}`,
    );
    await expect(runClosedLoop(capture, options)).rejects.toThrow(/it is damaged/);
    writeFileSync(stateFile, state);
    let first: number | undefined;
    const again = await runClosedLoop(capture, {
      ...options,
      progress: (done) => {
        first ??= done;
      },
    });
    // The step at which it was killed is lost, nothing before it.
    expect(first).toBe(killedAt);
    expect(again.entries).toEqual(whole.entries);
    expect(existsSync(stateFile)).toBe(false);
    for (const text of ['{"key":', 'null', 'null\n', '', state.slice(0, state.indexOf('\n'))]) {
      writeFileSync(stateFile, text);
      await expect(runClosedLoop(capture, options)).rejects.toMatchObject({ code: 'closed-loop-state' });
    }
    const nowhere = { ...options, stateFile: join(folder, 'none', 'state.json'), interval: 1e9 };
    await expect(runClosedLoop(capture, nowhere)).rejects.toMatchObject({ code: 'output-unwritable' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('a batch that does not fit is named by its file', async () => {
  const capture = await openCapture(path('incident/capture'));
  await expect(
    run('incident/capture', ['none'], {
      batch: async (index) => {
        const batch = new Map(await captureBatch(capture, index));
        if (index === 2) batch.delete('label/click');
        return batch;
      },
    }),
  ).rejects.toMatchObject({
    code: 'batch-missing',
    where: { path: join(path('incident/capture'), capture.steps[2]!.file) },
  });
});
