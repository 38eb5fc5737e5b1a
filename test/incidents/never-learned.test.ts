/** Runs that learnt nothing, each with a healthy one that looks nearly the same. */
import { describe, expect, it } from 'vitest';
import { neverLearnedDetector } from '../../src/judge/detectors/never-learned.ts';
import { isLostAgain, learntOf } from '../../src/judge/incidents/never-learned.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { findingsOf, makeRun, normals, type SeriesSpec } from '../detectors/runs.ts';

const N = 400;
const series = (level: (i: number) => number, sigma = 0.02, seed = 5): number[] => {
  const normal = normals(seed);
  return Array.from({ length: N }, (_, i) => Number((level(i) * Math.exp(sigma * normal())).toPrecision(6)));
};
const learns = (i: number): number => 0.3 + 2 * Math.exp(-i / 60);
/** A rate so large that the third step destroys the weights: from 2.32 to 320 and back to ln 10. */
const destroyed = (i: number): number =>
  i < 3 ? 2.32 : i < 60 ? 2.32 + 318 * Math.exp(-(((i - 12) / 6) ** 2)) : 2.34;
const rate = (value: (i: number) => number): SeriesSpec => ({
  name: 'learning_rate',
  values: Array.from({ length: N }, (_, i) => value(i)),
});
const loss = (values: number[]): SeriesSpec => ({ name: 'loss', values });
const auc = (level: (i: number) => number): SeriesSpec => ({
  name: 'auc',
  values: Array.from({ length: 40 }, normals(9)).map((z, i) => level(i) + 0.003 * z),
});

describe('a run that learnt nothing', () => {
  it.each<[string, SeriesSpec[], number]>([
    ['a loss that blew up and came back to chance', [loss(series(destroyed, 0.004))], 3],
    [
      'a first loss of ln 2 to six digits, and no lower to the end',
      [loss([Number(Math.LN2.toFixed(6)), ...series(() => Math.LN2, 0.004).slice(1)])],
      0,
    ],
    ['a rate of 0 at every point', [loss(series(() => Math.LN2)), rate(() => 0)], 0],
    ['a loss that is one number', [loss(series(() => 0.693247, 0))], 0],
    ['an AUC at chance from first to last', [loss(series(() => Math.LN2)), auc(() => 0.5)], 0],
  ])('%s', (_, specs, onset) => {
    const run = makeRun(specs);
    const { verdict } = judgeRun(run);
    expect(verdict.class).toBe('never-learned');
    expect(Math.abs(verdict.onsetStep! - onset)).toBeLessThanOrEqual(2);
    const [finding, ...more] = findingsOf(neverLearnedDetector, run);
    expect(finding).toMatchObject({ id: 'never-learned', severity: 'error', series: 'loss' });
    expect(more).toEqual([]);
  });

  it('at ln K, where the configuration says that there are K classes', () => {
    const run = makeRun([loss(series(() => Math.log(10)))]);
    expect(judgeRun(run).verdict.class).toBe('healthy');
    const told = { ...run, hyperparameters: new Map([['num_classes', '10']]) };
    expect(judgeRun(told as typeof run).verdict.class).toBe('never-learned');
    const other = { ...run, hyperparameters: new Map([['num_classes', '8']]) };
    expect(judgeRun(other as typeof run).verdict.class).toBe('healthy');
  });
});

describe('a loss that falls to the level of a guess', () => {
  const few = (level: (i: number) => number, n = 20): number[] =>
    Array.from({ length: n }, (_, i) => Number(level(i).toFixed(4)));
  const falls = (classes: number) => (i: number) => Math.log(classes) * (1 + 1.2 * Math.exp(-1.5 * i));
  const acc = (level: (i: number) => number, name = 'acc', n = 20): SeriesSpec => ({
    name,
    role: 'metric',
    values: few(level, n),
  });
  const classOf = (...specs: SeriesSpec[]) => judgeRun(makeRun(specs)).verdict.class;

  it.each([2, 3, 10, 100, 1000])('learnt nothing of %d classes while every accuracy is at 1/K', (classes) => {
    const dead = loss(few(falls(classes)));
    expect(classOf(dead)).toBe('healthy');
    expect(
      classOf(
        dead,
        acc(() => 1 / classes),
      ),
    ).toBe('never-learned');
    expect(
      classOf(
        dead,
        acc(() => 100 / classes, 'val acc'),
      ),
    ).toBe('never-learned');
  });

  it('learnt nothing where the configuration names the classes', () => {
    const run = makeRun([loss(series((i) => Math.log(10) * (1 + Math.exp(-i / 9)), 0.002))]);
    const told = { ...run, hyperparameters: new Map([['num_classes', '10']]) };
    expect(judgeRun(told as typeof run).verdict.class).toBe('never-learned');
  });

  it('says nothing of one that is lower, of another accuracy, or of too few points', () => {
    const dead = loss(few(falls(10)));
    for (const [other, ...beside] of [
      [loss(few((i) => falls(10)(i) - 0.02)), acc(() => 0.1)],
      [dead, acc(() => 0.14)],
      [dead, acc((i) => (i < 15 ? 0.1 : 0.2))],
      [dead, acc(() => 0.1), acc((i) => 0.1 + 0.01 * i, 'val_acc')],
      [dead, acc(() => 0.1, 'top 5 acc')],
      [loss(few(falls(10), 9)), acc(() => 0.1, 'acc', 9)],
      // Predicting the frequent class nine times in ten.
      [loss(few((i) => 0.325 + 0.36 * Math.exp(-i))), acc(() => 0.9)],
    ] as const)
      expect(classOf(other, ...beside)).toBe('healthy');
  });
});

describe('its healthy twin', () => {
  it.each<[string, SeriesSpec[]]>([
    [
      'a run that learns, whose rate warms up from 0',
      [loss(series(learns)), rate((i) => Math.min(1, i / 50))],
    ],
    ['a fine-tuning from good weights', [loss(series(() => 0.8, 0.05))]],
    [
      'a click model that gains two percent over the base rate',
      [
        loss(series((i) => 0.056 - 0.001 * (1 - Math.exp(-i / 80)), 0.01)),
        auc((i) => 0.5 + 0.2 * (1 - Math.exp(-i / 8))),
      ],
    ],
    [
      'an AUC that moves beside a loss that is flat',
      [loss(series(() => Math.LN2)), auc((i) => 0.5 + 0.004 * i)],
    ],
    ['a loss that is printed with two digits', [loss(series(() => 0.69, 0))]],
    ['a rate that is printed as 0 beside losses of two digits', [loss(series(() => 0.69, 0)), rate(() => 0)]],
    ['too few points', [loss(series(() => 0.693247, 0).slice(0, 40))]],
    ['a contrastive loss', [{ name: 'contrastive_loss', values: series(() => 5.545177, 0) }]],
  ])('%s', (_, specs) => {
    expect(judgeRun(makeRun(specs)).verdict.class).not.toBe('never-learned');
  });

  it('came back from the same rise, and learns on', () => {
    const spiked = series((i) => learns(i) * (i >= 100 && i < 112 ? 40 : 1));
    expect(judgeRun(makeRun([loss(spiked)])).verdict.class).toBe('micro-divergence');
  });

  it('was flat for long before a rise that it came back from', () => {
    const risen = series((i) => (i >= 200 && i < 215 ? 8 : 0.8), 0.05);
    expect(judgeRun(makeRun([loss(risen)])).verdict.class).toBe('micro-divergence');
  });

  it('had one bad batch', () => {
    const spiked = series((i) => (i === 200 ? 8 : 0.8), 0.05);
    expect(judgeRun(makeRun([loss(spiked)])).verdict.class).toBe('micro-divergence');
  });
});

describe('learntOf', () => {
  it('is a test against the error of both levels, and says nothing of few points', () => {
    expect(learntOf(Float64Array.from(series(learns)), N, 50).holds).toBe(true);
    expect(learntOf(Float64Array.from(series(() => 2.3)), N, 50).holds).toBe(false);
    expect(learntOf(Float64Array.from(series(learns).slice(0, 30)), 30, 50).holds).toBeNull();
    // A gain of 2 % is one where the noise is 1 %, and none where it is 60 %.
    const gain = (i: number): number => 0.056 - 0.001 * (1 - Math.exp(-i / 80));
    expect(learntOf(Float64Array.from(series(gain, 0.01)), N, 50).holds).toBe(true);
    expect(learntOf(Float64Array.from(series(gain, 0.6)), N, 50).holds).toBe(false);
  });
  it('knows a run that lost again what it had learnt', () => {
    const lost = learntOf(Float64Array.from(series((i) => (i < 300 ? learns(i) : 2.25))), 300, 50);
    expect(isLostAgain(lost)).toBe(true);
    expect(isLostAgain(learntOf(Float64Array.from(series(learns)), N, 50))).toBe(false);
    expect(isLostAgain(learntOf(Float64Array.from(series(() => 2.3)), N, 50))).toBe(false);
  });
  it('takes no loss that the first steps threw up for the untrained level', () => {
    const thrown = (end: number) => (i: number) => (i === 0 ? 2.24 : i < 8 ? 50 / i : end);
    const { holds, untrained } = learntOf(Float64Array.from(series(thrown(2.3))), N, 50);
    expect([holds, untrained < 2.4]).toEqual([false, true]);
    expect(learntOf(Float64Array.from(series(thrown(0.4))), N, 50).holds).toBe(true);
    // One first point is not known better than its noise.
    const noisy = series((i) => thrown(2.22)(i) + 0.03 * Math.sin(7.3 * i * i));
    expect(learntOf(Float64Array.from(noisy), N, 50).holds).toBe(false);
  });
  it('counts as learnt what was learnt within three points', () => {
    expect(learntOf(Float64Array.from(series((i) => (i === 0 ? 9 : 0.4))), N, 50).holds).toBe(true);
  });
});

it('a log of three million losses has a lowest level', () => {
  const values = new Float64Array(3_000_000).fill(1);
  values.fill(0.25, 1_000_000, 1_000_020);
  expect(learntOf(values, values.length, 50).best).toBe(0.25);
});
