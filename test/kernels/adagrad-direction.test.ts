import fc from 'fast-check';
import { expect, it } from 'vitest';
import { adagradDirection } from '../../src/step/kernels/adagrad-direction.ts';

/** The plain loop that replays took before, and take for float64 and small tensors. */
function plain(
  g: Float32Array,
  accumulator: Float32Array,
  { before, inside, outside, scale }: Parameters<typeof adagradDirection>[3],
): Float32Array {
  return g.map((x, i) => {
    if (before) accumulator[i] = accumulator[i]! + x * x;
    const root = Math.sqrt(accumulator[i]! + inside) + outside;
    return root === 0 && x === 0 ? 0 : (scale * x) / root;
  });
}
const bitsOf = (values: Float32Array): string[] =>
  // The sign of a NaN is no result.
  Array.from(values, (value) => (Object.is(value, -0) ? '-0' : String(value)));

const odd = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, -1e-40, 3.4e38, 1];
const entry = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(...odd));
const numbers = fc.record({
  before: fc.boolean(),
  inside: fc.constantFrom(0, 1e-10, 1e-7, 1),
  outside: fc.constantFrom(0, 1e-10, 1e-8),
  scale: fc.constantFrom(1, 0.1, 1 / 3),
});

it('is the plain loop bit for bit, with NaN, infinities, zeros and subnormal numbers', () => {
  fc.assert(
    fc.property(numbers, fc.array(fc.tuple(entry, entry), { maxLength: 19 }), (settings, rows) => {
      const g = Float32Array.from(rows, ([x]) => x);
      const [mine, twin] = [0, 1].map(() => Float32Array.from(rows, ([, sum]) => Math.abs(sum)));
      const out = new Float32Array(g.length);
      for (let step = 0; step < 2; step++) {
        adagradDirection(g, out, mine!, settings);
        expect(bitsOf(out)).toEqual(bitsOf(plain(g, twin!, settings)));
        expect(bitsOf(mine!)).toEqual(bitsOf(twin!));
      }
    }),
    { numRuns: 500 },
  );
});

it.each([4095, 4096, 4097, 10_000])('goes over %i entries block by block, in place too', (length) => {
  const settings = { before: true, inside: 1e-7, outside: 0, scale: 1 };
  const g = Float32Array.from({ length }, (_, i) => Math.sin(i) * 10 ** ((i % 30) - 15));
  const [mine, twin] = [new Float32Array(length).fill(0.1), new Float32Array(length).fill(0.1)];
  const expected = plain(g, twin!, settings);
  adagradDirection(g, g, mine!, settings);
  expect(bitsOf(g)).toEqual(bitsOf(expected));
  expect(bitsOf(mine!)).toEqual(bitsOf(twin!));
});
