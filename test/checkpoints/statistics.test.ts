/** Sums and norms at the ends of float64, against closed forms and exact scalings. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statisticsCollector } from '../../src/checkpoints/statistics.ts';

const statisticsOf = (...pieces: readonly number[][]) => {
  const collector = statisticsCollector();
  for (const piece of pieces) collector.add(Float64Array.from(piece));
  return collector.result();
};
const expectNorm = (found: number, norm: number): void =>
  expect(Math.abs(found / norm - 1)).toBeLessThan(1e-14);

describe('the norm of a tensor', () => {
  it.each([1e-300, 1e-200, 1e-162, 1e-150, 1e-145, 1, 1e150, 1e200, 1e300])(
    'is 5 for 3 and 4, in one piece and in two of either order, times %s',
    (unit) => {
      expectNorm(statisticsOf([3 * unit, 4 * unit]).norm / unit, 5);
      expectNorm(statisticsOf([3 * unit], [4 * unit]).norm / unit, 5);
      expectNorm(statisticsOf([4 * unit], [3 * unit]).norm / unit, 5);
    },
  );

  it('keeps what lies beside entries whose squares overflow', () => {
    expectNorm(statisticsOf([5e150], [1.2e151]).norm, 1.3e151);
    expectNorm(statisticsOf([1.2e151], [5e150]).norm, 1.3e151);
    expect(statisticsOf([1, 1], [1e200], [1]).norm).toBe(1e200);
  });

  it('scales with the entries, over 800 binary orders', () => {
    const pieces = fc.array(fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { maxLength: 5 }));
    fc.assert(
      fc.property(pieces, fc.integer({ min: -300, max: 500 }), (values, power) => {
        // Multiplying by a power of two rounds nothing, so any difference comes from the scaling inside.
        const rounded = values.map((piece) => piece.map((value) => Math.fround(value)));
        fc.pre(rounded.flat().every((value) => value === 0 || Math.abs(value) > 1e-30));
        const scaled = rounded.map((piece) => piece.map((value) => value * 2 ** power));
        const norm = statisticsOf(...rounded).norm;
        const expected = norm * 2 ** power;
        expect(Math.abs(statisticsOf(...scaled).norm - expected)).toBeLessThanOrEqual(1e-14 * expected);
      }),
    );
  });

  it('leaves non-finite entries out and counts them', () => {
    const found = statisticsOf(
      [3, Number.NaN, Number.POSITIVE_INFINITY],
      [Number.NEGATIVE_INFINITY, 4e-200, -4],
    );
    expect(found).toEqual({ count: 6, sum: -1, norm: 5, min: -4, max: 3, nan: 1, posInf: 1, negInf: 1 });
    expect(statisticsOf([Number.NaN])).toMatchObject({ sum: 0, norm: 0, min: null, max: null });
  });
});
