/** Findings in recorded steps: each on a capture made for it, with a healthy twin and one that comes back by itself. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { followCaptures } from '../../src/app/engine/follow-captures.ts';
import type { STEP_FINDINGS } from '../../src/judge/findings/registry.ts';
import { readThresholds, resolveThresholds } from '../../src/judge/findings/thresholds.ts';
import type { Finding } from '../../src/model/finding.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { normals } from '../detectors/runs.ts';
import { cli } from '../support/cli.ts';

type Id = keyof typeof STEP_FINDINGS;

/** A run of a table of 20 rows of 2 and a kernel of 60, whose gradients are noise of size 1 times what a function says. */
interface Made {
  readonly optimizer: Readonly<Record<string, string | number | boolean>> & { readonly name: string };
  readonly steps?: number;
  /** Number of the first step, default 0. */
  readonly from?: number;
  /** Every entry of Adam's m and v before the first step; left out, nothing is stored. */
  readonly moments?: number;
  readonly clipping?: { readonly rule: string; readonly maxNorm: number };
  /** Times the gradient of entry `entry` of a tensor (0 the table, 1 the kernel) at a step. */
  size?(step: number, tensor: number, entry: number): number;
  loss?(step: number): number;
}

const written = new Map<Made, string>();
afterAll(() => {
  for (const folder of written.values()) rmSync(folder, { recursive: true, force: true });
});

/** The folder of the capture; written once for a run. */
async function captureOf(made: Made): Promise<string> {
  const known = written.get(made);
  if (known !== undefined) return known;
  const { optimizer, steps = 80, from = 0, moments, clipping, size = () => 1, loss = () => 1 } = made;
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-steps-'));
  written.set(made, folder);
  const normal = normals(5);
  const parameters = [
    { name: 'table', shape: [20, 2], layout: 'none', embedding: true },
    { name: 'kernel', shape: [6, 10], layout: 'IO', embedding: false },
  ] as const;
  const writer = await createCapture(
    folder,
    {
      framework: 'pytorch',
      optimizer: { learningRate: 0.01, ...optimizer } as never,
      ...(clipping === undefined ? {} : { clipping }),
      parameters,
    },
    [new Float32Array(40).fill(1), new Float32Array(60).fill(1)],
    [40, 60].map((length) =>
      moments === undefined
        ? {}
        : { m: new Float32Array(length).fill(moments), v: new Float32Array(length).fill(moments) },
    ),
  );
  for (let step = 0; step < steps; step++)
    await writer.step({
      step: from + step,
      learningRate: 0.01,
      loss: loss(step),
      gradients: [40, 60].map((length, t) => ({
        values: Float32Array.from({ length }, (_, i) => normal() * size(step, t, i)),
      })),
    });
  await writer.finish();
  return folder;
}

async function found(
  id: Id,
  made: Made,
  numbers: Readonly<Record<string, number>> = {},
): Promise<readonly Finding[]> {
  const { inForce } = resolveThresholds(readThresholds({ [id]: numbers }));
  const { outcomes, unread } = await followCaptures(
    [await openCapture(await captureOf(made))],
    inForce,
    () => {},
  );
  expect(unread).toEqual([]);
  const outcome = outcomes.get(id)!;
  return outcome.kind === 'fail' ? outcome.findings : [];
}

const ADAGRAD = { name: 'adagrad', initialAccumulatorValue: 0.1, epsilon: 1e-10 };
const ADAM = { name: 'adam', beta2: 0.99 };
const RMSPROP = { name: 'rmsprop', rho: 0.9 };
const surge = (times: number) => (step: number) => (step >= 40 && step < 44 ? times : 1);

const LAGGING: Made = { optimizer: ADAM, size: surge(200) };

const CASES: {
  readonly [I in Exclude<Id, 'empty-optimizer'>]: {
    readonly made: Made;
    readonly first: number;
    /** The same run without it. */
    readonly healthy: Made;
    /** What looks like it and is over by itself: no warning. */
    readonly recovers: Made;
    readonly thresholds: Readonly<Record<(typeof STEP_FINDINGS)[I]['thresholds'][number]['name'], number>>;
  };
} = {
  'accumulator-jump': {
    made: { optimizer: ADAGRAD, size: surge(200) },
    first: 40,
    healthy: { optimizer: ADAGRAD },
    recovers: { optimizer: RMSPROP, steps: 240, size: surge(200) },
    thresholds: { growth: 1000, share: 1, lost: 1, lag: 1e6 },
  },
  'second-moment-collapse': {
    made: {
      optimizer: RMSPROP,
      steps: 210,
      size: (step, t, entry) => (step >= 35 && step < 200 && t === 1 && entry < 45 ? 1e-3 : 1),
    },
    first: 200,
    healthy: {
      optimizer: RMSPROP,
      steps: 210,
      size: (step, t, entry) => (step >= 35 && t === 1 && entry < 45 ? 1e-3 : 1),
    },
    // The gradients come back slowly enough for v to follow.
    recovers: {
      optimizer: RMSPROP,
      steps: 320,
      size: (step) => (step < 35 ? 1 : step < 200 ? 1e-3 : Math.min(1, 1e-3 * 1.07 ** (step - 200))),
    },
    thresholds: { fall: 1e6, raise: 1e3, share: 1 },
  },
  'who-paid': {
    made: {
      optimizer: { name: 'sgd' },
      clipping: { rule: 'global-norm', maxNorm: 1 },
      size: (step, tensor, entry) => (step >= 40 && tensor === 0 && entry < 2 ? 1000 : 1),
    },
    first: 40,
    // As hard a clip, on a gradient that is large everywhere.
    healthy: {
      optimizer: { name: 'sgd' },
      clipping: { rule: 'global-norm', maxNorm: 1 },
      size: (step) => (step >= 40 ? 100 : 1),
    },
    recovers: {
      optimizer: { name: 'sgd' },
      clipping: { rule: 'global-norm', maxNorm: 1 },
      size: (step, tensor, entry) => (step === 40 && tensor === 0 && entry < 2 ? 1000 : 1),
    },
    thresholds: { share: 1, few: 0.01, kept: 1e-6, steps: 1000 },
  },
};

describe.each(Object.keys(CASES) as (keyof typeof CASES)[])('%s', (id) => {
  const { made, first, healthy, recovers, thresholds } = CASES[id];

  it('is found where it is, with its step, a number and a place', async () => {
    const [finding] = await found(id, made);
    expect(finding).toMatchObject({ id, severity: 'warning' });
    expect(finding!.steps![0]).toBe(first);
    expect(finding!.measured!.value).toBeGreaterThan(0);
    expect(finding!.locations.length).toBeGreaterThan(0);
    expect(finding!.message).not.toMatch(/undefined|NaN|null/);
  });
  it('is not found in the healthy twin, and is no warning where it comes back', async () => {
    expect(await found(id, healthy)).toEqual([]);
    expect((await found(id, recovers)).filter(({ severity }) => severity !== 'note')).toEqual([]);
  });
  it.each(Object.entries(thresholds))('threshold %s changes something', async (name, value) => {
    // Only a mean lags.
    const one = name === 'lag' ? LAGGING : made;
    const before = (await found(id, one)).map(({ severity, message }) => [severity, message]);
    expect(
      (await found(id, one, { [name]: value })).map(({ severity, message }) => [severity, message]),
    ).not.toEqual(before);
  });
});

it('Adam, whose second moment follows slowly, lags where Adagrad would jump', async () => {
  const [finding, ...more] = await found('accumulator-jump', { optimizer: { name: 'adam' }, size: surge(5) });
  expect(more).toEqual([]);
  expect(finding).toMatchObject({ severity: 'note', steps: [40, 43] });
  expect(finding!.message).toContain("Adam's second moment lags behind the gradients at 4 steps");
  // g = 5 against v̂ of 1: √(25/(1 + 24·0.001/(1 − 0.999⁴¹))) at most, and noise.
  expect(finding!.measured!.value).toBeGreaterThan(2.3);
  expect(finding!.measured!.value).toBeLessThan(5.5);
  expect(await found('accumulator-jump', { optimizer: { name: 'adam' } })).toEqual([]);
});

it('a mean that took a huge gradient warns where it forgets it in more steps than the capture goes on', async () => {
  const told = async (steps: number) => {
    const made: Made = { optimizer: RMSPROP, size: surge(200), steps };
    const found_ = (await found('accumulator-jump', made)).find(({ message }) => message.includes('jumps'));
    return [found_!.severity, Number(/forgets it in (\d+) steps/.exec(found_!.message)?.[1] ?? 0)] as const;
  };
  const [severity, steps] = await told(60);
  expect(severity).toBe('warning');
  // Four squares of 200² weigh 1 − 0.9⁴, so that the root was 117 times as large; 16 steps later it is 50 times, and twice after 61 more.
  expect(steps).toBeGreaterThan(55);
  expect(steps).toBeLessThan(67);
  // Here it has forgotten half, and takes 27 steps more where 51 were recorded.
  expect((await told(95))[0]).toBe('note');
});

it('the effective rate that is left is that of the sums: 40 squares of 1, then 4 of 200', async () => {
  const [finding] = await found('accumulator-jump', { optimizer: ADAGRAD, size: surge(200), steps: 44 });
  const percent = Number(/effective rate is ([\d.]+) % of/.exec(finding!.message)![1]);
  // √(40/(4·200²)) is 1.6 %; the mean logarithm of a sum of four squares of noise is below that of its mean.
  expect(percent).toBeGreaterThan(1.5);
  expect(percent).toBeLessThan(2.5);
});

it('an optimizer that had taken no step where the run goes on is noted', async () => {
  const adam: Made = { optimizer: ADAM, steps: 3 };
  const of = async (made: Partial<Made>) =>
    (await found('empty-optimizer', { ...adam, ...made })).map(({ severity, message, steps }) => [
      severity,
      message,
      steps,
    ]);
  expect(await of({ from: 150, moments: 0 })).toEqual([
    [
      'note',
      "the optimizer's state before step 150, the first recorded one, is that of a beginning: it had taken no step",
      [150, 150],
    ],
  ]);
  // PyTorch stores nothing for an optimizer that took no step; neither does a recorder that leaves the state out.
  expect(await of({ from: 150 })).toEqual([
    [
      'note',
      expect.stringMatching(/^the capture stores no state .* before step 150, .* not recorded$/),
      [150, 150],
    ],
  ]);
  // Resumed with its state; the first step of a run; an optimizer without state.
  expect(await of({ from: 150, moments: 1e-3 })).toEqual([]);
  for (const from of [0, 1]) expect(await of({ from, moments: 0 })).toEqual([]);
  expect(await of({ from: 150, optimizer: { name: 'sgd' } })).toEqual([]);
});

it('a gate takes it as a rule, and says where nothing could be looked at', async () => {
  const fails = await cli([
    'gate',
    await captureOf(CASES['who-paid'].made),
    '--rule',
    'who-paid',
    '--no-config',
  ]);
  expect(fails.out).toMatch(/FAIL {2}who-paid {2}.*row of "table" \(0\) hold/);
  expect(fails.code).toBe(1);
  const calm = await captureOf({ optimizer: { name: 'sgd' } });
  const none = await cli(['gate', calm, '--rule', 'who-paid', '--no-config']);
  expect(none.out).toContain('no clip by the norm of all gradients was on while recording');
});

it('the update norms of a capture are read where no log has any', async () => {
  const path = await captureOf({
    optimizer: { name: 'sgd' },
    size: (step) => (step === 60 ? 50 : 1),
    loss: (step) => (step === 62 ? 5 : 1 + 0.01 * Math.sin(step)),
  });
  const { out } = await cli(['analyze', path, '--json']);
  const finding = JSON.parse(out).runs[0].findings.find(({ id }: Finding) => id === 'update-norm-spike');
  expect(finding).toMatchObject({ severity: 'note', steps: [60, 60] });
  expect(finding.message).toContain('"loss" spikes at step 62');
  expect(finding.locations[0].path).toContain('clippy-diag-steps-');
});
