import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { weightedSums } from '../../src/step/kernels/weighted-sum.ts';

describe('weightedSums', () => {
  const weightedSum = weightedSums();
  const sumOf = (x: Float32Array, ofX: number, y: Float32Array, ofY: number): Float32Array =>
    Float32Array.from(x, (value, i) => ofX * value + ofY * y[i]!);

  it('is the plain loop to the bit, for any length and weights, and for what is not a number', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.float(), fc.float()), { maxLength: 40 }),
        fc.double({ min: 0, max: 1 }),
        (pairs, ofX) => {
          const [x, y] = [0, 1].map((side) => Float32Array.from(pairs, (pair) => pair[side]!)) as [
            Float32Array,
            Float32Array,
          ];
          const expected = sumOf(x, ofX, y, 1 - ofX);
          weightedSum(x, ofX, y, 1 - ofX);
          expect(x).toEqual(expected);
        },
      ),
    );
  });

  it('goes through vectors of several blocks, also where threads share them', () => {
    const length = 3 * 4096 + 5;
    const x = Float32Array.from({ length }, (_, i) => Math.sin(i));
    const y = new Float32Array(new SharedArrayBuffer(4 * length)).map((_, i) => Math.cos(i));
    const shared = new Float32Array(new SharedArrayBuffer(4 * length));
    shared.set(y);
    const expected = sumOf(x, 0.625, y, 0.375);
    weightedSum(x, 0.625, shared, 0.375);
    expect(x).toEqual(expected);
  });
});
