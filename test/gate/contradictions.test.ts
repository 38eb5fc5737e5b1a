/** A report is a file that anybody may have changed: which changes the gate sees, and that it makes nothing up. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contradictionIn } from '../../src/app/gate/contradictions.ts';
import type { ChartSeries } from '../../src/model/report.ts';
import { summariseSeries } from '../../src/model/series-summary.ts';
import { makeSeries } from '../support/make-report.ts';

const summary = (values: readonly number[], buckets = 400): ChartSeries =>
  summariseSeries(makeSeries('loss', 'loss', values), buckets);

/** −2 … 5 in two buckets, and a value that is not finite in the second. */
const base = summary([5, -2, 0.5, 1, Number.NaN, 3, 2, 4], 2);
type Statistics = Partial<ChartSeries['statistics']>;
const withStatistics = (change: Statistics, of = base): ChartSeries => ({
  ...of,
  statistics: { ...of.statistics, ...change },
});

describe('what a summary says of its own series agrees with itself', () => {
  const number = fc.oneof(fc.double(), fc.integer({ min: -3, max: 3 }), fc.constantFrom(0.1, Number.NaN));
  test('whatever the values and however few the buckets', () => {
    fc.assert(
      fc.property(fc.array(number, { maxLength: 30 }), fc.integer({ min: 1, max: 40 }), (values, buckets) => {
        expect(contradictionIn(summary(values, buckets))).toBeNull();
      }),
    );
  });
  test.each([
    ['no points', []],
    ['one point', [3]],
    ['one that is not finite', [Number.NaN]],
    ['the same everywhere', [0.1, 0.1, 0.1]],
    ['below zero', [-3, -1, -2]],
    ['every kind of infinity', [Number.POSITIVE_INFINITY, 1, Number.NEGATIVE_INFINITY]],
    ['a sum that overflows, which has no mean', [1e308, 1e308]],
  ])('%s', (_, values) => {
    expect(contradictionIn(summary(values))).toBeNull();
    expect(contradictionIn(summary(values, 1))).toBeNull();
  });
});

describe('a change of one number is seen:', () => {
  test.each<[string, ChartSeries, RegExp]>([
    ['a bucket too few', { ...base, max: base.max.slice(1) }, /different lengths \(2, 2, 2, 1, 2\)/],
    ['a last step too many', { ...base, lastStep: [...base.lastStep, 9] }, /different lengths/],
    ['a point less', { ...base, points: 7 }, /7 points and 8/],
    ['a point less in the statistics', withStatistics({ points: 7 }), /8 points and 7/],
    [
      'no bucket',
      { ...base, firstStep: [], lastStep: [], min: [], max: [], nonFinite: [] },
      /8 points in 0 buckets/,
    ],
    [
      'more buckets than points',
      { ...summary([1, 2]), points: 1, statistics: { ...summary([1, 2]).statistics, points: 1 } },
      /1 point in 2 buckets/,
    ],
    [
      'a bucket of no points',
      { ...summary([1]), points: 0, statistics: { ...summary([1]).statistics, points: 0 } },
      /0 points in 1 buckets/,
    ],
    ['a NaN less', withStatistics({ nan: 0 }), /0 values are not finite by the statistics, 1 by the/],
    ['an infinity more', withStatistics({ posInf: 1 }), /2 values are not finite/],
    ['another infinity more', withStatistics({ negInf: 1 }), /2 values are not finite/],
    ['a NaN more in a bucket', { ...base, nonFinite: [1, 1] }, /1 value is .* 2 by the buckets/],
    ['a lower least value', withStatistics({ min: -3 }), /the least value is -3, and -2 in/],
    ['a higher largest value', withStatistics({ max: 6 }), /the largest value is 6, and 5 in/],
    ['a lower value in a bucket', { ...base, min: [-3, 2] }, /the least value is -2, and -3 in/],
    ['a higher value in a bucket', { ...base, max: [5, 7] }, /the largest value is 5, and 7 in/],
    ['another last step', withStatistics({ lastStep: 9 }), /the last step is 9, and 8 in/],
    ['a first value above all', withStatistics({ first: 5.1 }), /the first value is 5.1/],
    ['a last value below all', withStatistics({ last: -2.1 }), /the last value is -2.1/],
    ['a p50 below all', withStatistics({ p50: -2.1 }), /p50 is -2.1/],
    ['a p90 below p50', withStatistics({ p90: 1.9 }), /p90 is 1.9, and must lie between 2 and 5/],
    ['a p95 above all', withStatistics({ p95: 5.1 }), /p95 is 5.1/],
    ['a p99 below p95', withStatistics({ p99: 4.9 }), /p99 is 4.9, and must lie between 5 and 5/],
    ['no p90', withStatistics({ p90: null }), /p90 is null/],
    ['a mean above all', withStatistics({ mean: 5.1 }), /the mean is 5.1/],
    ['a mean below all', withStatistics({ mean: -2.1 }), /the mean is -2.1/],
    [
      'a first value that is not finite, where all are',
      withStatistics({ first: Number.NaN }, summary([1, 2])),
      /the first value is NaN/,
    ],
    [
      'all not finite, with values in the buckets',
      { ...summary([1, 2]), nonFinite: [1, 1], statistics: { ...summary([1, 2]).statistics, nan: 2 } },
      /2 of 2 values are not finite/,
    ],
    [
      'some finite, with none in the buckets',
      {
        ...summary([Number.NaN, Number.NaN]),
        nonFinite: [1, 0],
        statistics: { ...summary([Number.NaN, Number.NaN]).statistics, nan: 1 },
      },
      /1 of 2 values are not finite/,
    ],
    [
      'a percentile of nothing finite',
      withStatistics({ p99: 1 }, summary([Number.NaN])),
      /p99 is 1, and must lie between null and null/,
    ],
  ])('%s', (_, series, says) => {
    expect(contradictionIn(series)).toMatch(says);
    expect(contradictionIn(series)).toMatch(/^the report contradicts itself: of the series loss /);
  });

  test('a mean may be off by what adding rounds, and by no more', () => {
    const flat = summary([8, 8]);
    for (const [mean, sound] of [
      [8 + 4e-9, true],
      [8 - 4e-9, true],
      [8 + 2e-8, false],
      [8 - 2e-8, false],
    ] as const)
      expect(contradictionIn(withStatistics({ mean }, flat)) === null).toBe(sound);
    // The room is that of the larger end, below zero too.
    expect(contradictionIn(withStatistics({ mean: -8 - 4e-9 }, summary([-8, -8])))).toBeNull();
    expect(contradictionIn(withStatistics({ mean: -2 - 4e-9 }, summary([-2, 5])))).toBeNull();
  });
});
