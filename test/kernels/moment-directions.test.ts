import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  type MeanNumbers,
  type MomentNumbers,
  momentDirection,
} from '../../src/step/kernels/moment-directions.ts';

/** The plain loop that replays take for float64 and small tensors. */
function plain(
  g: Float32Array,
  v: Float32Array,
  { decay, inside, scale, outside }: MomentNumbers,
  mean?: MeanNumbers & { readonly m: Float32Array },
): Float32Array {
  return g.map((x, i) => {
    v[i] = decay * v[i]! + (1 - decay) * x * x;
    const root = Math.sqrt(v[i]! + inside) * scale + outside;
    let top = x;
    if (mean !== undefined) {
      mean.m[i] = mean.decay * mean.m[i]! + (1 - mean.decay) * x;
      top = mean.m[i]!;
    }
    return root === 0 && top === 0 ? 0 : (top * (mean?.scale ?? 1)) / root;
  });
}
const bitsOf = (values: Float32Array): string[] =>
  // The sign of a NaN is no result.
  Array.from(values, (value) => (Object.is(value, -0) ? '-0' : String(value)));

const odd = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, -1e-40, 3.4e38, 1];
const entry = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(...odd));
const decay = fc.constantFrom(0, 0.9, 0.99, 0.999, 1);
const numbers = fc.record({
  decay,
  inside: fc.constantFrom(0, 1e-7),
  scale: fc.constantFrom(1, 1 / Math.sqrt(1 - 0.999 ** 3)),
  outside: fc.constantFrom(0, 1e-8),
});
const mean = fc.option(fc.record({ decay, scale: fc.constantFrom(1, 1 / (1 - 0.9 ** 3)) }), {
  nil: undefined,
});

it('is the plain loop bit for bit, with NaN, infinities, zeros and subnormal numbers', () => {
  const rows = fc.array(fc.tuple(entry, entry, entry), { maxLength: 19 });
  fc.assert(
    fc.property(numbers, mean, rows, (settings, ofMean, entries) => {
      const g = Float32Array.from(entries, ([x]) => x);
      const [mine, twin] = [0, 1].map(() => ({
        v: Float32Array.from(entries, ([, square]) => Math.abs(square)),
        m: Float32Array.from(entries, ([, , m]) => m),
      }));
      const out = new Float32Array(g.length);
      for (let step = 0; step < 2; step++) {
        momentDirection(g, out, mine!.v, settings, ofMean && { ...ofMean, m: mine!.m });
        const expected = plain(g, twin!.v, settings, ofMean && { ...ofMean, m: twin!.m });
        expect(bitsOf(out)).toEqual(bitsOf(expected));
        expect(bitsOf(mine!.v)).toEqual(bitsOf(twin!.v));
        expect(bitsOf(mine!.m)).toEqual(bitsOf(twin!.m));
      }
    }),
    { numRuns: 500 },
  );
});

it.each([4095, 4096, 4097, 10_000])('goes over %i entries block by block, in place too', (length) => {
  const settings = { decay: 0.999, inside: 0, scale: 1.7, outside: 1e-8 };
  const g = Float32Array.from({ length }, (_, i) => Math.sin(i) * 10 ** ((i % 30) - 15));
  const [mine, twin] = [0, 1].map(() => ({
    v: new Float32Array(length),
    m: new Float32Array(length).fill(0.1),
  }));
  const expected = plain(g, twin!.v, settings, { decay: 0.9, scale: 1.2, m: twin!.m });
  momentDirection(g, g, mine!.v, settings, { decay: 0.9, scale: 1.2, m: mine!.m });
  expect(bitsOf(g)).toEqual(bitsOf(expected));
  expect(bitsOf(mine!.v)).toEqual(bitsOf(twin!.v));
  expect(bitsOf(mine!.m)).toEqual(bitsOf(twin!.m));
});
