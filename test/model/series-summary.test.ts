import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { selectNth } from '../../src/model/order-statistics.ts';
import type { TimeSeries } from '../../src/model/run.ts';
import { seriesStatistics, summariseSeries } from '../../src/model/series-summary.ts';

const series = (values: readonly number[], attemptOffsets: readonly number[] = [0]): TimeSeries => ({
  name: 'loss',
  role: 'loss',
  step: Float64Array.from(values, (_, i) => i),
  value: Float64Array.from(values),
  missing: 0,
  refused: 0,
  attemptOffsets,
  pathOffsets: [0],
});
const anyNumber = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1),
);

describe('selectNth', () => {
  it('equals sorting', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.double({ noNaN: true }).map((v) => v + 0),
          { minLength: 1 },
        ),
        fc.nat(),
        (values, seed) => {
          const k = seed % values.length;
          expect(selectNth(Float64Array.from(values), k)).toBe(Float64Array.from(values).sort()[k]);
        },
      ),
    );
  });
});

describe('seriesStatistics', () => {
  it('counts every point exactly once and keeps the extremes', () => {
    fc.assert(
      fc.property(fc.array(anyNumber), (values) => {
        const found = seriesStatistics(series(values));
        const finite = values.filter(Number.isFinite).sort((a, b) => a - b);
        expect(found.points).toBe(values.length);
        expect(found.nan + found.posInf + found.negInf).toBe(values.length - finite.length);
        // + 0 makes one zero of the two.
        expect(found.min === null ? null : found.min + 0).toBe(finite.length === 0 ? null : finite[0]! + 0);
        for (const [p, got] of [
          [50, found.p50],
          [90, found.p90],
          [99, found.p99],
        ] as const) {
          const rank = Math.max(0, Math.ceil((p / 100) * finite.length) - 1);
          expect(finite.length === 0 ? null : finite[rank]! + 0).toBe(got === null ? null : got + 0);
        }
      }),
    );
  });

  it('says null, not zero, where nothing is finite', () => {
    const found = seriesStatistics(series([Number.NaN, Number.POSITIVE_INFINITY]));
    expect(found).toMatchObject({
      points: 2,
      nan: 1,
      posInf: 1,
      negInf: 0,
      min: null,
      max: null,
      mean: null,
      p95: null,
    });
  });
});

describe('summariseSeries', () => {
  it('never averages a spike away', () => {
    const values = Array.from({ length: 10_000 }, () => 1);
    values[7777] = 1e9;
    values[1234] = Number.NaN;
    const { min, max, nonFinite, firstStep, lastStep } = summariseSeries(series(values), 100);
    expect(max).toHaveLength(100);
    expect(Math.max(...max)).toBe(1e9);
    expect(Math.min(...min)).toBe(1);
    expect(nonFinite.reduce((a, b) => a + b)).toBe(1);
    expect([firstStep[0], lastStep[99]]).toEqual([0, 9999]);
  });

  it('begins a bucket at a restart, and marks a bucket without finite values by NaN', () => {
    const found = summariseSeries(series([1, 2, Number.NaN, Number.NaN, 5], [0, 2]), 2);
    expect(found.firstStep).toEqual([0, 2]);
    expect(found.min).toEqual([1, 5]);
    const dead = summariseSeries(series([Number.NaN, Number.NaN]), 1);
    expect(dead.min).toEqual([Number.NaN]);
    expect(dead.nonFinite).toEqual([2]);
  });
});
