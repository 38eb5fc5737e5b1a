import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countNonFinite, medianInPlace, medianOf } from '../../src/model/order-statistics.ts';

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

describe('countNonFinite', () => {
  it('counts each kind, in the range that is asked for', () => {
    const { NaN: nan, POSITIVE_INFINITY: up, NEGATIVE_INFINITY: down } = Number;
    const values = [nan, 1, up, down, -0, Number.MAX_VALUE, nan, nan, down];
    expect(countNonFinite(values)).toEqual({ nan: 3, posInf: 1, negInf: 2 });
    expect(countNonFinite(Float32Array.from(values), 1, 4)).toEqual({ nan: 0, posInf: 1, negInf: 1 });
    expect(countNonFinite([])).toEqual({ nan: 0, posInf: 0, negInf: 0 });
  });
});
