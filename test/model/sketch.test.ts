import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Box,
  checksum,
  type Place,
  sketch,
  sketchLength,
  type Words,
} from '../../src/step/tensor/sketch.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Case {
  readonly name: string;
  readonly dtype: 'float32' | 'float64' | 'int32' | 'uint16' | 'uint8';
  readonly shape: readonly number[];
  readonly place: number | { readonly shape: readonly number[]; readonly start: readonly number[] };
  readonly bits: string;
  readonly sketch: readonly (number | string)[];
  readonly checksum: string;
}

const { cases, exact } = JSON.parse(
  readFileSync(join(projectRoot, 'fixtures/sketch/cases.json'), 'utf8'),
) as {
  cases: readonly Case[];
  exact: { readonly name: string; readonly count: number; readonly sketch: readonly string[] };
};

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint16: Uint16Array,
  uint8: Uint8Array,
} as const;

function valuesOf({ dtype, bits }: Case): Exclude<Words, BigInt64Array | BigUint64Array> {
  const kind = ARRAYS[dtype];
  const width = kind.BYTES_PER_ELEMENT;
  // Words stand as big-endian hex; typed arrays are little-endian on every machine that Node runs on.
  const bytes = new Uint8Array(bits.length / 2);
  for (let k = 0; k < bytes.length; k++) {
    const word = Math.floor(k / width);
    bytes[word * width + (width - 1 - (k % width))] = Number.parseInt(bits.slice(2 * k, 2 * k + 2), 16);
  }
  return new kind(bytes.buffer);
}

const placeOf = ({ place, shape }: Case): Place =>
  typeof place === 'number' ? place : ({ ...place, local: shape } satisfies Box);

describe('sketch and checksum', () => {
  it.each(cases.map((one) => [`${one.name} ${one.dtype} ${one.shape}`, one] as const))(
    '%s has the sums of the second implementation',
    (_, one) => {
      const values = valuesOf(one);
      const found = sketch(values, one.name, placeOf(one));
      const expected = one.sketch.map(Number);
      const largest = Math.max(0, ...expected.filter(Number.isFinite).map(Math.abs));
      expected.forEach((value, k) => {
        if (Number.isFinite(value)) expect(Math.abs(found[k]! - value)).toBeLessThanOrEqual(1e-12 * largest);
        else expect(found[k]).toBe(value);
      });
      expect(checksum(values, placeOf(one)).toString(16).padStart(16, '0')).toBe(one.checksum);
    },
  );

  it('has the bits that Python has of the same 70,000 numbers', () => {
    const words = new Uint32Array(exact.count);
    let state = 1;
    for (let k = 0; k < words.length; k++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      words[k] = (state & 0x80ffffff) | ((0x30 + ((state >>> 24) & 0xf)) << 24);
    }
    const found = sketch(new Float32Array(words.buffer), exact.name);
    const bits = [...new BigUint64Array(found.buffer)].map((word) => word.toString(16).padStart(16, '0'));
    expect(bits).toEqual(exact.sketch);
  });

  it('adds up over the shards of any cut', () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 2, maxLength: 200, noNaN: true, min: -1e3, max: 1e3 }),
        fc.nat(),
        (values, at) => {
          const cut = at % values.length;
          const [left, right] = [values.subarray(0, cut), values.subarray(cut)];
          const whole = sketch(values, 'w');
          const [a, b] = [sketch(left, 'w'), sketch(right, 'w', cut)];
          for (const [k, sum] of whole.entries()) expect(a[k]! + b[k]!).toBeCloseTo(sum, 6);
          expect(BigInt.asUintN(64, checksum(left) + checksum(right, cut))).toBe(checksum(values));
        },
      ),
    );
  });

  it('estimates the norm of a tensor with a standard deviation of 9 %', () => {
    const ratios = Array.from({ length: 400 }, (_, k) => {
      const values = Float64Array.from({ length: 300 }, (_, i) => Math.sin(i * (k + 1)) + Math.cos(i * i));
      return sketchLength(sketch(values, `tensor ${k}`)) / Math.hypot(...values);
    });
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    const deviation = Math.sqrt(ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / ratios.length);
    expect(Math.abs(mean - 1)).toBeLessThan(0.02);
    expect(deviation).toBeGreaterThan(0.07);
    expect(deviation).toBeLessThan(0.11);
  });
});
