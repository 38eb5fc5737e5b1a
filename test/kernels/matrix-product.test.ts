import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fusedMultiplyAdd } from '../../src/step/kernels/fused-multiply-add.ts';
import { NARROW, tiled, WIDE } from '../../src/step/kernels/matrix-kernels.ts';
import {
  agree,
  productIn,
  productKernels,
  SCRATCH_BYTES,
  type Strided,
} from '../../src/step/kernels/matrix-product.ts';
import { newMemory } from '../../src/step/kernels/wasm-assembler.ts';
import { mayHaveWideVectors } from '../../src/step/kernels/wide-vectors.ts';
import { startThread } from '../../src/step/threads/start-thread.ts';

const sizes = mayHaveWideVectors() ? [NARROW, WIDE] : [NARROW];
const BLOCK_DEPTH = 256;

/** Every entry is a sum of rounded products in their order, block by block. */
function plain(
  floats: Float32Array,
  [a, b]: readonly [Strided, Strided],
  [rows, depth, columns]: readonly [number, number, number],
): Float32Array {
  const at = ({ start, rowStep, columnStep }: Strided, row: number, column: number): number =>
    floats[(start + row * rowStep + column * columnStep) / 4]!;
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let all: number | undefined;
    for (let from = 0; from < depth; from += BLOCK_DEPTH) {
      let sum = 0;
      for (let k = from; k < Math.min(from + BLOCK_DEPTH, depth); k++)
        sum = Math.fround(sum + Math.fround(at(a, row, k) * at(b, k, column)));
      all = all === undefined ? sum : Math.fround(all + sum);
    }
    return all ?? 0;
  });
}

const odd = [0, -0, 1e-45, -1e-40, 3.4e38, Number.NaN, Number.POSITIVE_INFINITY];
const length = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 70 }));
const depths = fc.oneof(length, fc.integer({ min: 250, max: 262 }), fc.constant(520));

describe.each(sizes)('tiles of %i columns', (columnsOfTile) => {
  const kernels = tiled(false, columnsOfTile);

  it('give the bits of plain loops, dense, transposed and with gaps, with whatever numbers', () => {
    const [values, most] = [1 << 17, 70 * 70];
    const memory = newMemory(SCRATCH_BYTES + 4 * (values + most));
    const product = productIn(kernels, memory, 0);
    const floats = new Float32Array(memory.buffer);
    const random = (seed: number): void => {
      let state = seed;
      for (let i = SCRATCH_BYTES / 4; i < SCRATCH_BYTES / 4 + values; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        floats[i] = state / 2 ** 31;
      }
    };
    const side = fc.record({ turned: fc.boolean(), gap: fc.constantFrom(0, 0, 1, 5) });
    fc.assert(
      fc.property(
        fc.tuple(length, depths, length),
        side,
        side,
        fc.integer(),
        fc.array(fc.tuple(fc.nat(2000), fc.constantFrom(...odd)), { maxLength: 3 }),
        ([rows, depth, columns], ofA, ofB, seed, placed) => {
          random(seed);
          for (const [i, x] of placed) floats[SCRATCH_BYTES / 4 + i] = x;
          const matrix = (
            start: number,
            rows: number,
            columns: number,
            { turned, gap }: typeof ofA,
          ): Strided => {
            const step = 4 * ((turned ? rows : columns) + gap);
            return turned ? { start, rowStep: 4, columnStep: step } : { start, rowStep: step, columnStep: 4 };
          };
          const a = matrix(SCRATCH_BYTES, rows, depth, ofA);
          const b = matrix(SCRATCH_BYTES + 2 * values, depth, columns, ofB);
          const out = SCRATCH_BYTES + 4 * values;
          product(a, b, out, rows, depth, columns);
          const found = floats.subarray(out / 4, out / 4 + rows * columns);
          // A zero of either sign is one number, and so is NaN.
          expect(Array.from(found, (x) => x + 0)).toEqual(
            Array.from(plain(floats, [a, b], [rows, depth, columns]), (x) => x + 0),
          );
        },
      ),
    );
  });

  it('agree with themselves and with others only', () => {
    expect(agree(kernels, tiled(false, NARROW))).toBe(true);
    expect(agree({ ...kernels, tileRows: 6 }, tiled(false, NARROW))).toBe(false);
  });

  it.runIf(fusedMultiplyAdd() === 'fused')('do not agree with those that round once', () => {
    expect(agree(tiled(true, columnsOfTile), kernels)).toBe(false);
    expect(agree(tiled(true, columnsOfTile), tiled(true, NARROW))).toBe(true);
  });
});

it('are compiled in the main thread, and others take them', async () => {
  const { narrow, wide } = productKernels(false);
  const thread = startThread(new URL('../support/product-kernels.ts', import.meta.url));
  const theirs = await new Promise((resolve, reject) =>
    thread.once('message', resolve).once('error', reject),
  );
  await thread.terminate();
  const columns = [narrow, wide].map((kernels) => kernels?.tileColumns ?? null);
  expect(theirs).toEqual({ compilesWide: false, columns });
});
