/** The loop that an audit spends most of its time in, two entries at once, to the bits of the plain loop of `simulate.ts`. */
import {
  advance,
  assemble,
  constant,
  F64,
  get,
  I32,
  load,
  loadTwo,
  newMemory,
  op,
  overFours,
  set,
  store,
  storeTwo,
  V128,
  type WasmFunction,
  wide,
} from '../../step/kernels/wasm-assembler.ts';

/** Some entries in a row of what a step moves: weights, and what rounding may add to them. */
export interface Moved {
  readonly w: Float64Array;
  readonly size: Float32Array;
  readonly largest: Float32Array;
  readonly drift: Float32Array;
}

/** w ← w − shrink·w − step·direction; `share` and `systematic`: what the rounding of a step is relative to. */
export interface MoveNumbers {
  readonly step: number;
  readonly shrink: number;
  readonly share: number;
  readonly systematic: number;
  readonly forget: number;
}

/** Entries that fit: with their state they stay in the processor's cache. */
export const BLOCK = 2 ** 12;

interface Kernel {
  move(
    out: number,
    end: number,
    w: number,
    size: number,
    largest: number,
    drift: number,
    ...n: number[]
  ): void;
}
interface Made extends Kernel, Moved {
  readonly out: Float64Array;
}
let made: Made | undefined;

/** Room for directions, which {@link move} takes without a copy. */
export const directions = (): Float64Array => kernelOf().out;

function kernelOf(): Made {
  made ??= make();
  return made;
}

const ARRAYS = ['w', 'size', 'largest', 'drift'] as const;

export function move(moved: Moved, direction: Float64Array, numbers: MoveNumbers): void {
  const kernel = kernelOf();
  const { step, shrink, share, systematic, forget } = numbers;
  for (let from = 0; from < direction.length; from += BLOCK) {
    const to = Math.min(direction.length, from + BLOCK);
    const n = to - from;
    if (direction.buffer !== kernel.out.buffer) kernel.out.set(direction.subarray(from, to));
    for (const name of ARRAYS) kernel[name].set(moved[name].subarray(from, to));
    kernel.move(0, 8 * n, AT.w, AT.size, AT.largest, AT.drift, step, shrink, share, systematic, forget);
    for (const name of ARRAYS) moved[name].set(kernel[name].subarray(0, n), from);
  }
}

const AT = { w: 8 * BLOCK, size: 16 * BLOCK, largest: 20 * BLOCK, drift: 24 * BLOCK };

function make(): Made {
  const memory = newMemory(28 * BLOCK);
  const narrow = (at: number): Float32Array => new Float32Array(memory.buffer, at, BLOCK);
  return {
    ...assemble<Kernel>([moving()], memory),
    out: new Float64Array(memory.buffer, 0, BLOCK),
    w: new Float64Array(memory.buffer, AT.w, BLOCK),
    size: narrow(AT.size),
    largest: narrow(AT.largest),
    drift: narrow(AT.drift),
  };
}

function moving(): WasmFunction {
  const [out, end, w, size, largest, drift] = [0, 1, 2, 3, 4, 5] as const;
  const given = [6, 7, 8, 9, 10];
  const [step, shrink, share, systematic, forget] = [11, 12, 13, 14, 15] as const;
  const [moved, before, recent] = [16, 17, 18] as const;
  const stored = (pointer: number): number[] => op(wide.promote, loadTwo(pointer));
  return {
    name: 'move',
    parameters: [I32, I32, I32, I32, I32, I32, ...given.map(() => F64)],
    results: [],
    locals: new Array<number>(8).fill(V128),
    body: [
      ...given.flatMap((number, k) => set(step + k, op(wide.splat, get(number)))),
      ...overFours([out, w], end, [
        ...set(moved, op(wide.mul, get(step), load(out))),
        ...set(before, op(wide.abs, load(w))),
        ...store(w, op(wide.sub, op(wide.sub, load(w), op(wide.mul, get(shrink), load(w))), get(moved))),
        ...set(recent, op(wide.larger, op(wide.abs, get(moved)), op(wide.mul, get(forget), stored(size)))),
        ...storeTwo(size, op(wide.demote, get(recent))),
        ...storeTwo(
          largest,
          op(
            wide.demote,
            op(wide.larger, stored(largest), op(wide.larger, get(before), op(wide.abs, load(w)))),
          ),
        ),
        ...storeTwo(
          drift,
          op(
            wide.demote,
            op(
              wide.add,
              op(wide.add, stored(drift), op(wide.mul, get(recent), get(systematic))),
              op(wide.mul, get(share), get(before)),
            ),
          ),
        ),
        ...[size, largest, drift].flatMap((pointer) => advance(pointer, constant(8))),
      ]),
    ],
  };
}
