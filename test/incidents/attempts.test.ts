/** Several attempts in one series, and which of several series decides. */
import { describe, expect, it } from 'vitest';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { comesFirst, judgeSeries } from '../../src/judge/incidents/attempts.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, findingsOf, makeRun, normals, type SeriesSpec } from '../detectors/runs.ts';
import { cpuTime } from '../support/cpu-time.ts';

/** A loss of 400 points that is lost from a point on. */
const lost = (from: number, seed = 1): number[] => fallingLoss(400, seed).fill(40, from);
const back = (from: number): number[] =>
  fallingLoss(400).map((loss, i) => (i >= from && i < from + 10 ? 9 * loss : loss));

describe('a series of several attempts', () => {
  it('that is dead in a later one is so from its own first zero on', () => {
    const { verdict } = judgeRun(
      makeRun([
        { name: 'loss', values: [fallingLoss(300), fallingLoss(200, 2).fill(0, 150)] },
        { name: 'grad_norm', values: [fallingLoss(300), fallingLoss(200, 2).fill(Number.NaN, 150)] },
      ]),
    );
    expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 150, lastGoodStep: 149 });
    expect(verdict.incidents).toMatchObject([{ attempt: 1, onsetStep: 150 }]);
  });
});

describe('a few points', () => {
  const verdictOf = (values: readonly number[]) => judgeRun(makeRun([{ name: 'loss', values }])).verdict;

  it('that end far above where they begin are no band that a loss stays in', () => {
    const { class: found, why } = verdictOf([10.8, 19.5, 45.3, 70.3, 82.2, 85.5, 85.8, 84.9]);
    expect(found).toBe('inconclusive');
    expect(why).toBe(
      '"loss" ends far above where it begins, and 8 points are too few to tell whether it comes down again.',
    );
  });
  it('that are 0 tell nothing, unless rewards stand beside them', () => {
    const zeros = { name: 'loss', values: new Array<number>(40).fill(0) };
    expect(judgeRun(makeRun([zeros])).verdict).toMatchObject({
      class: 'inconclusive',
      why: '"loss" is 0 at every point, which says nothing about how the run goes.',
    });
    const rewards: SeriesSpec = { name: 'reward', role: 'metric', values: zeros.values.map((_, i) => i) };
    expect(judgeRun(makeRun([zeros, rewards])).verdict.class).toBe('healthy');
  });
  it('that fall, wander or end below twice their beginning are healthy', () => {
    for (const values of [
      [9, 8, 7, 6, 5, 4, 3, 2],
      [19, 15, 22, 18, 11, 15, 27, 21],
      [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    ])
      expect(verdictOf(values).class).toBe('healthy');
  });
});

describe('which of two series decides', () => {
  const judged = (values: SeriesSpec['values']) => {
    const run = makeRun([{ name: 'loss', values }]);
    return judgeSeries(run, run.series[0]!, DEFAULT_VERDICT_SETTINGS);
  };
  it.each([
    ['the worse class, however late', judged(lost(300)), judged(back(100))],
    ['of one class the earlier onset', judged(lost(200)), judged(lost(300))],
    // Both inconclusive: one has an open incident, the other too few points for any.
    ['an onset before none', judged(fallingLoss(100).fill(9, 97)), judged([1, 2, 3])],
  ])('%s', (_, first, second) => {
    expect([comesFirst(first, second), comesFirst(second, first)]).toEqual([true, false]);
  });

  it('neither, where class and onset are the same: the first in the log does', () => {
    expect(comesFirst(judged(lost(200)), judged(lost(200, 2)))).toBe(false);
    const task = (name: string, seed: number) =>
      ({ name, role: 'task_loss', task: name, values: lost(200, seed) }) as const;
    for (const [a, b] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      expect(judgeRun(makeRun([task(a, 1), task(b, 2)])).verdict).toMatchObject({
        series: a,
        onsetStep: 200,
      });
  });
});

/** A loss at 0.4 with 2 % of noise. */
const level = (points: number, at = 0.4, seed = 5): number[] => {
  const normal = normals(seed);
  return Array.from({ length: points }, () => at * Math.exp(0.02 * normal()));
};
/** A loss that falls from 3 to 0.4 over 600 points, as it is from a step on. */
const falling = (from: number, to: number, seed = 6): number[] => {
  const normal = normals(seed);
  return Array.from(
    { length: to - from },
    (_, i) => (0.4 + 2.6 * Math.exp(-(from + i) / 60)) * Math.exp(0.02 * normal()),
  );
};

/** Attempts as they begin: the step of the first point, and the values. */
function resumed(...attempts: readonly (readonly [number, readonly number[]])[]) {
  const run = makeRun([
    {
      name: 'loss',
      values: attempts.map(([, values]) => values),
      steps: attempts.map(([from, values]) => values.map((_, i) => from + i)),
    },
  ]);
  return { run, ...judgeRun(run) };
}

it('class and step are those of one incident, of whatever attempt: what is open at the end, over a smaller one that came back', () => {
  const spike = falling(0, 400).map((loss, i) => (i >= 250 && i < 256 ? 4 * loss : loss));
  const ends = falling(0, 480).map((loss, i) => (i < 460 ? loss : 9 * loss));
  const { verdict } = resumed([0, spike], [0, ends]);
  expect(verdict).toMatchObject({ class: 'inconclusive', onsetStep: 460, recoveredStep: null });
  expect(verdict.incidents).toMatchObject([
    { attempt: 0, onsetStep: 250, class: 'micro-divergence' },
    { attempt: 1, onsetStep: 460, class: 'inconclusive' },
  ]);
});

describe('a resume is held against what it goes on from', () => {
  const good = [0, falling(0, 600)] as const;

  it.each([
    [30, 160],
    [8, 160],
    [3, 160],
    [110, 2],
  ])('%i points at %f after a level of 0.4: lost, with onset at the resume', (points, at) => {
    for (const from of [590, 600]) {
      const { verdict } = resumed(good, [from, level(points, at)]);
      expect(verdict, `from ${from}`).toMatchObject({
        class: 'full-divergence',
        onsetStep: from,
        lastGoodStep: from - 1,
      });
      expect(verdict.incidents).toMatchObject([{ attempt: 1, onsetStep: from }]);
    }
  });

  it.each([1, 2])(
    '%i points far above are lost, on a scale of differences too; five times the level is open',
    (points) => {
      const classOf = (at: number, minus: number): string => {
        const shift = (values: readonly number[]) => values.map((value) => value - minus);
        return resumed([0, shift(level(600))], [600, shift(level(points, at))]).verdict.class;
      };
      for (const minus of [0, 1])
        expect((minus === 0 ? [2, 6, 160] : [0.7, 6, 160]).map((at) => classOf(at, minus))).toEqual([
          'inconclusive',
          'full-divergence',
          'full-divergence',
        ]);
      // In whatever unit the losses are.
      for (const unit of [1e-3, 1e3]) {
        const inUnit = (values: readonly number[]) => values.map((value) => unit * (value - 1));
        expect(resumed([0, inUnit(level(600))], [600, inUnit(level(points, 6))]).verdict.class).toBe(
          'full-divergence',
        );
        expect(resumed([0, inUnit(level(600))], [600, inUnit(level(points, 0.7))]).verdict.class).toBe(
          'inconclusive',
        );
      }
      // One of the two is not: what is far above is all of it.
      expect(resumed(good, [600, [160, 0.4]]).verdict.class).not.toBe('full-divergence');
    },
  );

  it('NaN from its first point on is so from there', () => {
    const { verdict } = resumed(good, [590, new Array<number>(40).fill(Number.NaN)]);
    expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 590, lastGoodStep: 589 });
  });

  it('a climb to five times in thirty points is open, not healthy', () => {
    expect(resumed(good, [590, level(30, 2)]).verdict).toMatchObject({
      class: 'inconclusive',
      onsetStep: 590,
    });
  });

  it('one that jumps and comes back is a micro-divergence at the resume', () => {
    const { verdict } = resumed(good, [590, [...level(30, 4), ...level(200)]]);
    expect(verdict).toMatchObject({ class: 'micro-divergence', onsetStep: 590, recoveredStep: 620 });
  });

  it('an earlier attempt that is long is held against its own past too', () => {
    const { verdict } = resumed(good, [590, level(30, 160)], [590, level(200)]);
    expect(verdict).toMatchObject({ class: 'full-divergence', onsetStep: 590 });
    expect(verdict.incidents).toMatchObject([{ attempt: 1 }]);
  });

  it.each<[string, readonly (readonly [number, readonly number[]])[]]>([
    ['a healthy resume', [good, [600, level(100)]]],
    ['one that repeats steps at their level', [good, [300, falling(300, 700, 8)]]],
    ['one that repeats steps of a steep fall at their level', [good, [40, falling(40, 700, 8)]]],
    ['one with a lower learning rate', [good, [600, level(100, 0.3)]]],
    ['one after a hole', [good, [900, level(100)]]],
    ['a beginning from scratch', [good, [0, falling(0, 600, 9)]]],
    ['a beginning from scratch that is short of the first', [good, [0, falling(0, 60, 9)]]],
    ['one from scratch under steps that count on', [good, [600, falling(0, 400, 9)]]],
    [
      'four runs in one file',
      [good, [0, falling(0, 600, 9)], [0, falling(0, 600, 10)], [0, falling(0, 600, 11)]],
    ],
    [
      'a crash loop that gets through',
      [good, ...[590, 590, 591, 590].map((from) => [from, level(4, 0.4, from)] as const), [590, level(100)]],
    ],
    ['a short attempt at 160 that was done again', [good, [590, level(5, 160)], [590, level(100)]]],
  ])('%s is healthy', (_, attempts) => {
    expect(resumed(...attempts).verdict).toMatchObject({ class: 'healthy', incidents: [] });
  });

  it('one from scratch begins where the first began and ends below that, by medians of five points', () => {
    const times = (count: number, value: number): number[] => new Array<number>(count).fill(value);
    const first = [0, [...times(20, 1), ...times(80, 0.1)]] as const;
    const anew = (...values: readonly number[]): string => resumed(first, [100, values]).verdict.class;
    expect(anew(...times(95, 1.2), ...times(5, 0.9))).toBe('healthy');
    // The middle one of the first five is within a quarter of the first level; that of the four after the first is not.
    expect(anew(1.2, 1.3, 1.3, 1.2, 1.2, ...times(90, 1.2), ...times(5, 0.9))).toBe('healthy');
    expect(anew(1.3, 1.3, 1.3, 1.2, 1.2, ...times(90, 1.2), ...times(5, 0.9))).toBe('full-divergence');
    // The last five decide, not those before them.
    expect(anew(...times(90, 1.2), ...times(5, 0.9), ...times(5, 1.2))).toBe('full-divergence');
  });

  it('one that goes on where it was and jumps to where the run began is hurt, and not from scratch', () => {
    // Of Adam and Adagrad whose state was lost at a resume.
    const first = [1.1, 0.7, 4.6, 0.9, 0.9, 1.5, 1.2, 0.8, ...falling(0, 92)];
    const level = Array.from({ length: 100 }, (_, i) => 0.15 + 0.03 * Math.sin(7 * i));
    const jump = [0.1, 1.4, 0.6, 8.3, 0.5, 1.2, 1.4, 1.5, 0.9, 1.2, 0.7, 0.9, 0.5, 0.4, 0.4, 0.3];
    const hurt = resumed([0, [...first, ...level]], [200, [...jump, ...level]]).verdict;
    expect(hurt).toMatchObject({ class: 'micro-divergence', onsetStep: 201 });
    // The first point may be a high one.
    const spike = resumed([0, [...first, ...level]], [200, [0.9, 14, 1.1, 0.6, 0.7, ...level]]).verdict;
    expect(spike.class).toBe('micro-divergence');
    expect(resumed([0, [...first, ...level]], [200, [...first, ...level]]).verdict.class).not.toBe(
      'full-divergence',
    );
  });

  it('one from scratch under steps that count on, that does not come down, is lost', () => {
    expect(resumed(good, [600, level(300, 3)]).verdict).toMatchObject({
      class: 'full-divergence',
      onsetStep: 600,
    });
  });

  it('a last attempt that is too short to judge leaves the run inconclusive', () => {
    const { verdict } = resumed(good, [590, level(4)]);
    expect(verdict).toMatchObject({ class: 'inconclusive', onsetStep: null });
    expect(verdict.why).toBe(
      'The last attempt of "loss" begins at step 590 and has 4 points, too few to judge. What came before it is healthy.',
    );
    const loop = [590, 591, 590].map((from) => [from, level(4, 0.4, from)] as const);
    expect(resumed(good, ...loop).verdict.class).toBe('inconclusive');
    expect(resumed(good, [600, level(7, 3)]).verdict.class).toBe('inconclusive');
  });

  it('repeated steps are a warning, but a note where the attempt before was too short and was done again', () => {
    const severities = (...attempts: readonly (readonly [number, readonly number[]])[]) =>
      findingsOf(DETECTORS['repeated-or-lost-steps'], resumed(...attempts).run).map(
        ({ severity }) => severity,
      );
    expect(severities(good, [590, level(100)])).toEqual(['warning']);
    expect(severities(good, [590, level(4)], [590, level(100)])).toEqual(['note', 'warning']);
  });

  it.each([
    [5, 100],
    [30, 300],
    [400, 2000],
  ])('%i points are held against %i before them', (points, history) => {
    const long = [0, level(3000)] as const;
    expect(resumed(long, [3000, level(points)]).loss?.histories.map(({ length }) => length)).toEqual([
      0,
      history,
    ]);
  });

  it('the points before it are those that training went on from, of several attempts where one has too few', () => {
    const stepsBefore = (...attempts: readonly (readonly [number, readonly number[]])[]) => [
      ...resumed(...attempts).loss!.histories.at(-1)!,
    ];
    const from = (first: number, last: number) =>
      Array.from({ length: last - first + 1 }, (_, i) => first + i);
    expect(stepsBefore(good, [600, level(50)], [650, level(10)])).toEqual(from(550, 649));
    // Training went back: what was logged from there on was thrown away, to its last point but one.
    expect(stepsBefore(good, [600, level(50)], [601, level(10)])).toEqual(from(501, 600));
    expect(stepsBefore(good, [600, level(50)], [580, level(10)])).toEqual(from(480, 579));
  });

  it('one begins anew at the first step, or one usual distance behind it', () => {
    const every50 = (first: number, values: readonly number[]) => ({
      values,
      steps: values.map((_, i) => first + 50 * i),
    });
    const historyOf = (first: number): number => {
      const parts = [every50(50, falling(0, 100)), every50(first, falling(0, 100, 9))];
      const run = makeRun([
        { name: 'loss', values: parts.map(({ values }) => values), steps: parts.map(({ steps }) => steps) },
      ]);
      return judgeRun(run).loss!.histories[1]!.length;
    };
    expect([50, 100, 150].map(historyOf)).toEqual([0, 0, 2]);
  });

  it('a short attempt was done again where a later one covers its last step, and only there', () => {
    const doneAgain = (...later: readonly (readonly [number, readonly number[]])[]) =>
      resumed(good, [600, level(5)], ...later).loss!.doneAgain;
    expect(doneAgain([600, level(5)], [605, level(100)])).toEqual([false, true, false, false]);
    expect(doneAgain([604, level(1)], [605, level(100)])).toEqual([false, true, false, false]);
    expect(doneAgain([605, level(100)])).toEqual([false, false, false]);
    expect(doneAgain([600, level(4)], [605, level(100)])).toEqual([false, false, false, false]);
  });

  it('a thousand restarts take no more than their points', () => {
    const loop = Array.from({ length: 1000 }, (_, k) => [590, level(4, 0.4, k)] as const);
    const spent = cpuTime();
    expect(resumed(good, ...loop, [590, level(100)]).verdict.class).toBe('healthy');
    expect(spent()).toBeLessThan(5000);
  });
});

describe('a few points that grow by decades', () => {
  const verdictOf = (values: readonly number[]) =>
    judgeRun(makeRun([{ name: 'loss', values: [...values] }])).verdict;
  it('are a divergence, from the point after the lowest on', () => {
    expect(verdictOf([0.8, 0.69, 20, 700, 2e4, 9e5])).toMatchObject({
      class: 'full-divergence',
      onsetStep: 2,
      lastGoodStep: 1,
      recoveredStep: null,
    });
  });
  it.each<[string, number[]]>([
    ['three points', [0.69, 700, 9e5]],
    ['a growth by four decades', [0.69, 20, 700, 6900]],
    ['a rise that comes down again', [0.69, 700, 9e5, 2e4, 30, 2]],
    ['a loss that falls by decades', [9e5, 2e4, 700, 20, 0.69]],
  ])('%s is not one', (_, values) => {
    expect(verdictOf(values).class).toBe('inconclusive');
  });
});
