import { describe, expect, it } from 'vitest';
import {
  BLOCK,
  directions,
  type Moved,
  type MoveNumbers,
  move,
} from '../../src/experiment/audit/move-kernel.ts';

/** The loop that the kernel stands for. */
function plain(
  { w, size, largest, drift }: Moved,
  direction: Float64Array,
  { step, shrink, share, systematic, forget }: MoveNumbers,
): void {
  for (let i = 0; i < w.length; i++) {
    const moved = step * direction[i]!;
    const old = w[i]!;
    const next = old - shrink * old - moved;
    w[i] = next;
    const [length, faded] = [Math.abs(moved), forget * size[i]!];
    const recent = length < faded ? faded : length;
    size[i] = recent;
    const [before, after] = [Math.abs(old), Math.abs(next)];
    const most = before < after ? after : before;
    if (most > largest[i]!) largest[i] = most;
    drift[i] = drift[i]! + recent * systematic + share * before;
  }
}

function drawn(n: number, seed: number): Moved & { readonly direction: Float64Array } {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const wide = (): Float64Array => Float64Array.from({ length: n }, next);
  const narrow = (): Float32Array => Float32Array.from({ length: n }, () => Math.abs(next()));
  return { direction: wide(), w: wide(), size: narrow(), largest: narrow(), drift: narrow() };
}

const NUMBERS = { step: 0.3, shrink: 0.01, share: 0.02, systematic: 1.01, forget: 0.9 };

describe('the loop of an audit in WebAssembly', () => {
  it.each([1, 7, BLOCK, BLOCK + 3, 2 * BLOCK])('moves %d entries to the bits of the plain loop', (n) => {
    for (const odd of [0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      const [a, b] = [drawn(n, 3), drawn(n, 3)];
      for (const one of [a, b]) one.direction[n - 1] = odd;
      for (let round = 0; round < 3; round++) {
        move(a, a.direction, NUMBERS);
        plain(b, b.direction, NUMBERS);
      }
      expect(a).toEqual(b);
    }
  });

  it('takes the directions of its own room as they are', () => {
    const [a, b] = [drawn(9, 5), drawn(9, 5)];
    const room = directions().subarray(0, 9);
    room.set(a.direction);
    move(a, room, NUMBERS);
    plain(b, b.direction, NUMBERS);
    expect(a.w).toEqual(b.w);
  });
});
