/** What rules measure of a tensor of several parts is what one loop over all of it finds. */
import { describe, expect, it } from 'vitest';
import type { Units } from '../../src/model/units.ts';
import { clippyFactor } from '../../src/step/rules/clippy-factor.ts';
import { firstNotFinite, squaredDistance, unitSumsOfSquares } from '../../src/step/tensor/values.ts';
import { PART } from '../../src/step/threads/in-parts.ts';

const wave = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed));

describe('Clippy’s factor', () => {
  const length = 3 * PART + 5;
  const thresholds = { variableRelativeThreshold: 0, absoluteThreshold: 1, accumulatorRelativeThreshold: 0 };
  const w = new Float32Array(length);
  /** A bound of 1 on an update of 1, but for some entries. */
  const found = (...others: readonly (readonly [at: number, size: number])[]) => {
    const update = new Float32Array(length).fill(1);
    for (const [at, size] of others) update[at] = size;
    return clippyFactor(w, update, thresholds);
  };
  it('is 1 where no entry goes beyond its bound', () => {
    expect(found()).toEqual({ factor: 1, index: 0 });
  });
  it('is that of the largest update, of equal ones the first', () => {
    expect(found([PART + 3, 4], [3 * PART + 4, 8])).toEqual({ factor: 1 / 8, index: 3 * PART + 4 });
    expect(found([2 * PART, -8], [PART - 1, 8], [3 * PART, 8])).toEqual({ factor: 1 / 8, index: PART - 1 });
  });
  it('is NaN at the first NaN, whatever comes later', () => {
    const { NaN: nan, POSITIVE_INFINITY: infinite } = Number;
    expect(found([7, 8], [PART + 9, nan], [3 * PART, infinite])).toEqual({ factor: nan, index: PART + 9 });
  });
});

const length = 12 * 21_000;
it.each([
  ['columns', { count: 12, stride: 1 }],
  ['columns, more than a part has entries', { count: 126_000, stride: 1 }],
  ['rows', { count: 21_000, stride: 12 }],
  ['rows in turn', { count: 7, stride: 12 }],
  ['few rows', { count: 3, stride: 84_000 }],
  ['one unit', { count: 1, stride: length }],
] satisfies [string, Units][])('squares of units: %s', (_, units) => {
  const x = wave(length, 1);
  const { count, stride } = units;
  const expected = new Float64Array(count);
  x.forEach((value, i) => {
    expected[Math.floor(i / stride) % count]! += value * value;
  });
  const out = new Float64Array(count + 1).fill(7);
  unitSumsOfSquares(x, units, out);
  expect(out[count]).toBe(7);
  for (let u = 0; u < count; u++)
    if (Math.abs(out[u]! - expected[u]!) > 1e-12 * expected[u]!)
      expect([u, out[u]]).toEqual([u, expected[u]]);
});

it.each([0, 1, PART - 1, PART, PART + 1, 2 * PART])(
  'the first of %i entries that is not finite',
  (length) => {
    const x = new Float32Array(length).fill(1);
    expect(firstNotFinite(x)).toBe(-1);
    for (let at = length - 1; at >= 0; at = at < 3 ? at - 1 : Math.floor(at / 2)) {
      x[at] = at % 2 === 0 ? Number.NaN : Number.NEGATIVE_INFINITY;
      expect(firstNotFinite(x)).toBe(at);
    }
  },
);

it('a distance', () => {
  const [a, b] = [wave(length, 1), wave(length, 2)];
  const expected = a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0);
  expect(squaredDistance(a, b) / expected).toBeCloseTo(1, 12);
  b[PART + 1] = Number.NaN;
  expect(squaredDistance(a, b)).toBeNaN();
});
