/**
 * The judge on losses without noise, where every number can be said by hand: the level is 1, its band ends at 1.05, an
 * incident begins above 1.25, and above twice the level a run is lost.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { badness, judgePoints, lengthsFor, worstOf } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { VERDICT_CLASSES } from '../../src/model/report.ts';
import { projectRoot } from '../support/shared-data.ts';

const NAN = Number.NaN;
const judge = (values: readonly number[]) => judgePoints(Float64Array.from(values), DEFAULT_VERDICT_SETTINGS);
/** So many points of 1, but for some: `{ 100: 10 }`, `{ 100: [10, 5] }` for five of them. */
function ones(count: number, but: Readonly<Record<number, number | readonly [number, number]>>): number[] {
  const values = new Array<number>(count).fill(1);
  for (const [at, one] of Object.entries(but)) {
    const [value, points] = typeof one === 'number' ? [one, 1] : one;
    values.fill(value, Number(at), Math.min(count, Number(at) + points));
  }
  return values;
}
/** The one incident of a series, its ratios to ten digits. */
function incidentOf(values: readonly number[]) {
  const { incidents } = judge(values);
  expect(incidents).toHaveLength(1);
  const [one] = incidents;
  const round = (x: number): number => Number(x.toPrecision(10));
  return {
    ...one!,
    before: round(one!.before),
    high: round(one!.high),
    after: round(one!.after),
    size: round(one!.size),
  };
}
const classOf = (values: readonly number[]): readonly unknown[] => {
  const { class: found, recovered } = incidentOf(values);
  return [found, recovered];
};

describe('the lengths', () => {
  it.each([
    // points, grace, window size and start, recovery, decision
    [12, 2, 50, 5, 1, 100],
    [60, 10, 50, 7, 3, 100],
    [120, 20, 50, 15, 6, 100],
    [300, 20, 50, 20, 15, 100],
    [2000, 40, 100, 20, 20, 200],
    [50_000, 1000, 1000, 20, 20, 5000],
  ])('of %i points', (points, grace, size, start, recovery, decision) => {
    expect(lengthsFor(points, DEFAULT_VERDICT_SETTINGS)).toEqual({
      grace,
      window: { size, start },
      recovery,
      decision,
    });
  });
});

describe('a jump that comes back', () => {
  it('lasts from its first point out of the band to the level that is back', () => {
    expect(incidentOf(ones(300, { 100: 1.2, 101: 10, 102: 12, 103: [12, 9] }))).toEqual({
      class: 'micro-divergence',
      form: 'jump',
      onset: 100,
      lastGood: 99,
      recovered: 112,
      end: 112,
      // The first of the largest.
      peak: 102,
      before: 1,
      high: 1.05,
      after: 12,
      size: 12,
      byRatio: true,
    });
  });
  it('has the level of its last three points in a short run', () => {
    // Two of the last three are high, and four of the last six are not.
    expect(incidentOf(ones(60, { 40: [10, 2] }))).toMatchObject({ onset: 40, recovered: 42, after: 10 });
  });
  it('at the first point that is not finite, is its peak and has no size', () => {
    const { peak, size } = incidentOf(ones(300, { 100: 50, 101: NAN, 102: Number.POSITIVE_INFINITY }));
    expect([peak, size]).toEqual([101, Number.POSITIVE_INFINITY]);
  });
  it.each([
    [1.04, 0, 0],
    [1.2, 0, 1],
    [1.24, 0, 1],
    [1.26, 1, 0],
  ])('a point at %f: %i incidents and %i notes', (value, incidents, spikes) => {
    const found = judge(ones(300, { 100: value }));
    expect([found.incidents.length, found.spikes.length]).toEqual([incidents, spikes]);
  });
  it('in the first steps is how trainings start, if it is finite', () => {
    expect(judge(ones(300, { 19: 9 })).incidents).toEqual([]);
    expect(judge(ones(300, { 20: 9 })).incidents).toHaveLength(1);
    expect(judge(ones(300, { 2: NAN })).incidents).toMatchObject([
      { onset: 2, recovered: 3, lastGood: 1, after: 1 },
    ]);
  });
  it('that stays within half again of its level for the whole decision window is one, and the new level is the normal', () => {
    const values = ones(500, { 100: [1.4, 400], 350: [14, 5] });
    expect(judge(values).incidents).toMatchObject([
      { class: 'micro-divergence', onset: 100, recovered: null, end: 200 },
      { class: 'micro-divergence', onset: 350, recovered: 355 },
    ]);
    expect(judge(values).incidents[1]!.before).toBeCloseTo(1.4, 9);
    expect(judge(values).band.median).toBeCloseTo(1.4, 9);
  });
});

describe('the band after a jump', () => {
  /** Back after 82 points, as two of three points are; never ten in a row lie in the band. */
  const restless = (points: number): number[] =>
    ones(points, { 100: [3, 82] }).map((one, i) => (i >= 182 && i % 3 === 2 ? 1.2 : one));

  it('that ends with its decision window is that of the points since the level is back, each once', () => {
    expect(judge(restless(210)).incidents).toMatchObject([{ onset: 100, recovered: 183, end: 183 }]);
    expect(judge(restless(210)).band.median).toBe(1);
    // The window ends at point 199; twenty points since 183 make a band.
    expect(judge(restless(202)).band.median).toBe(NAN);
    expect(judge(restless(203)).band.median).toBe(1);
  });
  it('that is back where the log ends has the points since then too', () => {
    // Of the 50 points before it 24 are at 1.04; of those and the 14 after it more than half.
    const wavy = ones(300, { 285: 3 }).map((one, i) =>
      i > 285 || (i >= 235 && i < 283 && i % 2 === 0) ? 1.04 : one,
    );
    expect(judge(wavy).incidents).toMatchObject([{ onset: 285, recovered: 286 }]);
    expect(judge(wavy).band.median).toBeCloseTo(1.04, 9);
  });
});

describe('a jump that does not', () => {
  it.each([
    // The level that it stays at, and what became of the run.
    [1.4, 'micro-divergence'],
    [1.6, 'drift'],
    [1.99, 'drift'],
    [2.01, 'full-divergence'],
    [50, 'full-divergence'],
  ])('stays at %f: %s', (level, found) => {
    const { incidents } = judge(ones(400, { 100: [level, 300] }));
    expect(incidents.find(({ form }) => form === 'jump')).toMatchObject({
      class: found,
      onset: 100,
      recovered: null,
      end: found === 'full-divergence' ? 400 : 200,
      lastGood: 99,
    });
  });
  it.each([1, 2, 3, 5, 9])('and has %i points where the log ends has the level of these alone', (points) => {
    expect(judge(ones(200 + points, { 200: [50, points] })).incidents).toMatchObject([
      { onset: 200, before: 1, after: 50 },
    ]);
  });
  it('and comes back after its decision window is lost all the same', () => {
    expect(classOf(ones(600, { 100: [50, 110] }))).toEqual(['full-divergence', 210]);
    expect(classOf(ones(600, { 100: [50, 90] }))).toEqual(['micro-divergence', 190]);
    // One point in the band as the window ends: it may be on its way back.
    expect(classOf(ones(600, { 100: [50, 99] }))).toEqual(['micro-divergence', 199]);
    expect(classOf(ones(600, { 100: [50, 100] }))).toEqual(['full-divergence', 200]);
  });
  it('is NaN at the last point', () => {
    expect(incidentOf(ones(300, { 299: NAN }))).toMatchObject({ class: 'non-finite', onset: 299 });
  });
  it('is NaN to the end', () => {
    expect(incidentOf(ones(300, { 100: 9, 101: [NAN, 199] }))).toMatchObject({
      class: 'non-finite',
      onset: 100,
      peak: 101,
      after: Number.POSITIVE_INFINITY,
    });
  });
});

describe('a log that ends within an incident', () => {
  // Of 300 points fifteen in the band are a recovery; at the end a quarter of them is enough.
  it.each([
    [294, ['micro-divergence', 295]],
    [295, ['micro-divergence', 296]],
    [296, ['inconclusive', null]],
    [299, ['inconclusive', null]],
  ])('a point at %i', (at, found) => {
    expect(classOf(ones(300, { [at]: 5 }))).toEqual(found);
  });
  it.each([
    // The last fifteen points have their median above ten times the level, or not.
    [293, 20, 'inconclusive'],
    [292, 20, 'full-divergence'],
    [280, 9.9, 'inconclusive'],
    [280, 10.1, 'full-divergence'],
  ])('from %i on at %f: %s', (from, level, found) => {
    expect(classOf(ones(300, { [from]: [level, 300] }))[0]).toBe(found);
  });
  it.each([
    [1.45, 'inconclusive'],
    [1.55, 'full-divergence'],
  ])('in epochs at %f: %s', (level, found) => {
    expect(classOf(ones(60, { 50: [level, 60] }))[0]).toBe(found);
  });
});

describe('notes', () => {
  it('say where, how far out, and from what level', () => {
    expect(judge(ones(300, { 100: 1.1, 200: 1.2 })).spikes).toEqual([
      { index: 100, scales: Number.POSITIVE_INFINITY, before: 1 },
      { index: 200, scales: Number.POSITIVE_INFINITY, before: 1 },
    ]);
    expect(judge(ones(300, { 19: 1.1 })).spikes).toEqual([]);
  });
  it('that lead to an incident are part of it', () => {
    expect(judge(ones(300, { 100: 1.1, 101: 9 })).spikes).toEqual([]);
    expect(
      judge(ones(300, { 50: 1.1, 100: 1.1, 101: 1.2, 102: 9 })).spikes.map(({ index }) => index),
    ).toEqual([50]);
  });
  it('count scales of the noise, where there is some', () => {
    // Half of the points at 1.01: the median is between both, and the scale (log 1.01)/2 · 1.4826 · (1 + 4/50).
    const wavy = (value: number) =>
      judge(Array.from({ length: 300 }, (_, i) => (i === 100 ? value : i % 2 === 0 ? 1 : 1.01)));
    const scale = (Math.log(1.01) / 2) * 1.4826 * (1 + 4 / 50);
    const scales = (value: number): number => (Math.log(value) - Math.log(1.01) / 2) / scale;
    expect(scales(1.06)).toBeLessThan(7.5);
    expect(wavy(1.06).spikes).toEqual([]);
    expect(scales(1.075)).toBeGreaterThan(7.5);
    expect(wavy(1.075).spikes[0]).toMatchObject({
      index: 100,
      scales: expect.closeTo(scales(1.075), 6) as number,
    });
    expect(wavy(1.075).spikes[0]!.before).toBeCloseTo(Math.sqrt(1.01), 9);
  });
});

describe('what is said of a whole series', () => {
  it('how many points, how many of them not finite', () => {
    const odd = ones(300, { 50: NAN, 100: [10, 3], 101: NAN, 200: [Number.NEGATIVE_INFINITY, 2] });
    expect(judge(odd)).toMatchObject({ points: 300, nonFinite: 4 });
    expect(judge(ones(300, {}))).toMatchObject({ points: 300, nonFinite: 0, class: 'healthy' });
  });
  it('the band after its last point; none where too few points make one', () => {
    expect(judge(ones(300, {})).band.median).toBe(1);
    expect(judge(ones(300, {})).band.high).toBeCloseTo(1.05, 12);
    expect(judge([1, 1, 1, 1]).band).toEqual({ median: NAN, high: NAN });
    expect(judge([1, 1, 1, 1, 1]).band.median).toBe(1);
  });
  it('has a band that is wider where high points come again and again', () => {
    // Every tenth point at 1.2: usual, and no reason for a note.
    const tails = judge(
      Array.from({ length: 400 }, (_, i) => (i % 10 === 9 ? 1.2 : i % 2 === 0 ? 1 : 1.001)),
    );
    expect(tails.spikes.filter(({ index }) => index > 100)).toEqual([]);
    expect(tails.band.high).toBeGreaterThan(1.2);
    expect(tails.band.high).toBeLessThan(1.4);
  });
  it('nothing of fewer than eight finite points', () => {
    expect([judge(ones(7, {})).class, judge(ones(8, {})).class]).toEqual(['inconclusive', 'healthy']);
    expect(judge([]).class).toBe('inconclusive');
  });
  it('the last good point is no worse than the first level', () => {
    // It had risen by half before it jumped: the points since then are in the band, and not good.
    const risen = ones(600, {}).map((one, i) =>
      i >= 500 ? one : i < 200 ? one : Math.min(1.45, one + (i - 200) / 400),
    );
    const values = risen.map((one, i) => (i >= 400 && i < 500 ? 1.45 : i >= 500 ? 30 : one));
    const lost = judge(values).incidents.find(({ onset }) => onset === 500)!;
    expect(lost.lastGood).toBeLessThan(320);
    expect(values[lost.lastGood!]!).toBeLessThanOrEqual(1.25);
    expect(judge(ones(300, { 1: NAN })).incidents).toMatchObject([{ onset: 1, lastGood: 0 }]);
    // Too few finite points for a first level: the one before.
    expect(judge([1, 2, NAN, NAN]).incidents).toMatchObject([{ onset: 2, lastGood: 1 }]);
    expect(judge([NAN, NAN]).incidents).toMatchObject([{ onset: 0, lastGood: null }]);
  });
});

describe('a rise before there is a band', () => {
  const rises = (values: readonly number[]) => judge(values).incidents.filter(({ form }) => form === 'rise');
  /** From point 10 on at 2.5, but for some points of the first hundred of it at 1. */
  const broken = (points: number): number[] => {
    const values = ones(300, { 10: [2.5, 290] });
    for (let k = 0; k < points; k++) values[20 + 6 * k] = 1;
    return values;
  };
  it('that lasts is one from its first point on', () => {
    const [one] = rises(ones(300, { 10: [1.6, 290] }));
    expect(one).toMatchObject({
      class: 'drift',
      onset: 10,
      lastGood: 9,
      recovered: null,
      end: 300,
      peak: 10,
    });
    expect([one!.before, one!.high, one!.after, one!.size].map((x) => Number(x.toPrecision(10)))).toEqual([
      1, 1.25, 1.6, 1.6,
    ]);
    expect(rises(ones(300, { 10: [2.5, 290] }))).toMatchObject([{ class: 'full-divergence', onset: 10 }]);
    expect(rises(ones(300, { 10: [1.45, 290] }))).toEqual([]);
    // The first two points alone are no level.
    expect(rises(ones(300, { 2: [1.6, 298] }))).toMatchObject([{ onset: 2 }]);
    // It begins where it left the first level, not where it was half above it.
    expect(rises(ones(300, { 8: [1.3, 2], 10: [2.5, 290] }))).toMatchObject([{ onset: 8 }]);
  });
  it('that comes back after its decision window counts if it had doubled the loss', () => {
    // Eight of the fifteen points from there on are back.
    expect(rises(ones(300, { 10: [2.5, 150] }))).toMatchObject([
      { class: 'micro-divergence', onset: 10, recovered: 153, end: 153 },
    ]);
    expect(rises(ones(300, { 10: [1.7, 150] }))).toEqual([]);
    expect(rises(ones(300, { 10: [2.5, 80] }))).toEqual([]);
  });
  it('has nine of ten points of its window above the first level', () => {
    expect(rises(broken(9))).toHaveLength(1);
    expect(rises(broken(11))).toEqual([]);
  });
});

it('incidents come in the order of their onsets: a climb before a jump that passed within it', () => {
  const climbs = Array.from({ length: 400 }, (_, i) => Math.exp(0.002 * i));
  climbs[300] = 60;
  const found = judge(climbs).incidents.map(({ form, onset }) => [form, onset] as const);
  expect(found.map(([form]) => form)).toEqual(['climb', 'jump']);
  expect(found[0]![1]).toBeLessThan(300);
});

describe('which of several incidents decides', () => {
  const one = (of: (typeof VERDICT_CLASSES)[number], size?: number) => ({
    class: of,
    ...(size === undefined ? {} : { size }),
  });
  it('the worst, of those the largest, of those the first', () => {
    const [drift, small, large, again] = [one('drift'), one('drift', 0.5), one('drift', 2), one('drift', 2)];
    expect(worstOf([small, one('healthy', 9), large, again])).toBe(large);
    expect(worstOf([one('micro-divergence', 99), drift])).toBe(drift);
    // Without a size it counts as none.
    expect(worstOf([drift, small])).toBe(small);
    expect(worstOf([small, drift])).toBe(small);
    expect(worstOf([])).toBeUndefined();
  });
  it('from harmless to worst', () => {
    expect(VERDICT_CLASSES.map(badness)).toEqual(VERDICT_CLASSES.map((_, i) => i));
    expect(badness('non-finite')).toBeGreaterThan(badness('full-divergence'));
    expect(badness('micro-divergence')).toBeLessThan(badness('drift'));
  });
});

it('has the numbers of its copy in Python', () => {
  const source = readFileSync(join(projectRoot, 'python/src/clippy_diag/judge.py'), 'utf8');
  const [, table] = /^SETTINGS = \{\n(.*?)^\}/ms.exec(source)!;
  const copy = [...table!.matchAll(/"(\w+)": ([\d.]+),/g)].map(([, name, value]) => [name, Number(value)]);
  expect(copy.length).toBeGreaterThan(20);
  expect(DEFAULT_VERDICT_SETTINGS).toMatchObject(Object.fromEntries(copy) as object);
});
