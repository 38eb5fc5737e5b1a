/** Views of a PyTorch storage: which ones stream, what they hold, how far one entry may be repeated. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkView,
  type Storage,
  type StridedView,
  streamView,
} from '../../src/read/checkpoints/pytorch/strided.ts';

/** A storage of the numbers 0, 1, 2, … in pieces of four; `read()` counts the bytes that were asked of it. */
function counted(elements: number): Storage & { read(): number } {
  let read = 0;
  const bytes = new Uint8Array(Float32Array.from({ length: elements }, (_, i) => i).buffer);
  return {
    byteLength: bytes.length,
    async *pieces(start, end) {
      for (let at = start; at < end; at += 16) {
        const piece = bytes.slice(at, Math.min(at + 16, end));
        read += piece.length;
        yield piece;
      }
    },
    place: (start, end) => ({ start, end }),
    read: () => read,
  };
}

const viewOf = (shape: readonly number[], stride: readonly number[], offset = 0): StridedView => ({
  dtype: 'F32',
  shape,
  stride,
  offset,
  elements: shape.reduce((product, size) => product * size, 1),
  bigEndian: false,
});

async function valuesOf(view: StridedView, storage: Storage): Promise<number[]> {
  const values: number[] = [];
  for await (const piece of streamView(view, storage)) values.push(...(piece as Float32Array));
  return values;
}

/** The definition, one entry at a time: entry (i, j, …) lies at offset + i·stride₀ + j·stride₁ + …. */
function entriesOf({ shape, stride, offset }: StridedView): number[] {
  let at = [offset];
  shape.forEach((size, axis) => {
    at = at.flatMap((start) => Array.from({ length: size }, (_, i) => start + i * stride[axis]!));
  });
  return at;
}

describe('views of a storage', () => {
  it('have their entries where shape, strides and offset say, in row-major order', async () => {
    const axis = fc.record({ size: fc.nat(4), stride: fc.nat(9) });
    await fc.assert(
      fc.asyncProperty(fc.array(axis, { maxLength: 4 }), fc.nat(5), async (axes, offset) => {
        const view = viewOf(
          axes.map(({ size }) => size),
          axes.map(({ stride }) => stride),
          offset,
        );
        expect(await valuesOf(view, counted(150))).toEqual(entriesOf(view));
      }),
    );
  });

  // PyTorch leaves any number in the stride of an axis of size 1: `x[:1]`, `x.unsqueeze(0)`, a convolution of 1 × 1.
  it.each([
    ['row-major', [2, 50], [50, 1]],
    ['with a first axis of size 1', [1, 100], [7, 1]],
    ['with a last axis of size 1', [100, 1], [1, 7]],
    ['with an axis of size 1 inside', [2, 1, 50], [50, 3, 1]],
  ])('stream where the entries lie one after another: %s', async (_, shape, stride) => {
    const storage = counted(100);
    for await (const piece of streamView(viewOf(shape, stride), storage)) {
      expect(piece).toEqual(Float32Array.of(0, 1, 2, 3));
      expect(storage.read()).toBe(16);
      break;
    }
  });

  it('may repeat entries 67,108,864 times beyond their storage, and no further', () => {
    const storage = counted(2);
    const most = 2 + 67_108_864;
    expect(() => checkView(viewOf([most], [0]), storage, 't.pt', 'w')).not.toThrow();
    expect(() => checkView(viewOf([most + 1], [0]), storage, 't.pt', 'w')).toThrow(
      /number of elements that "w" repeats is 67,?108,?865.*67,?108,?864/s,
    );
  });
});
