/**
 * The judge on losses without noise, where every number can be said by hand: the level is 1, an incident begins above 1.25, and
 * above twice the level a run is lost.
 */
import { describe, expect, it } from 'vitest';
import { badness, worstOf } from '../../src/judge/incidents/judge.ts';
import { VERDICT_CLASSES } from '../../src/model/report.ts';
import { normals } from '../detectors/runs.ts';
import { judgePoints } from './judged.ts';

const NAN = Number.NaN;
const judge = (values: readonly number[]) => judgePoints(Float64Array.from(values));
/** So many points of 1, but for some: `{ 100: 10 }`, `{ 100: [10, 5] }` for five of them. */
function ones(count: number, but: Readonly<Record<number, number | readonly [number, number]>>): number[] {
  const values = new Array<number>(count).fill(1);
  for (const [at, one] of Object.entries(but)) {
    const [value, points] = typeof one === 'number' ? [one, 1] : one;
    values.fill(value, Number(at), Math.min(count, Number(at) + points));
  }
  return values;
}
/** The one incident of a series. */
function incidentOf(values: readonly number[]) {
  const { incidents } = judge(values);
  expect(incidents).toHaveLength(1);
  return incidents[0]!;
}
const said = (values: readonly number[]) => {
  const { class: found, onset, recovered, end } = incidentOf(values);
  return [found, onset, recovered, end];
};

describe('an incident that comes back', () => {
  it('lasts from its first high point to the level that is back', () => {
    expect(said(ones(300, { 100: [10, 5] }))).toEqual(['micro-divergence', 100, 105, 105]);
    expect(incidentOf(ones(300, { 100: [10, 5], 102: 20 }))).toMatchObject({
      form: 'jump',
      lastGood: 99,
      peak: 102,
      before: 1,
      size: 20,
      byRatio: true,
    });
  });

  it('has the first point that is not finite for its peak, and no size', () => {
    const { peak, size } = incidentOf(ones(300, { 100: 50, 101: NAN, 102: Number.POSITIVE_INFINITY }));
    expect([peak, size]).toEqual([101, Number.POSITIVE_INFINITY]);
  });

  it.each([
    [1.2, 0, 1],
    [1.24, 0, 1],
    [1.26, 1, 0],
  ])('a point at %f: %i incidents and %i notes', (value, incidents, spikes) => {
    const found = judge(ones(300, { 100: value }));
    expect([found.incidents.length, found.spikes.length]).toEqual([incidents, spikes]);
  });

  it('in the first steps is how trainings start, if it is below four times the level', () => {
    expect(judge(ones(300, { 6: 3 })).incidents).toEqual([]);
    expect(judge(ones(300, { 6: 9 })).incidents).toHaveLength(1);
    expect(judge(ones(300, { 12: 3 })).incidents).toHaveLength(1);
    expect(judge(ones(300, { 6: NAN })).incidents).toHaveLength(1);
  });

  it('after 100 points comes back too late', () => {
    expect(said(ones(400, { 200: [10, 90] }))[0]).toBe('micro-divergence');
    expect(said(ones(400, { 200: [10, 110] }))[0]).toBe('full-divergence');
  });
});

describe('an incident that does not come back', () => {
  it.each([
    [1.3, 'micro-divergence'],
    [1.6, 'drift'],
    [1.99, 'drift'],
    [2.01, 'full-divergence'],
    [50, 'full-divergence'],
  ])('stays at %f: %s', (level, found) => {
    expect(said(ones(400, { 100: [level, 300] })).slice(0, 3)).toEqual([found, 100, null]);
  });

  it('settles at a new level, which is the normal from there on', () => {
    const { incidents } = judge(ones(600, { 100: [1.3, 500], 400: [4, 5] }));
    expect(incidents.map(({ class: found, onset, before }) => [found, onset, before])).toEqual([
      ['micro-divergence', 100, 1],
      ['micro-divergence', 400, 1.3],
    ]);
  });

  it('is open until it had its time to come back, unless it is ten times as high', () => {
    expect(said(ones(300, { 280: [5, 20] }))[0]).toBe('inconclusive');
    expect(said(ones(300, { 280: [11, 20] }))[0]).toBe('full-divergence');
    expect(said(ones(300, { 299: 5 }))).toEqual(['inconclusive', 299, null, 300]);
    expect(said(ones(30, { 20: [1.9, 10] }))[0]).toBe('drift');
  });

  it('that climbs little by little is a drift, however high below ten times', () => {
    const climb = (end: number): number[] =>
      Array.from({ length: 600 }, (_, i) => (i < 200 ? 1 : end ** ((i - 200) / 399)));
    expect(incidentOf(climb(4))).toMatchObject({ class: 'drift', form: 'climb' });
    expect(said(climb(40))[0]).toBe('full-divergence');
    expect(judge(climb(1.2)).incidents).toEqual([]);
  });

  it('that ends as no number is that', () => {
    expect(said(ones(300, { 200: [5, 10], 210: [NAN, 90] }))).toEqual(['non-finite', 200, null, 300]);
    expect(said(ones(300, { 200: [NAN, 100] }))).toEqual(['non-finite', 200, null, 300]);
  });
});

describe('what is said of a whole series', () => {
  it.each([
    [[], 'inconclusive'],
    [ones(7, {}), 'inconclusive'],
    [ones(8, {}), 'healthy'],
    [[1, 100], 'inconclusive'],
    [[NAN, NAN], 'non-finite'],
    [new Array<number>(100).fill(0), 'healthy'],
  ])('%#', (values, found) => {
    expect(judge(values).class).toBe(found);
  });

  it('its level after its last point, and the highest that is usual; none where too few points tell one', () => {
    expect(judge(ones(4, {})).band).toEqual({ median: NAN, high: NAN });
    expect(judge(ones(100, {})).band.median).toBe(1);
    expect(judge(ones(100, {})).band.high).toBeCloseTo(1.25, 12);
    expect(judge(ones(400, { 100: [1.3, 300] })).band.median).toBeCloseTo(1.3, 12);
  });

  it('notes say where, how far out, and from what level; those that lead to an incident are part of it', () => {
    const normal = normals(5);
    const values = Array.from({ length: 400 }, () => Math.exp(0.005 * normal()));
    values[200] = 1.15;
    const [note, ...more] = judge(values).spikes;
    expect([note!.index, more]).toEqual([200, []]);
    expect(note!.before).toBeCloseTo(1, 1);
    expect(note!.scales).toBeGreaterThan(10);
    values.fill(3, 201, 204);
    expect(judge(values).spikes).toEqual([]);
  });

  it('a spike in the first points hides no later one, and tails that were always heavy do', () => {
    const normal = normals(5);
    const later = [240, 360, 480];
    const values = Array.from(
      { length: 600 },
      (_, i) => Math.exp(0.05 * normal()) * (i === 5 ? 3 : later.includes(i) ? 2 : 1),
    );
    expect(judge(values).incidents.map(({ onset }) => onset)).toEqual(later);
    const heavy = Array.from({ length: 600 }, (_, i) =>
      Math.exp(0.05 * normal() + (i % 7 === 5 ? Math.log(1.5 + 0.8 * Math.abs(normal())) : 0)),
    );
    expect(judge(heavy).incidents).toEqual([]);
  });

  it('a loss of both signs says the same, whatever is added to it', () => {
    const values = ones(400, { 0: [3, 50], 200: [4, 200] });
    for (const by of [0, 0.5, 2, 50]) {
      const { class: found, onset } = incidentOf(values.map((value) => value - by));
      expect([by, found, onset]).toEqual([by, 'full-divergence', 200]);
    }
  });
});

it('the worst incident leads: of the worst class the largest, of those the first', () => {
  const all = VERDICT_CLASSES.map((found) => ({ class: found, size: 1 }));
  expect(badness(worstOf(all)!.class)).toBe(Math.max(...all.map((one) => badness(one.class))));
  const sizes = [2, 5, 5].map((size, k) => ({ class: 'drift' as const, size, k }));
  expect(worstOf(sizes)!.k).toBe(1);
  expect(worstOf([])).toBeUndefined();
});
