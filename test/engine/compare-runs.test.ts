/** Where two runs part: against twins that differ in their seed alone, and against themselves. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareRuns } from '../../src/app/engine/compare-runs.ts';
import { placeOf } from '../../src/app/engine/which-run.ts';
import type { Comparison } from '../../src/model/comparison.ts';
import type { Report } from '../../src/model/report.ts';
import type { Run } from '../../src/model/run.ts';
import { normals } from '../detectors/runs.ts';
import { cli } from '../support/cli.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';
import { projectRoot } from '../support/shared-data.ts';

/** A falling loss with noise of 5 %, from step `from` on times `factor`. */
function training(seed: number, { from = 1000, factor = 1, noise = 0.05 } = {}): Run {
  const random = normals(seed);
  const loss = Array.from(
    { length: 1000 },
    (_, k) => (0.4 + Math.exp(-k / 60)) * Math.exp(noise * random()) * (k >= from ? factor : 1),
  );
  return makeRun(`seed-${seed}.csv`, [
    makeSeries('loss', 'loss', loss),
    makeSeries(
      'lr',
      'learning_rate',
      loss.map(() => 0.1),
    ),
  ]);
}
const set = (run: Run, settings: Record<string, string | number>): Run => ({
  ...run,
  hyperparameters: new Map(Object.entries(settings)),
});

describe('compareRuns', () => {
  test('twins of other seeds do not part, however often they are tried', () => {
    for (let seed = 1; seed <= 40; seed++)
      expect(compareRuns(training(seed), training(seed + 100)).outcome, `seed ${seed}`).toBe('within-noise');
  });

  test.each([1.5, 3, 100, 1 / 2])(
    'a loss that is %f times the other from step 601 on parts there',
    (factor) => {
      const found = compareRuns(training(1, { from: 600, factor }), training(2));
      expect(found.outcome).toBe('part');
      expect(found.series).toBe('loss');
      // Steps count from 1; the noise of a few points may hide the first ones.
      expect(Math.abs(found.step! - 601)).toBeLessThanOrEqual(factor === 1.5 ? 12 : 3);
      expect(found.why).toMatch(
        /^They part at step \d+: `loss` ends at .* in the first run and .* in the second/,
      );
    },
  );

  test('a difference that is there, and small, is said and is no parting', () => {
    const found = compareRuns(training(1, { from: 0, factor: 1.06 }), training(2));
    expect(found.outcome).toBe('within-noise');
    expect(found.compared[0]!.apart).toBeGreaterThan(0.03);
    expect(found.why).toContain('do not part');
  });

  test('runs that were apart and came together do not part; one that ends in no number does', () => {
    const both = training(1).series[0]!;
    const bump = makeRun('bump.csv', [
      makeSeries(
        'loss',
        'loss',
        Array.from(both.value, (x, k) => (k > 300 && k < 500 ? 10 * x : x)),
      ),
    ]);
    expect(compareRuns(bump, training(2)).outcome).toBe('within-noise');
    const lost = makeRun('lost.csv', [
      makeSeries(
        'loss',
        'loss',
        Array.from(both.value, (x, k) => (k >= 700 ? Number.NaN : x)),
      ),
    ]);
    expect(compareRuns(training(2), lost)).toMatchObject({ outcome: 'part', step: 701 });
  });

  test('the same run twice is the same; too few steps in common tell nothing', () => {
    expect(compareRuns(training(1), training(1)).outcome).toBe('same');
    const short = makeRun('short.csv', [makeSeries('loss', 'loss', [1, 2, 3])]);
    expect(compareRuns(short, training(1)).outcome).toBe('cannot-tell');
    const shifted = makeRun('other.csv', [makeSeries('loss', 'loss', [1, 2, 3], 5000)]);
    expect(compareRuns(shifted, training(1)).why).toContain('in common');
  });

  test('names the settings that differ, learning rate, optimizer and clipping first', () => {
    const { settings, settingsCompared } = compareRuns(
      set(training(1), { seed: 1, note: 'x', clip_norm: 1, optimizer: 'adam', lr: 0.1, depth: 3 }),
      set(training(2), { seed: 2, note: 'x', optimizer: 'sgd', lr: 0.2, depth: 3, dataset: 'b' }),
    );
    expect(settings.map(({ name, kind }) => [name, kind])).toEqual([
      ['lr', 'learning-rate'],
      ['optimizer', 'optimizer'],
      ['clip_norm', 'clipping'],
      ['dataset', 'data'],
      ['seed', 'seed'],
    ]);
    expect(settings[2]).not.toHaveProperty('second');
    expect(settingsCompared).toBe(5);
  });
});

test('analyze --compare tells of two captures what is the same to the bit, and from which step on the rest is not', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-compare-captures-'));
  try {
    const [a, b] = [join(folder, 'a'), join(folder, 'b')];
    const recorded = join(projectRoot, 'fixtures/captures/micro-divergence');
    for (const path of [a, b]) {
      cpSync(recorded, path, { recursive: true });
      // Without a model nothing is trained.
      const { model: _, ...rest } = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8'));
      writeFileSync(join(path, 'capture.json'), JSON.stringify(rest));
    }
    const twins = JSON.parse((await cli(['analyze', a, b, '--compare', '--json'])).out) as Report;
    const { steps, compared } = (twins.comparison as Comparison).captures!;
    expect(compared.map(({ what }) => what)).toEqual([
      'weights',
      'batch',
      'learning rate',
      'loss',
      'gradient',
    ]);
    expect(compared.every(({ differsAt }) => differsAt === null)).toBe(true);
    const manifest = JSON.parse(readFileSync(join(b, 'capture.json'), 'utf8'));
    const late = manifest.steps.slice(8);
    for (const step of late) step.learningRate = 3;
    manifest.optimizer.epsilon = 1e-8;
    manifest.clipping = { rule: 'global-norm', maxNorm: 1 };
    writeFileSync(join(b, 'capture.json'), JSON.stringify(manifest));
    const file = join(b, manifest.steps[4].file);
    const bytes = readFileSync(file);
    // The last tensor of a step's file is a gradient.
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(file, bytes);
    const out = (await cli(['analyze', a, b, '--compare'], { env: { COLUMNS: '300' } })).out;
    expect(out).toContain(
      `Their captures, steps ${steps[0]} to ${steps[1]}: gradient differs from step ${manifest.steps[4].step}, learning rate differs from step ${late[0].step}; the same to the bit: weights, batch, loss.`,
    );
    expect(out).toMatch(/capture\.optimizer\.epsilon 1e-10 and 1e-8/);
    expect(out).toMatch(/capture\.clipping none and global-norm/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('analyze --compare: in the terminal, JSON, Markdown and HTML; two runs or none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-compare-'));
  try {
    const write = (name: string, run: Run, lr: number): string => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'hparams.json'), JSON.stringify({ lr }));
      const { step, value } = run.series[0]!;
      const lines = Array.from(step, (at, i) => `{"step":${at},"loss":${value.at(i)}}\n`);
      writeFileSync(join(folder, name, 'log.jsonl'), lines.join(''));
      return join(folder, name);
    };
    const [a, b] = [write('a', training(1, { from: 600, factor: 5 }), 0.5), write('b', training(2), 0.1)];
    const [md, page] = [join(folder, 'r.md'), join(folder, 'r.html')];
    const { out, err } = await cli([
      'analyze',
      a,
      b,
      '--compare',
      '--report',
      `markdown:${md}`,
      '--report',
      `html:${page}`,
    ]);
    expect(err).toBe('');
    expect(out).toMatch(/They part at step 601/);
    expect(out).toContain('Settings that differ: lr 0.5 and 0.1.');
    const saved = JSON.parse((await cli(['analyze', a, b, '--compare', '--json'])).out) as Report;
    expect(saved.comparison).toMatchObject({ outcome: 'part', step: 601, series: 'loss' });
    expect(readFileSync(md, 'utf8')).toMatch(/## Comparison[\s\S]*They part at step 601[\s\S]*## 2 runs/);
    expect(readFileSync(page, 'utf8')).toMatch(/They part at step 601/);
    const three = await cli(['analyze', folder, a, '--compare']);
    expect(three.code).toBe(2);
    expect(three.err).toMatch(/compares two runs, and 3 were found/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('analyze A B --compare: what lies under B is no evidence of A, and what is wrong with B is told', async () => {
  const log = join(projectRoot, 'fixtures/incident/log.jsonl');
  const capture = join(projectRoot, 'fixtures/captures/seed-2');
  const told = async (...paths: string[]): Promise<Report> =>
    JSON.parse((await cli(['analyze', ...paths, '--budget', '0', '--json'])).out) as Report;
  // Without --compare a capture is of the one log that was named with it.
  expect((await told(log, capture)).runs).toHaveLength(1);
  const report = await told(log, capture, '--compare');
  const [comparison, { runs }] = [report.comparison as Comparison, report];
  expect(runs.map(({ id }) => id)).toEqual(comparison.runs);
  expect(comparison.runs[1]).toContain('seed-2');
  const missing = await cli(['analyze', log, `${capture}-not-there`, '--compare']);
  expect(missing.code).toBe(3);
  expect(missing.err).toMatch(/seed-2-not-there does not exist/);
});

test.each([
  [['runs/a', 'runs/b'], 'runs/b/capture', 'runs/b'],
  [['runs/a', 'runs/ab'], 'runs/ab/x', 'runs/ab'],
  [['runs', 'runs/b'], 'runs/b/x', 'runs/b'],
  [['runs', 'runs/b'], 'runs/c', 'runs'],
  [['a.jsonl', 'b.jsonl'], 'b.jsonl', 'b.jsonl'],
  [['runs/a'], 'runs/..a/x', undefined],
  [[], 'runs/a', undefined],
])('of %j %s lies in %s', (places, path, place) => {
  expect(placeOf(places, path)).toBe(place);
});
