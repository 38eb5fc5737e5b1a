/** Signs that a run is lost, or that its end is unknown, each at the edge where it begins. */
import { describe, expect, it } from 'vitest';
import { fallOf } from '../../src/judge/incidents/rewards.ts';
import { scalerSkips } from '../../src/judge/incidents/scaler.ts';
import { DEFAULT_VERDICT_SETTINGS, type VerdictSettings } from '../../src/judge/incidents/settings.ts';
import {
  aucsOf,
  collapseOf,
  columnStop,
  deadStretch,
  goesOnAs,
  reaches,
  sameLoss,
} from '../../src/judge/incidents/signs.ts';
import { makeRun, type SeriesSpec } from '../detectors/runs.ts';
import { random } from '../support/random.ts';

const NAN = Number.NaN;
const settings = DEFAULT_VERDICT_SETTINGS;
const times = (count: number, value: number): number[] => new Array<number>(count).fill(value);
const upTo = (count: number, distance = 1): number[] => Array.from({ length: count }, (_, i) => distance * i);

describe('zeros at the end of a loss that stand for NaN', () => {
  const stretchOf = (values: SeriesSpec['values'], others: readonly SeriesSpec[] = [], attempt = 0) => {
    const run = makeRun([{ name: 'loss', values }, ...others]);
    return deadStretch(run, run.series[0]!, attempt, settings);
  };

  it('go from the first zero after the last other value to the end', () => {
    expect(stretchOf([...times(20, 1), 0, 1, ...times(10, 0)])).toEqual({ from: 22, to: 31, nanNorm: null });
    expect(stretchOf([...times(20, 1), ...times(10, 0), 1])).toBeNull();
    // Of nothing but zeros a gradient norm alone can tell.
    expect(stretchOf(times(20, 0))).toBeNull();
    expect(stretchOf(times(20, 0), [{ name: 'grad_norm', values: times(20, NAN) }])).toMatchObject({
      from: 0,
    });
  });

  it('are ten without a gradient norm, however few points came before', () => {
    expect(stretchOf([...times(20, 1), ...times(9, 0)])).toBeNull();
    expect(stretchOf([1, ...times(10, 0)])).toEqual({ from: 1, to: 10, nanNorm: null });
  });

  it('are one where a gradient norm is NaN there, not before it and not in another attempt', () => {
    const loss = [...times(19, 1), 0];
    const norm = (at: number): SeriesSpec => ({
      name: 'grad_norm',
      values: times(20, 1).with(at, NAN),
    });
    expect(stretchOf(loss, [norm(19)])).toEqual({ from: 19, to: 19, nanNorm: 'grad_norm' });
    expect(stretchOf(loss, [norm(19), { ...norm(19), name: 'norm', role: 'grad_norm' }])?.nanNorm).toBe(
      'grad_norm',
    );
    expect(stretchOf(loss, [norm(18)])).toBeNull();
    expect(stretchOf(loss, [{ ...norm(19), role: 'metric' }])).toBeNull();
    expect(stretchOf(loss, [{ name: 'grad_norm', values: times(20, 1) }])).toBeNull();
    const inSecond = { name: 'grad_norm', values: [times(20, 1), norm(19).values as number[]] };
    expect(stretchOf([loss, loss], [inSecond], 0)).toBeNull();
    expect(stretchOf([loss, loss], [inSecond], 1)).toMatchObject({ from: 39, to: 39 });
  });

  it('follow a loss that was not learnt: above a twentieth of the first ten values over the last ten', () => {
    const after = (...before: number[]) => stretchOf([...before, ...times(10, 0)]) !== null;
    expect(after(...times(10, 100), ...times(90, 5.1))).toBe(true);
    expect(after(...times(10, 100), ...times(90, 5))).toBe(false);
    expect(after(...times(5, 10), ...times(5, 100), ...times(90, 2))).toBe(false);
    // The values between do not count.
    expect(after(...times(10, 100), ...times(90, 10), ...times(10, 4))).toBe(false);
    expect(after(...times(10, 100), ...times(90, 4), ...times(5, 8), ...times(5, 4))).toBe(true);
  });
});

describe('a loss that stops beside columns that go on', () => {
  const stopOf = (loss: SeriesSpec, ...others: readonly SeriesSpec[]) => {
    const run = makeRun([...others, loss]);
    return columnStop(run, run.series.at(-1)!, settings);
  };
  const column = (name: string, steps: readonly number[]): SeriesSpec => ({
    name,
    values: steps.map(() => 1),
    steps,
  });
  const loss = column('loss', upTo(100, 10));

  it('is told by five points of one column, at its own last point', () => {
    expect(stopOf(loss, column('lr', upTo(104, 10)))).toBeNull();
    expect(stopOf(loss, column('lr', upTo(105, 10)))).toEqual({
      last: 99,
      companion: 'lr',
      lastStep: 1040,
      missing: 5,
    });
  });

  it('is told by the column that goes on longest, of two alike by the first', () => {
    const [a, b] = [column('a', upTo(110, 10)), column('b', upTo(111, 10))];
    expect(stopOf(loss, a, b)?.companion).toBe('b');
    expect(stopOf(loss, b, a)?.companion).toBe('b');
    expect(stopOf(loss, a, { ...a, name: 'c' })?.companion).toBe('a');
  });

  it('is not told by a column with other steps: nine of ten of either must be shared', () => {
    const without = (count: number): number[] => upTo(110, 10).filter((_, i) => i < 100 - count || i >= 100);
    expect(stopOf(loss, column('lr', without(10)))?.missing).toBe(10);
    expect(stopOf(loss, column('lr', without(11)))).toBeNull();
    expect(stopOf(loss, column('every step', upTo(1100)))).toBeNull();
    expect(stopOf(loss, column('eval', upTo(20, 100)))).toBeNull();
    // As many, and none of them the same.
    const shifted = upTo(110, 10).map((step) => step + 5);
    expect(stopOf(loss, column('lr', shifted))).toBeNull();
    expect(stopOf(loss, column('later', shifted.slice(100)))).toBeNull();
    const some = upTo(110, 10).map((step, i) => (i % 9 === 8 ? step + 5 : step));
    expect(stopOf(loss, column('lr', some))).toBeNull();
  });

  it('is asked of the last attempt alone', () => {
    const twice = (first: number, second: number): SeriesSpec['values'] => [
      times(first, 1),
      times(second, 1),
    ];
    const lr = { name: 'lr', values: twice(60, 60) };
    expect(stopOf({ name: 'loss', values: twice(40, 60) }, lr)).toBeNull();
    expect(stopOf({ name: 'loss', values: twice(60, 40) }, lr)).toMatchObject({ last: 99, missing: 20 });
    // No point in it: nothing stops there.
    expect(stopOf({ name: 'loss', values: [times(60, 1)] }, lr)).toBeNull();
  });
});

describe('a series that goes on to a step', () => {
  const series = (steps: readonly number[]) => {
    const run = makeRun([{ name: 'loss', values: steps.map(() => 1), steps }]);
    return (until: number): boolean => reaches(run, run.series[0]!, until);
  };

  it('is three of its usual distances away from it at most', () => {
    const every10 = series([0, 10, 20, 30, 90, 100]);
    expect(every10(130)).toBe(true);
    expect(every10(131)).toBe(false);
    expect(series([0, 10])(40)).toBe(true);
    expect(series([0, 10])(41)).toBe(false);
  });

  it('has two points at least', () => {
    expect(series([100])(100)).toBe(false);
    expect(series([])(0)).toBe(false);
  });
});

describe('the same loss under another name', () => {
  const steps = upTo(20, 10);
  const column = (name: string, more: Partial<SeriesSpec>, points = 20): SeriesSpec => ({
    name,
    values: times(points, 1),
    steps: steps.slice(0, points),
    ...more,
  });
  const run = makeRun([
    column('aux', { lossLike: 'part' }),
    column('loss', { role: 'loss' }, 5),
    column('short', { role: 'loss' }, 5),
    column('train', { lossLike: 'same' }),
    column('accuracy', { role: 'metric' }),
  ]);
  const named = (name: string) => run.series.find((one) => one.name === name)!;

  it('is every other loss, and what evaluates it; not itself, nor a part', () => {
    expect(sameLoss(run, named('loss')).map(({ name }) => name)).toEqual(['short', 'train']);
  });

  it('goes on where one of them reaches the step, and before any part; of no other column than a loss', () => {
    expect(goesOnAs(run, named('loss'), 190)?.name).toBe('train');
    expect(goesOnAs(run, named('train'), 190)).toBeUndefined();
    expect(goesOnAs(run, named('loss'), 400)).toBeUndefined();
    const without = (...names: readonly string[]) => ({
      ...run,
      series: run.series.filter(({ name }) => !names.includes(name)),
    });
    expect(goesOnAs(without('train'), named('loss'), 190)?.name).toBe('aux');
    expect(goesOnAs(without('train', 'aux'), named('loss'), 190)).toBeUndefined();
  });
});

describe('an AUC at chance', () => {
  it('is a metric whose name says so', () => {
    const run = makeRun(
      ['auc', 'ROC-AUC', 'task/ctr/auroc', 'aucpr', 'launch', 'loss'].map((name) => ({
        name,
        role: name === 'loss' ? 'loss' : 'metric',
        values: [1],
      })),
    );
    expect(aucsOf(run).map(({ name }) => name)).toEqual(['auc', 'ROC-AUC', 'task/ctr/auroc']);
    expect(aucsOf(makeRun([{ name: 'auc', role: 'other', values: [1] }]))).toEqual([]);
  });

  // An eighth and three quarters are exact.
  const eighth: VerdictSettings = { ...settings, chance: 0.125, learnt: 0.75 };
  const collapse = (values: SeriesSpec['values'], attempt = 0) =>
    collapseOf(makeRun([{ name: 'auc', values }]).series[0]!, attempt, eighth);

  it('is within `chance` of a half for three points to the end, after three that had learnt', () => {
    expect(collapse([0.5, 0.75, 0.75, 0.75, 0.625, 0.375, 0.5])).toEqual({ from: 4, to: 6, best: 0.75 });
    expect(collapse([0.75, 0.75, 0.75, 0.63, 0.5, 0.5])).toBeNull();
    expect(collapse([0.75, 0.75, 0.75, 0.37, 0.5, 0.5])).toBeNull();
    expect(collapse([0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.7])).toBeNull();
  });

  it('lost nothing where two points alone, or none, had learnt', () => {
    expect(collapse([0.75, 0.75, 0.5, 0.5, 0.5])).toBeNull();
    expect(collapse([0.9, 0.7, 0.7, 0.9, 0.7, 0.5, 0.5, 0.5])).toBeNull();
    expect(collapse([0.7, 0.9, 0.9, 0.7, 0.7, 0.5, 0.5, 0.5])).toMatchObject({ best: 0.9 });
    // What is at chance is no part of what had been learnt.
    expect(collapse([0.8, 0.8, 0.5, 0.5, 0.5])).toBeNull();
    expect(collapse([0.5, 0.5, 0.5, 0.5])).toBeNull();
  });

  it('is told in places of the whole series', () => {
    expect(collapse([times(4, 0.9), [0.9, 0.9, 0.9, 0.5, 0.5, 0.5]], 1)).toMatchObject({ from: 7, to: 9 });
  });
});

describe('steps that a loss scaler skipped', () => {
  /** A loss at every tenth step that is NaN at some places; the scale is 4, and 2 from a step on. */
  const skips = (
    nan: readonly number[],
    halvedAt: number,
    { name = 'loss_scale', points = 20 }: { name?: string; points?: number } = {},
  ): readonly number[] => {
    const steps = upTo(points, 10);
    const run = makeRun([
      { name: 'loss', values: steps.map((_, i) => (nan.includes(i) ? NAN : 1)), steps },
      { name, values: upTo(200).map((step) => (step < halvedAt ? 4 : 2)), steps: upTo(200) },
    ]);
    return [...scalerSkips(run, run.series[0]!)];
  };

  it('are those at which the scale falls: from the first of them to the finite one that follows', () => {
    expect(skips([5, 6], 50)).toEqual([5, 6]);
    expect(skips([5, 6], 70)).toEqual([5, 6]);
    expect(skips([5, 6], 49)).toEqual([]);
    expect(skips([5, 6], 71)).toEqual([]);
  });

  it('are five in a row at most, and a finite one follows', () => {
    expect(skips([5, 6, 7, 8, 9], 60)).toEqual([5, 6, 7, 8, 9]);
    expect(skips([5, 6, 7, 8, 9, 10], 60)).toEqual([]);
    expect(skips([18, 19], 185)).toEqual([]);
  });

  it('are those where the scale had just grown: it overflows, and falls back to what it was', () => {
    const of = (scales: readonly number[]) => {
      const run = makeRun([
        { name: 'grad_norm', values: [1, 1, 1, Number.POSITIVE_INFINITY, 1, 1] },
        { name: 'loss_scale', values: scales },
      ]);
      return [...scalerSkips(run, run.series[0]!)];
    };
    // Logged before the scaler is updated, and after.
    expect(of([8, 8, 8, 16, 8, 8])).toEqual([3]);
    expect(of([8, 8, 16, 8, 8, 8])).toEqual([3]);
    expect(of([8, 8, 8, 16, 16, 16])).toEqual([]);
  });

  it('are told stretch by stretch, each by its own fall', () => {
    expect(skips([3, 8, 9, 15], 85)).toEqual([8, 9]);
  });

  it('are none where the column is no scale, or there is no point of it before', () => {
    expect(skips([5, 6], 50, { name: 'upscaled' })).toEqual([]);
    expect(skips([0], 0)).toEqual([]);
    const scale = makeRun([{ name: 'loss_scale', values: [4, NAN, 2] }]);
    expect([...scalerSkips(scale, scale.series[0]!)]).toEqual([]);
    // Of two scales the first one logged.
    const falls = { name: 'loss_scale', values: [4, 4, 2, 2] };
    const stays = { name: 'grad_scale', values: [4, 4, 4, 4] };
    for (const [first, second, count] of [
      [falls, stays, 1],
      [stays, falls, 0],
    ] as const) {
      const run = makeRun([{ name: 'loss', values: [1, 1, NAN, 1] }, first, second]);
      expect(scalerSkips(run, run.series[0]!).size).toBe(count);
    }
  });
});

describe('a fall of returns of both signs', () => {
  /** Returns that rise from −200 to 200 over three tenths of the points, and are at −200 in a part of them. */
  const fall = (points: number, from: number, to: number) => {
    const values = Array.from({ length: points }, (_, i) => {
      const share = i / points;
      const level = share >= from && share < to ? -200 : -200 + 400 * Math.min(1, share / 0.3);
      return level + 25 * Math.sin(1.7 * i) + 15 * Math.cos(2.9 * i);
    });
    const run = makeRun([{ name: 'episodic_return', values }]);
    return fallOf(run.series[0]!, 0, settings);
  };

  it.each([40, 100, 160, 220, 300, 1000])(
    'is told of %i points, also where few follow, and a dip is not',
    (points) => {
      expect(fall(points, 0.6, 1)).toMatchObject({ from: expect.closeTo(0.6 * points, -1) });
      expect(fall(points, 1, 1)).toBeNull();
      expect(fall(points, 0.5, 0.65)).toBeNull();
    },
  );

  it('is left open where it is a tenth of the points, which may be exploration', () => {
    for (const points of [100, 160, 220]) expect(fall(points, 0.9, 1)).toBeNull();
  });
});

describe('a fall of a reward whose single points are as noisy as it is high', () => {
  /** How many of 20 seeds are told, of rewards that rise to 300 over three tenths of the points; noise has a standard deviation of 100. */
  const told = (points: number, share: (part: number) => number, from?: number): number => {
    let count = 0;
    for (let seed = 0; seed < 20; seed++) {
      const next = random(seed);
      const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      const values = Array.from(
        { length: points },
        (_, i) => 300 * Math.min(1, i / points / 0.3) * share(i / points) + 100 * normal(),
      );
      const fall = fallOf(makeRun([{ name: 'ep_rew_mean', values }]).series[0]!, 0, settings);
      if (fall === null) continue;
      count++;
      if (from !== undefined) expect(Math.abs(fall.from - from)).toBeLessThan(16);
      expect(fall.after).toBeLessThan(fall.before / 2);
    }
    return count;
  };
  const collapses = (part: number) => (part < 0.6 ? 1 : 0.1);

  it.each([100, 400, 2000])('is told of %i points', (points) => {
    expect(told(points, collapses, 0.6 * points)).toBeGreaterThan(18);
  });
  it('is told of 40 points more often than not', () => {
    expect(told(40, collapses, 24)).toBeGreaterThan(10);
  });
  it.each([40, 100, 400, 2000])('is none of %i points where nothing falls', (points) => {
    expect(told(points, () => 1)).toBe(0);
  });
  it('is none where it comes back, and where six tenths of the reward are left', () => {
    for (const points of [100, 400]) {
      expect(told(points, (part) => (part < 0.5 || part > 0.7 ? 1 : 0.1))).toBe(0);
      expect(told(points, (part) => (part < 0.6 ? 1 : 0.6))).toBeLessThan(2);
    }
  });

  it('is none where means over many episodes wander, and is told where they fall far', () => {
    /** Of 100 seeds, with neighbours correlated by 0.9 and a standard deviation of 1. */
    const toldOf = (points: number, level: (part: number) => number): number => {
      let count = 0;
      for (let seed = 0; seed < 100; seed++) {
        const next = random(seed);
        const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
        let state = normal();
        const values = Array.from({ length: points }, (_, i) => {
          state = 0.9 * state + Math.sqrt(1 - 0.81) * normal();
          return level(i / points) + state;
        });
        if (fallOf(makeRun([{ name: 'ep_rew_mean', values }]).series[0]!, 0, settings) !== null) count++;
      }
      return count;
    };
    // Before neighbours counted, 55 of 100 rewards of 400 points about zero fell.
    expect(toldOf(400, () => 0)).toBeLessThan(12);
    expect(toldOf(400, (part) => (part < 0.6 ? 6 : 0))).toBeGreaterThan(95);
  });

  it('is told of successes and failures, and their chance alone is none', () => {
    const successes = (seed: number, last: number) => {
      const next = random(seed);
      const values = Array.from({ length: 100 }, (_, i) => (next() < (i < 60 ? 0.8 : last) ? 1 : 0));
      return fallOf(makeRun([{ name: 'success_rate', values }]).series[0]!, 0, settings);
    };
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    expect(seeds.filter((seed) => successes(seed, 0.05) !== null).length).toBeGreaterThan(15);
    expect(seeds.filter((seed) => successes(seed, 0.8) !== null)).toEqual([]);
  });
});
