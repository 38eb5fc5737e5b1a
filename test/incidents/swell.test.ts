/** Rises of the level that pass, in losses so noisy that no point leaves its band; the shared cases hold where they begin and end. */
import { describe, expect, it } from 'vitest';
import { judgePoints } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { random } from '../support/random.ts';

/** Noise of 40 % about 1, times what is asked for at each of the points. */
const noisy = (points: number, level: (i: number) => number): Float64Array => {
  const next = random(points);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Float64Array.from({ length: points }, (_, i) => level(i) * Math.exp(0.4 * normal()));
};
const between = (from: number, to: number, level: number) => (i: number) => (i >= from && i < to ? level : 1);
const judge = (values: Float64Array, changed: object = {}) =>
  judgePoints(values, { ...DEFAULT_VERDICT_SETTINGS, ...changed }).incidents;

describe('a swell', () => {
  it('is told with its ends, the levels before and in it, and its largest point', () => {
    const values = noisy(400, between(200, 250, 5));
    const [one, ...others] = judge(values);
    expect(others).toEqual([]);
    expect(one).toMatchObject({
      class: 'micro-divergence',
      form: 'swell',
      onset: 200,
      recovered: 250,
      end: 250,
    });
    expect(one!.before).toBeGreaterThan(0.8);
    expect(one!.before).toBeLessThan(1.2);
    expect(one!.after).toBeGreaterThan(4);
    expect(values[one!.peak]).toBe(Math.max(...values.subarray(200, 250)));
    expect(one!.size).toBeCloseTo(values[one!.peak]! / one!.before, 10);
    expect(one!.lastGood).toBeLessThan(200);
  });
  it('is drift where it comes back only in part, and no climb follows', () => {
    const values = noisy(900, (i) => (i < 300 ? 1.9 : i < 500 ? 1 : i < 560 ? 8 : 1.75));
    expect(judge(values)).toMatchObject([{ class: 'drift', onset: 500, recovered: null, end: 900 }]);
  });
  it('is none where the level less than doubles, or a setting asks for more', () => {
    expect(judge(noisy(400, between(200, 250, 1.8)))).toEqual([]);
    expect(judge(noisy(400, between(200, 250, 5)), { stepErrors: 100 })).toEqual([]);
    expect(judge(noisy(400, between(200, 250, 5)), { fullRatio: 8 })).toEqual([]);
    expect(judge(noisy(400, () => 1))).toEqual([]);
  });
  it('is none where it stays up, which is a climb, and where a point left the band', () => {
    expect(judge(noisy(400, between(200, 400, 5)))).toMatchObject([{ form: 'climb' }]);
    expect(judge(noisy(400, between(200, 250, 500)))).toMatchObject([{ form: 'jump' }]);
  });
  it('is none of losses of both signs', () => {
    const values = noisy(400, between(200, 250, 5)).map((x, i) => (i === 20 ? -0.1 : x));
    expect(judge(values).filter(({ form }) => form === 'swell')).toEqual([]);
  });
  it('is none of points that are high again and again', () => {
    const next = random(7);
    for (const points of [400, 1500]) expect(judge(noisy(points, () => (next() < 0.25 ? 4 : 1)))).toEqual([]);
  });
  it('is told of a hundred thousand points', () => {
    expect(judge(noisy(100_000, between(60_000, 66_000, 5)))).toMatchObject([
      { form: 'swell', onset: expect.closeTo(60_000, -2), recovered: expect.closeTo(66_000, -2) },
    ]);
  });
});
