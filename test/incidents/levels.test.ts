/** The judge of levels: one computation on whatever points there are. */
import { describe, expect, it } from 'vitest';
import { KINDS, madeRuns } from '../../bench/detection/made.ts';
import { Follower, unitOf } from '../../src/judge/incidents/follow.ts';
import { RunningMedian } from '../../src/judge/incidents/levels.ts';
import { medianOf } from '../../src/model/order-statistics.ts';
import { judgePoints } from './judged.ts';

const runsOf = (name: string, count = 6) => {
  const row = KINDS.findIndex((kind) => kind.name === name);
  return [...madeRuns(KINDS[row]!, 600, count, 40 + row)];
};

describe('a running median', () => {
  it('is the median of the last points, ties and all', () => {
    const values = Array.from({ length: 200 }, (_, i) => Math.round(4 * Math.sin(i * 1.7)) + 0);
    for (const width of [1, 2, 3, 9, 81, 100]) {
      const median = new RunningMedian(width);
      values.forEach((value, i) => {
        median.push(value);
        if (i + 1 < width) expect(median.level).toBeNaN();
        else expect(median.level).toBe(medianOf(values.slice(i + 1 - width, i + 1)));
      });
    }
  });
});

describe('the judge of levels', () => {
  it.each(['white noise 45 %', 't₃ tails at 20 %', 'warm restarts', 'daily cycle ± 35 %', 'falls in steps'])(
    'finds nothing in %s',
    (name) => {
      const found = runsOf(name).map(({ values }) => judgePoints(values).class);
      expect(found.filter((one) => one === 'healthy').length).toBeGreaterThanOrEqual(5);
    },
  );

  it.each([
    '× 6 that stays at 45 %',
    '× 30 for three points at 15 %',
    'all lost: 0.60 → 0.693 at 2 %',
    'climb to 3 × at 5 %',
    'NaN after a jump of × 10',
  ])('finds %s where it was put', (name) => {
    const kind = KINDS.find((one) => one.name === name)!;
    const right = runsOf(name).filter((run) => {
      const { class: found, incidents } = judgePoints(run.values);
      const worst = incidents.find((one) => one.class === found);
      return kind.right({ class: found, onset: worst?.onset ?? null }, run);
    });
    // A climb behind two steps down is as high as the levels differ by; the band finds it.
    expect(right.length).toBeGreaterThanOrEqual(name.startsWith('climb') ? 5 : 6);
  });

  it('says of a prefix what it said when no more was known', () => {
    for (const { values } of runsOf('× 6 that stays at 45 %', 3)) {
      const whole = new Follower(unitOf(1, 1));
      for (let i = 0; i < values.length; i++) {
        whole.step(values[i]!);
        if (i % 97 !== 0) continue;
        const prefix = new Follower(unitOf(1, 1));
        for (const value of values.subarray(0, i + 1)) prefix.step(value);
        expect({ open: whole.open, over: whole.excesses }).toEqual({
          open: prefix.open,
          over: prefix.excesses,
        });
      }
    }
  });

  it('says the same of a loss of both signs, whatever is added to it', () => {
    for (const { values } of runsOf('× 6 that stays at 45 %', 4)) {
      const [low, lower] = [50, 500].map((by) => judgePoints(values.map((value) => value - by)));
      expect(low!.class).toBe(lower!.class);
      expect(low!.incidents.map(({ onset }) => onset)).toEqual(lower!.incidents.map(({ onset }) => onset));
    }
  });

  it.each([[[]], [[1]], [[Number.NaN, Number.NaN]], [[0, 0, 0, 0]]])('is defined on %j', (values) => {
    expect(['healthy', 'inconclusive', 'non-finite']).toContain(judgePoints(Float64Array.from(values)).class);
  });
});
