import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ColumnBuilder } from '../../src/model/column.ts';
import {
  countNonFinite,
  medianInPlace,
  medianOf,
  percentilesOf,
  usualDistance,
} from '../../src/model/order-statistics.ts';

/** By definition: sort, take the middle. */
const sortedMedian = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : sorted[middle - 1]! + (sorted[middle]! - sorted[middle - 1]!) / 2;
};

// Thousandths: differences are exact enough to compare, and equal values are frequent.
const finite = fc.integer({ min: -5000, max: 5000 }).map((value) => value / 1000);

describe('medians', () => {
  it('agree with sorting', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 60 }), (values) => {
        expect(medianInPlace(Float64Array.from(values))).toBeCloseTo(sortedMedian(values), 9);
      }),
    );
  });

  it('are NaN for nothing and leave non-finite values out', () => {
    expect(medianInPlace(new Float64Array(0))).toBeNaN();
    expect(medianOf([Number.NaN, Number.POSITIVE_INFINITY])).toBeNaN();
    expect(medianOf([Number.NaN, 3, 1, Number.POSITIVE_INFINITY])).toBe(2);
  });
});

describe('percentiles', () => {
  const ranks = [1, 50, 90, 95, 99, 100];
  /** By definition: the smallest value that so many percent do not exceed. */
  const sorted = (values: Float64Array): (number | null)[] => {
    const finite = values.filter(Number.isFinite).sort();
    return ranks.map((p) => finite[Math.ceil((p / 100) * finite.length) - 1] ?? null);
  };

  it.each([
    ['even', (u: number) => u],
    ['printed with two decimals', (u: number) => Math.round(100 * u) / 100],
    ['nearly all one value', (u: number) => (u < 0.97 ? 0.001 : -u)],
    ['with tails that no bin is wide enough for', (u: number) => Math.tan(Math.PI * (u - 0.5)) ** 9],
    ['as wide as doubles are', (u: number) => (u - 0.5) * 2 * Number.MAX_VALUE],
    ['narrower than a bin can be', (u: number) => Math.round(u * 9) * Number.MIN_VALUE],
    ['often not finite', (u: number) => (u < 0.2 ? Number.NaN : u < 0.4 ? Number.NEGATIVE_INFINITY : 1 / u)],
  ])('of a long series, %s, agree with sorting and leave it alone', (_, shape) => {
    let state = 1;
    const values = Float64Array.from({ length: 20_000 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return shape(state / 2 ** 32);
    });
    const before = values.slice();
    expect(percentilesOf(values, ranks, 50)).toEqual(sorted(values));
    expect(Buffer.from(values.buffer).equals(Buffer.from(before.buffer))).toBe(true);
  });

  it('of a short series agree with sorting, and of none are null', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(finite, fc.constant(Number.NaN)), { maxLength: 40 }), (values) => {
        const series = Float64Array.from(values);
        expect(percentilesOf(series, ranks)).toEqual(sorted(series));
      }),
    );
  });
});

describe('the usual distance of steps', () => {
  it('is the median of all distances, whether they are equal or not', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 12 }), (distances) => {
        let at = 7;
        const steps = Float64Array.from([7, ...distances.map((distance) => (at += distance))]);
        if (distances.length === 0) expect(usualDistance(steps)).toBeNaN();
        else expect(usualDistance(steps)).toBe(sortedMedian(distances));
      }),
    );
  });
});

describe('countNonFinite', () => {
  it('counts each kind, in the range that is asked for', () => {
    const { NaN: nan, POSITIVE_INFINITY: up, NEGATIVE_INFINITY: down } = Number;
    const values = [nan, 1, up, down, -0, Number.MAX_VALUE, nan, nan, down];
    expect(countNonFinite(values)).toEqual({ nan: 3, posInf: 1, negInf: 2 });
    expect(countNonFinite(Float32Array.from(values), 1, 4)).toEqual({ nan: 0, posInf: 1, negInf: 1 });
    expect(countNonFinite([])).toEqual({ nan: 0, posInf: 0, negInf: 0 });
  });
});

describe('the median of a long column', () => {
  const kinds: Readonly<Record<string, (k: number, n: number) => number>> = {
    noise: (k) => Math.sin(k * 12.9898) * 43758.5453,
    'a falling loss': (k, n) => Number((2 * Math.exp((-5 * k) / n) + ((k * 7919) % 97) / 970).toFixed(5)),
    'few values': (k) => ((k * 7919) % 7) / 10,
    'one value and two others': (k, n) => (k === 0 ? -1 : k === n - 1 ? 9 : 0.5),
    // What lies where the sample looks is none of the others.
    'a sample that misleads': (k, n) =>
      Math.floor(((k + 1) * 256) / n - 0.5) > Math.floor((k * 256) / n - 0.5) ? 1e6 : k % 100,
  };
  it.each(Object.keys(kinds))('%s', (kind) => {
    for (const n of [1023, 1024, 5000, 5001, 20_001, 50_000]) {
      const values = Float64Array.from({ length: n }, (_, k) => kinds[kind]!(k, n));
      const made = new ColumnBuilder();
      for (const value of values) made.push(value);
      const sorted = values.slice().sort();
      const [lower, upper] = [sorted[(n - 1) >> 1]!, sorted[n >> 1]!];
      expect(medianOf(made.finish())).toBe(n % 2 === 1 ? upper : lower + (upper - lower) / 2);
    }
  });
});
