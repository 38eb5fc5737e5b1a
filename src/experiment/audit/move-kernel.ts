/** The loop that an audit spends most of its time in: direction and step of two entries at once, to the bits of the plain loops. */
import { type DirectionCode, type DirectionKernel, WIDE } from '../../step/kernels/direction-code.ts';
import { GRADIENT } from '../../step/kernels/gradient-directions.ts';
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
  type WasmMemory,
  wide,
} from '../../step/kernels/wasm-assembler.ts';
import type { Values } from '../../step/tensor/values.ts';

/** Entries of what a step moves: weights, and what rounding may add to them. */
export interface Moved {
  readonly w: Float64Array;
  readonly size: Float32Array;
  readonly largest: Float32Array;
  readonly drift: Float32Array;
}

/**
 * x = factor·g within ±bound, + coupled·w; r = direction of x, + added·w; w ← w − shrink·w − step·r. `share` and `systematic`:
 * what the rounding of a step is relative to.
 */
const NUMBERS = [
  ...['factor', 'bound', 'coupled', 'added'],
  ...['step', 'shrink', 'share', 'systematic', 'forget'],
] as const;
export type MoveNumbers = Readonly<Record<(typeof NUMBERS)[number], number>>;

/** The direction of an optimizer, with its state in float64. */
export type WideDirection = Pick<DirectionKernel, 'code' | 'numbers'> & { readonly slots: readonly Values[] };

/** The gradient itself is the direction. */
export const AS_GIVEN: WideDirection = { code: GRADIENT, slots: [], numbers: [] };

/** Entries that fit: with their state they stay in the processor's cache. */
export const BLOCK = 2 ** 12;
const ARRAYS = ['w', 'size', 'largest', 'drift'] as const;
/** Arrays in float64: gradient, weights, state; and those in float32. */
const MOST_SLOTS = 4;
const WIDE_ARRAYS = 2 + MOST_SLOTS;
const AT = { w: 8 * BLOCK, slots: 16 * BLOCK, narrow: 8 * WIDE_ARRAYS * BLOCK };

interface Room extends Moved {
  readonly memory: WasmMemory;
  readonly gradient: Float64Array;
  readonly slots: readonly Float64Array[];
}
type Kernel = (gradient: number, end: number, ...pointersAndNumbers: number[]) => void;

let made: Room | undefined;
const kernels = new Map<string, Kernel>();

/** One step of a tensor. */
export interface Step {
  readonly gradient: Values;
  readonly direction: WideDirection;
  readonly numbers: MoveNumbers;
}

/** Moves weights and state by steps that follow each other: a block of entries takes all of them while it is in the cache. */
export function move(moved: Moved, steps: readonly Step[]): void {
  made ??= roomOf(newMemory(AT.narrow + 12 * BLOCK));
  const room = made;
  const calls = steps.map(({ gradient, direction: { code, slots, numbers: ofDirection }, numbers }) => ({
    gradient,
    kernel: kernelOf(room, code, numbers),
    given: [
      ...[AT.w, AT.narrow, AT.narrow + 4 * BLOCK, AT.narrow + 8 * BLOCK],
      ...slots.map((_, k) => AT.slots + 8 * k * BLOCK),
      ...NUMBERS.map((name) => numbers[name]),
      ...ofDirection,
    ],
  }));
  const slots = steps[0]?.direction.slots ?? [];
  const { length } = moved.w;
  for (let from = 0; from < length && calls.length > 0; from += BLOCK) {
    const to = Math.min(length, from + BLOCK);
    const n = to - from;
    for (const name of ARRAYS) room[name].set(moved[name].subarray(from, to));
    for (const [k, slot] of slots.entries()) room.slots[k]!.set(slot.subarray(from, to));
    for (const { gradient, kernel, given } of calls) {
      room.gradient.set(gradient.subarray(from, to));
      kernel(0, 8 * n, ...given);
    }
    for (const name of ARRAYS) moved[name].set(room[name].subarray(0, n), from);
    for (const [k, slot] of slots.entries()) slot.set(room.slots[k]!.subarray(0, n), from);
  }
}

function kernelOf({ memory }: Room, code: DirectionCode, { coupled, added }: MoveNumbers): Kernel {
  // 0 · ∞ is not 0: what is not there is left out.
  const decays = { coupled: coupled !== 0, added: added !== 0 };
  const key = `${code.name} ${decays.coupled} ${decays.added}`;
  if (!kernels.has(key)) kernels.set(key, assemble<{ move: Kernel }>([moving(code, decays)], memory).move);
  return kernels.get(key)!;
}

function roomOf(memory: WasmMemory): Room {
  const narrow = (k: number): Float32Array =>
    new Float32Array(memory.buffer, AT.narrow + 4 * k * BLOCK, BLOCK);
  const inFull = (k: number): Float64Array => new Float64Array(memory.buffer, 8 * k * BLOCK, BLOCK);
  return {
    memory,
    gradient: inFull(0),
    w: inFull(1),
    slots: Array.from({ length: MOST_SLOTS }, (_, k) => inFull(2 + k)),
    size: narrow(0),
    largest: narrow(1),
    drift: narrow(2),
  };
}

function moving(
  code: DirectionCode,
  decays: { readonly coupled: boolean; readonly added: boolean },
): WasmFunction {
  const [gradient, end, w, size, largest, drift] = [0, 1, 2, 3, 4, 5] as const;
  const slots = Array.from({ length: code.slots }, (_, k) => 6 + k);
  const first = 6 + code.slots;
  const count = NUMBERS.length + code.numbers;
  const local = (k: number): number => first + count + k;
  const [factor, bound, coupled, added, step, shrink, share, systematic, forget] = NUMBERS.map((_, k) =>
    local(k),
  ) as [number, number, number, number, number, number, number, number, number];
  const numbers = Array.from({ length: code.numbers }, (_, k) => local(NUMBERS.length + k));
  const [x, root, spare, old, recent] = [0, 1, 2, 3, 4].map((k) => local(count + k)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const kept = (pointer: number): number[] => op(wide.promote, loadTwo(pointer));
  const plus = (value: readonly number[], times: number): number[] =>
    op(wide.add, value, op(wide.mul, get(times), get(old)));
  return {
    name: 'move',
    parameters: [...new Array<number>(first).fill(I32), ...new Array<number>(count).fill(F64)],
    results: [],
    locals: new Array<number>(count + 5).fill(V128),
    body: [
      ...Array.from({ length: count }, (_, k) => set(local(k), op(wide.splat, get(first + k)))).flat(),
      ...overFours([gradient, w, ...slots], end, [
        ...set(old, load(w)),
        ...set(x, op(wide.mul, get(factor), load(gradient))),
        // The comparisons of both leave NaN.
        ...set(x, op(wide.larger, op(wide.smaller, get(x), get(bound)), op(wide.negate, get(bound)))),
        ...(decays.coupled ? set(x, plus(get(x), coupled)) : []),
        ...set(
          x,
          code.direction({ ...{ x, root, spare, slots, numbers, offset: 0 }, stores: true, stored: WIDE }),
        ),
        ...set(x, op(wide.mul, get(step), decays.added ? plus(get(x), added) : get(x))),
        ...store(w, op(wide.sub, op(wide.sub, get(old), op(wide.mul, get(shrink), get(old))), get(x))),
        ...set(old, op(wide.abs, get(old))),
        ...set(recent, op(wide.larger, op(wide.abs, get(x)), op(wide.mul, get(forget), kept(size)))),
        ...storeTwo(size, op(wide.demote, get(recent))),
        ...storeTwo(
          largest,
          op(wide.demote, op(wide.larger, kept(largest), op(wide.larger, get(old), op(wide.abs, load(w))))),
        ),
        ...storeTwo(
          drift,
          op(
            wide.demote,
            op(
              wide.add,
              op(wide.add, kept(drift), op(wide.mul, get(recent), get(systematic))),
              op(wide.mul, get(share), get(old)),
            ),
          ),
        ),
        ...[size, largest, drift].flatMap((pointer) => advance(pointer, constant(8))),
      ]),
    ],
  };
}
