/** What a gate looks at beside logs: checkpoints and captures, as `analyze` does, and without a budget. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('gate-evidence');
const healthy = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');

type Tensors = Readonly<Record<string, readonly number[]>>;

/** A folder with a healthy log and checkpoints by their steps. */
async function runFolder(checkpoints: Readonly<Record<number, Tensors>>): Promise<string> {
  const at = folder();
  copyFileSync(healthy, join(at, 'log.jsonl'));
  for (const [step, tensors] of Object.entries(checkpoints))
    await writeSafetensors(
      join(at, `step-${step}.safetensors`),
      Object.entries(tensors).map(([name, values]) => ({
        name,
        shape: [values.length],
        dtype: 'F32' as const,
        values: Float32Array.from(values),
      })),
    );
  return at;
}

/** The codes of the three routes to one answer. */
async function threeRoutes(at: string): Promise<(number | null)[]> {
  const saved = join(folder(), 'report.json');
  const analyzed = await cli(['analyze', at, '--fail-on', 'error', '--report', `json:${saved}`]);
  return [analyzed.code, (await cli(['gate', at])).code, (await cli(['gate', saved])).code];
}

const WHOLE = { 'dense.weight': [1, 2, 3], 'dense.bias': [1, 1] };
const BROKEN = { 'dense.weight': [1, Number.NaN, 3], 'dense.bias': [1, 1.5] };

describe('checkpoints', () => {
  test('weights that are NaN fail every route, and sound ones pass every route', async () => {
    expect(await threeRoutes(await runFolder({ 100: WHOLE, 200: BROKEN }))).toEqual([1, 1, 1]);
    expect(
      await threeRoutes(await runFolder({ 100: WHOLE, 200: { ...WHOLE, 'dense.bias': [2, 1] } })),
    ).toEqual([0, 0, 0]);
    expect(await threeRoutes(await runFolder({ 200: BROKEN }))).toEqual([1, 1, 1]);
    expect(await threeRoutes(await runFolder({}))).toEqual([0, 0, 0]);
  });

  test('the one line of --quiet calls no run healthy whose weights are NaN', async () => {
    const line = async (at: string): Promise<string> => (await cli(['analyze', at, '--quiet'])).out;
    expect(await line(await runFolder({ 200: BROKEN }))).toMatch(
      /^healthy by its loss, but non-finite-tensor: .*\n$/,
    );
    expect(await line(await runFolder({ 200: WHOLE }))).toMatch(/^healthy: .*\n$/);
  });

  test('the gate names the tensor and where to go back to', async () => {
    const at = await runFolder({ 100: WHOLE, 200: BROKEN });
    const { out } = await cli(['gate', at, '--json']);
    const { gate } = JSON.parse(out) as Report;
    const rule = gate!.rules.find(({ id }) => id === 'non-finite-tensor')!;
    expect(rule).toMatchObject({ passed: false, status: 'fail', found: 1, step: 100 });
    expect(rule.message).toContain('"dense.weight" became non-finite between step 100 and step 200');
    expect(rule.locations).toEqual([{ path: join(at, 'step-200.safetensors'), tensor: 'dense.weight' }]);
  });

  test('any of their findings is a rule', async () => {
    const at = await runFolder({
      100: { 'param/w': [1], 'state/accumulator/w': [9] },
      200: { 'param/w': [2], 'state/accumulator/w': [1] },
    });
    expect((await cli(['gate', at])).code).toBe(0);
    expect((await cli(['gate', at])).out).toContain('warn  accumulator-reset');
    expect((await cli(['gate', at, '--rule', 'accumulator-reset'])).code).toBe(1);
    expect((await cli(['gate', at, '--rule', 'parameter-norm-jump'])).code).toBe(0);
  });

  test('a file that is damaged is no passed gate', async () => {
    const at = await runFolder({ 100: WHOLE, 200: WHOLE });
    const path = join(at, 'step-200.safetensors');
    writeFileSync(path, readFileSync(path).subarray(0, -4));
    expect(await threeRoutes(at)).toEqual([3, 3, 3]);
  });

  test('a report whose budget left checkpoints unread cannot pass, though nothing is missing that may be skipped', async () => {
    const at = await runFolder({ 100: WHOLE, 200: WHOLE });
    const saved = join(folder(), 'report.json');
    let now = Date.now();
    // A second passes with every look at the clock: there is no time for the second checkpoint.
    await cli(['analyze', at, '--budget', '1', '--report', `json:${saved}`], {
      io: { now: () => (now += 1000) },
    });
    const result = await cli(['gate', saved]);
    expect([result.code, result.out]).toEqual([
      4,
      expect.stringContaining('were neither summed nor measured'),
    ]);
    // The gate itself takes the time that it needs.
    expect((await cli(['gate', at], { io: { now: () => (now += 1000) } })).code).toBe(0);
  });

  test('are not read where no rule asks for what they hold, and the gate says so', async () => {
    const at = await runFolder({ 100: WHOLE, 200: BROKEN });
    const result = await cli(['gate', at, '--rule', 'full-divergence', '--no-config']);
    expect(result).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /skip {2}checkpoints {2}left out: 2 of them were not read: no rule/,
      ) as string,
    });
    expect(
      (await cli(['baseline', 'update', at, '--allow-outside', '--file', join(folder(), 'base.json')])).code,
    ).toBe(0);
  });

  test('a report that does not say whether it looked at them cannot pass', async () => {
    const saved = join(folder(), 'report.json');
    await cli(['analyze', healthy, '--report', `json:${saved}`]);
    const report = JSON.parse(readFileSync(saved, 'utf8')) as Report;
    const run = report.runs[0]!;
    const notRun = run.notRun.filter(({ id }) => id !== 'non-finite-tensor');
    const judged = async (change: object): Promise<number | null> => {
      writeFileSync(saved, JSON.stringify({ ...report, runs: [{ ...run, ...change }] }));
      return (await cli(['gate', saved])).code;
    };
    expect([await judged({}), await judged({ notRun }), await judged({ detectorsRun: undefined })]).toEqual([
      0, 4, 4,
    ]);
  });
});

describe('captures', () => {
  const capture = join(projectRoot, 'fixtures/captures/micro-divergence');
  const wrong = (): string => {
    const at = folder();
    mkdirSync(join(at, 'capture'));
    cpSync(capture, join(at, 'capture'), { recursive: true });
    const path = join(at, 'capture/capture.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as { optimizer: Record<string, unknown> };
    manifest.optimizer.weightDecay = 0.05;
    writeFileSync(path, JSON.stringify(manifest));
    return at;
  };

  test('one that does not hold the run that it says is found by the gate, as by analyze', async () => {
    const at = wrong();
    const saved = join(folder(), 'report.json');
    await cli(['analyze', at, '--budget', '0', '--report', `json:${saved}`]);
    for (const path of [at, saved]) {
      const { out, code } = await cli(['gate', path, '--rule', 'capture-mismatch', '--no-config']);
      expect([code, out]).toEqual([1, expect.stringContaining('FAIL  audit  ')]);
    }
    const sound = await cli(['gate', capture, '--rule', 'capture-mismatch', '--no-config']);
    expect(sound.out).toContain('pass  audit');
  });

  test('are not replayed, and the gate says so', async () => {
    const { out } = await cli(['gate', capture]);
    expect(out).toMatch(/skip {2}replay {2}left out: a gate replays no capture and measures no curvature/);
    const unasked = await cli(['gate', wrong(), '--rule', 'full-divergence', '--no-config']);
    expect(unasked.out).toMatch(/skip {2}captures {2}left out: 1 of them were not followed/);
  });
});

describe('why', () => {
  const log = (jump: number, lost: number): string => {
    const path = join(folder(), 'log.jsonl');
    const lines = Array.from({ length: 300 }, (_, step) =>
      JSON.stringify({
        step,
        loss: (2 + 0.01 * Math.sin(7 * step)) * (step >= lost ? 30 : 1),
        learning_rate: step >= jump ? 0.04 : 0.001,
      }),
    );
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };
  const failed = async (path: string): Promise<string> => {
    const { out, code } = await cli(['gate', path, '--rule', 'full-divergence', '--no-config']);
    expect(code).toBe(1);
    return out.split('\n').find((line) => line.includes('FAIL'))!;
  };

  test('a rule that fails by an incident says its cause, and none where none is known', async () => {
    expect(await failed(log(199, 200))).toContain(
      'Why: likely because the learning rate rose; the learning rate rises 40-fold to 0.04 at step 199',
    );
    expect(await failed(log(1000, 200))).not.toContain('Why');
    // Long before is no cause.
    expect(await failed(log(120, 200))).not.toContain('Why');
  });
  test('the saved report of the same log says the same', async () => {
    const path = log(199, 200);
    const saved = join(folder(), 'report.json');
    await cli(['analyze', path, '--report', `json:${saved}`]);
    expect(await failed(saved)).toBe(await failed(path));
  });
});
