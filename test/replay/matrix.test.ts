/** Learning rate × rule × seed against PyTorch's own runs (fixtures/make/matrix_oracle.py), and at the command line. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { randomVectors } from '../../src/differentiate/curvature/random.ts';
import { runMatrix } from '../../src/experiment/measure/closed-loop.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { trainRuns } from '../../src/experiment/replay/closed-loop.ts';
import { batchOrder, trainMatrix } from '../../src/experiment/replay/matrix.ts';
import { onKernels } from '../../src/experiment/study/kernel-objective.ts';
import { endLevel, judgeLosses, largestEndLevel } from '../../src/judge/incidents/losses.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { renderMatrix } from '../../src/report/matrix-text.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const incident = join(projectRoot, 'fixtures/incident/capture');
const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-matrix-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function training(steps?: number) {
  const capture = await openCapture(incident);
  const model = await openCaptureModel(capture, undefined, {});
  const batch = (index: number) => captureBatch(capture, index);
  return { capture, model, batch, ...(steps === undefined ? {} : { steps }) };
}

it('first ten losses of each cell are PyTorch’s, and which cells diverge where both precisions agree', async () => {
  const { cells } = JSON.parse(
    readFileSync(join(projectRoot, 'fixtures/oracles/incident-matrix.json'), 'utf8'),
  ) as {
    cells: {
      rule: string;
      learningRateMultiplier: number;
      reversed: boolean;
      float32: { diverged: boolean; loss: unknown[] };
      float64: { diverged: boolean };
    }[];
  };
  const options = await training();
  const reversed = options.capture.steps.map((_, i, all) => all.length - 1 - i);
  const { baseline, traces } = await trainRuns(
    options,
    cells.map((cell) => ({
      rule: parseRule(cell.rule)[0]!,
      multiplier: cell.learningRateMultiplier,
      ...(cell.reversed ? { order: reversed } : {}),
    })),
  );
  const { band } = judgeLosses(baseline.loss, options.capture.manifest.history?.loss ?? []);
  for (const [c, expected] of cells.entries()) {
    const { loss } = traces[c]!;
    for (let i = 0; i < 10; i++) {
      const right = numberFromJson(expected.float32.loss[i])!;
      expect(Math.abs(loss[i]! / right - 1), `${JSON.stringify(cells[c])} loss ${i}`).toBeLessThan(1e-3);
    }
    expect(expected.float32.diverged).toBe(expected.float64.diverged);
    expect(!(endLevel(loss) <= band.high)).toBe(expected.float32.diverged);
  }
  expect(cells.some(({ float32 }) => float32.diverged)).toBe(true);
});

it('the kernels of studies give the losses and gradients of tfjs, and leave several batches and single tasks to it', async () => {
  const { model, batch } = await training();
  const fast = onKernels(model);
  expect(fast.objective.backend).toBe('kernels');
  expect(onKernels({ ...model, ranking: undefined } as never).objective).toBe(model.objective);
  const w = Float32Array.from({ length: model.objective.size }, (_, i) => 0.3 * Math.sin(i));
  const batches = [await batch(3), await batch(40)];
  const asked = [[batches], [[batches[0]!]], [[batches[1]!]], [[batches[0]!], model.objective.tasks[1]!]];
  for (const [given, task] of asked as [typeof batches, string | undefined][]) {
    const right = await model.objective.gradient(w, given, task);
    const { loss, taskLosses, gradient } = await fast.objective.gradient(w, given, task);
    expect(loss / right.loss).toBeCloseTo(1, 5);
    expect(taskLosses.length).toBe(right.taskLosses.length);
    const largest = Math.max(...right.gradient.map(Math.abs));
    for (const [i, value] of gradient.entries())
      expect(Math.abs(value - right.gradient[i]!)).toBeLessThan(1e-5 * largest);
  }
});

it('a matrix of a capture trains on them, or on the backend that was asked for', async () => {
  const capture = await openCapture(incident);
  const train = (more: object) =>
    runMatrix(capture, {
      rules: parseRule('global-norm:1'),
      seeds: [0, 1],
      learningRateMultipliers: [0.5, 1],
      steps: 25,
      clock: () => 0,
      faster: onKernels,
      ...more,
    });
  const [own, asked] = [await train({}), await train({ backend: 'cpu' })];
  for (const [c, cell] of own.cells.entries()) {
    expect(cell.finalLoss / asked.cells[c]!.finalLoss).toBeCloseTo(1, 3);
    expect({ ...cell, finalLoss: 0, peak: 0 }).toEqual({ ...asked.cells[c]!, finalLoss: 0, peak: 0 });
  }
  // Not the same bits: two routes were taken.
  expect(own.cells).not.toEqual(asked.cells);
});

describe('the order of the batches', () => {
  it('is theirs for seed 0; every other changes it within the stretches before, in and after the incident', () => {
    const edges = [0, 20, 45, 56];
    expect(batchOrder(edges, 0)).toBeUndefined();
    const orders = [1, 2, 3].map((seed) => batchOrder(edges, seed)!);
    for (const order of orders)
      for (const [k, to] of edges.slice(1).entries()) {
        const stretch = order.slice(edges[k], to);
        expect([...stretch].sort((a, b) => a - b)).toEqual(
          Array.from({ length: to - edges[k]! }, (_, i) => edges[k]! + i),
        );
      }
    expect(new Set(orders.map(String)).size).toBe(3);
    expect(batchOrder(edges, 1)).toEqual(orders[0]);
  });
});

it('a level that single losses reach and medians of ten do not is hurt, not stable', () => {
  const noise = randomVectors(5).gaussian(400);
  const losses = Array.from(noise, (x) => 0.45 * Math.exp(0.25 * x));
  const high = largestEndLevel(losses);
  const { band } = judgeLosses([], losses);
  expect(high).toBeGreaterThan(0.45);
  expect(high).toBeLessThan(2 * 0.45);
  // What the band of single losses lets pass.
  expect(band.high).toBeGreaterThan(2 * 0.45);
  expect(largestEndLevel(losses.slice(0, 12))).toBeNaN();
  // A control: medians of ten of the same noise stay below.
  for (let i = 0; i + 10 <= losses.length; i += 10)
    expect(endLevel(losses.slice(i, i + 10))).toBeLessThan(high);
});

it('a rule holds up to the largest learning rate below the first at which a seed does not hold', async () => {
  const matrix = await runMatrix(await openCapture(incident), {
    rules: ['none', 'clippy:paper'].flatMap(parseRule),
    learningRateMultipliers: [1, 0.25],
    seeds: [0, 1],
    clock: Date.now,
  });
  expect(matrix.baseline.follows).toBe(true);
  expect(matrix.learningRates).toEqual([0.5]);
  expect(matrix.cells.map((cell) => [cell.label, cell.learningRateMultiplier, cell.seed])).toEqual(
    ['none', 'clippy:paper'].flatMap((rule) =>
      [1, 0.25].flatMap((m) => [0, 1].map((seed) => [rule, m, seed])),
    ),
  );
  expect(matrix.holds).toEqual([
    { label: 'none', upTo: null, notAt: 0.25 },
    { label: 'clippy:paper', upTo: 1, notAt: null },
  ]);
  // Twice the old level: every single loss is in the band, and the level is not.
  const [hurt] = matrix.cells.filter(({ verdict }) => verdict === 'hurt');
  expect(hurt).toMatchObject({ label: 'none', learningRateMultiplier: 0.25, seed: 1, diverged: false });
  expect(hurt!.finalLoss / matrix.band.median).toBeGreaterThan(1.9);
  expect(hurt!.finalLoss).toBeLessThan(matrix.band.high);
  const [recorded] = matrix.cells;
  expect(recorded).toMatchObject({ diverged: true, leftAtStep: 400 });
});

it('too few steps to tell are said so, not guessed', async () => {
  const matrix = await trainMatrix({
    ...(await training(6)),
    rules: parseRule('none'),
    learningRateMultipliers: [1],
    seeds: [0],
  });
  expect(matrix.cells[0]).toMatchObject({ diverged: null, leftAtStep: null });
  expect(matrix.holds).toEqual([{ label: 'none', upTo: null, notAt: 1 }]);
  const text = renderMatrix(matrix, { width: 80, colour: false, ascii: false });
  expect(text).toMatch(/^none +\?$/m);
  expect(text).toMatch(/^note: 6 steps with \d+ losses before/m);
  expect(text).not.toContain('Every seed holds');
});

it('a rule that holds nowhere is said to hold nowhere', async () => {
  const matrix = await trainMatrix({
    ...(await training(40)),
    rules: parseRule('none'),
    learningRateMultipliers: [4],
    seeds: [0],
  });
  expect(matrix.cells[0]!.diverged).toBe(true);
  expect(renderMatrix(matrix, { width: 80, colour: false, ascii: false })).toMatch(
    /^With no clipping it does not even hold at 2, the lowest tried\.\n/,
  );
});

it('the number of a cell is the median of its seeds, of two the mean', async () => {
  const matrix = await trainMatrix({
    ...(await training(40)),
    rules: parseRule('clippy'),
    learningRateMultipliers: [1],
    seeds: [0],
  });
  const cells = [0.2, 0.6, 0.3, 0.5].map((finalLoss, seed) => ({ ...matrix.cells[0]!, finalLoss, seed }));
  const text = renderMatrix({ ...matrix, cells }, { width: 80, colour: false, ascii: false });
  expect(text).toMatch(/^clippy:paper +0\.4$/m);
});

it('a rule that holds again above the rate at which an order does not is not ranked by that rate alone', async () => {
  const matrix = await trainMatrix({
    ...(await training(40)),
    rules: parseRule('clippy'),
    learningRateMultipliers: [1],
    seeds: [0],
  });
  const cells = [0.5, 1, 2, 4].flatMap((learningRateMultiplier) =>
    [0, 1, 2].map((seed) => ({
      ...matrix.cells[0]!,
      ...{ learningRateMultiplier, seed, diverged: false },
      verdict: learningRateMultiplier === 1 && seed === 2 ? ('hurt' as const) : ('holds' as const),
    })),
  );
  const holds = [{ label: 'clippy:paper', upTo: 0.5, notAt: 1 }];
  const text = renderMatrix({ ...matrix, cells, holds }, { width: 200, colour: false, ascii: false });
  expect(text.split('\n')[0]).toBe(
    'With clippy:paper training holds up to 0.25 and not at 0.5 (1 of 3 orders does not), but does again at 1 and 2.',
  );
});

it('a learning rate that changes is not taken for its first', async () => {
  const options = await training(12);
  const steps = options.capture.steps.map((step, i) => ({ ...step, learningRates: [i < 6 ? 0.5 : 0.25] }));
  const capture = Object.assign(Object.create(options.capture), { steps });
  const matrix = await trainMatrix({
    ...options,
    capture,
    rules: parseRule('none'),
    learningRateMultipliers: [0.5, 1],
    seeds: [0],
  });
  expect(matrix.learningRates).toEqual([0.5, 0.25]);
  expect(matrix.notes.join()).toContain('lie between 0.25 and 0.5: each step takes its own');
  const text = renderMatrix(matrix, { width: 120, colour: false, ascii: false });
  expect(text).toContain('columns are times the recorded learning rates, 0.25 to 0.5;');
  expect(text).toMatch(/^rule +0\.5 × +1 ×$/m);
});

it('non-finite runs have diverged', async () => {
  const matrix = await runMatrix(await openCapture(join(projectRoot, 'fixtures/captures/nan')), {
    rules: parseRule('none'),
    learningRateMultipliers: [1],
    seeds: [0],
    clock: Date.now,
  });
  const [cell] = matrix.cells;
  expect(cell).toMatchObject({ diverged: true, finalLoss: Number.NaN, ended: { reason: 'non-finite' } });
  expect(cell!.peak).toBe(Number.POSITIVE_INFINITY);
});

describe('at the command line', () => {
  const small = ['--rule', 'none', '--rule', 'clippy:paper', '--seeds', '1'];

  it('prints a table and up to which learning rate each rule holds', async () => {
    const { code, out, err } = await cli([
      'matrix',
      incident,
      ...small,
      '--learning-rate-multiplier',
      '0.25,1,2',
    ]);
    expect([code, err]).toEqual([0, '']);
    // That the training here is the recorded one is told where all is asked for.
    expect(out).not.toContain('follows the recorded losses');
    expect(out).toMatch(/^rule +0.125 +0.5 +1$/m);
    expect(out).toMatch(/^none +0\.\d+ +out @400 +out @400$/m);
    expect(out.replace(/\s+/g, ' ')).toContain(
      'With clippy:paper training holds up to 1, the highest tried. With no clipping training holds up to 0.125 and not at 0.5.',
    );
    const long = ['--rule', 'none', '--rule', 'clippy:variableRelativeThreshold=0.25', '--seeds', '1'];
    const narrow = await cli(
      ['matrix', incident, ...long, '--learning-rate-multiplier', '0.25', '--verbose'],
      { env: { COLUMNS: '40' } },
    );
    expect(narrow.out.replace(/\s+/g, ' ')).toContain('follows the recorded losses');
    expect(narrow.out).toMatch(/^none$\n {2}0\.125 +0\.\d+$/m);
  });

  it('--json: one cell for each rule, learning rate and seed', async () => {
    const { code, out } = await cli([
      'matrix',
      incident,
      '--json',
      '--rule',
      'none',
      '--learning-rate-multiplier',
      '1',
      '--seeds',
      '2',
    ]);
    const { matrix } = JSON.parse(out);
    expect(code).toBe(0);
    expect(matrix.cells.map(({ seed, diverged }: Record<string, unknown>) => [seed, diverged])).toEqual([
      [0, true],
      [1, true],
    ]);
    expect(matrix.holds).toEqual([{ label: 'none', upTo: null, notAt: 1 }]);
  });

  it('a model that is not the run’s gives no conclusion and code 4', async () => {
    const folder = join(scratch, 'other');
    cpSync(incident, folder, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(folder, 'capture.json'), 'utf8'));
    manifest.steps[0].loss *= 1.1;
    writeFileSync(join(folder, 'capture.json'), JSON.stringify(manifest));
    const { code, out } = await cli(['matrix', folder, ...small, '--learning-rate-multiplier', '1']);
    expect(code).toBe(4);
    expect(out).toContain('are not those of the run');
    expect(out).not.toContain('Every seed holds');
  });

  it.each([
    [['--learning-rate-multiplier', '0'], 2, 'no positive number'],
    [['--seeds', '0'], 2, 'seeds'],
    [['--rule', 'clipy'], 2, 'did you mean clippy?'],
  ])('%j: exit code %d', async (flags, code, text) => {
    const result = await cli(['matrix', incident, ...flags]);
    expect([result.code, result.out]).toEqual([code, '']);
    expect(result.err).toContain(text);
  });

  it('a state of another training is refused', async () => {
    const state = join(scratch, 'state.json');
    writeFileSync(state, '{"key":"other","sha256":""}\n{}');
    const { code, err } = await cli(['matrix', incident, ...small, '--resume', state]);
    expect(code).toBe(3);
    expect(err).toContain('it belongs to another replay');
  });
});
