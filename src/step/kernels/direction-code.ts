/** What kernels know of an optimizer: the code of its direction for two entries, which several of them are made of. */
import { type Code, get, load, loadTwo, op, set, store, storeTwo, wide } from './wasm-assembler.ts';

/** How two numbers lie in an array that code works on in float64. */
export interface Stored {
  /** The two at a pointer; `offset` counts in float32. */
  read(pointer: number, offset: number): Code;
  write(pointer: number, value: Code, offset: number): Code;
  /** A local becomes a value as the array holds it; the array takes it where `stores`. */
  keep(local: number, value: Code, pointer: number, offset: number, stores: boolean): Code;
  /** What a direction leaves. */
  leave(value: Code): Code;
}

/** As float32: what is kept is rounded, and a direction is two float32 in the first half of a vector. */
export const NARROW: Stored = {
  read: (pointer, offset) => op(wide.promote, loadTwo(pointer, offset)),
  write: (pointer, value, offset) => storeTwo(pointer, op(wide.demote, value), offset),
  keep: (local, value, pointer, offset, stores) => [
    ...set(local, op(wide.demote, value)),
    ...(stores ? storeTwo(pointer, get(local), offset) : []),
    ...set(local, op(wide.promote, get(local))),
  ],
  leave: (value) => op(wide.demote, value),
};
/** As float64: nothing is rounded. */
export const WIDE: Stored = {
  read: (pointer, offset) => load(pointer, 2 * offset),
  write: (pointer, value, offset) => store(pointer, value, 2 * offset),
  keep: (local, value, pointer, offset, stores) => [
    ...set(local, value),
    ...(stores ? store(pointer, get(local), 2 * offset) : []),
  ],
  leave: (value) => value,
};

/** Locals that the code works with, and where in a row of fours it is. */
export interface DirectionPlace {
  /** The gradient of two entries in float64. Overwritten. */
  readonly x: number;
  readonly root: number;
  readonly spare: number;
  /** Pointers to the arrays of the state. */
  readonly slots: readonly number[];
  /** Each number in both halves of a vector. */
  readonly numbers: readonly number[];
  /** In bytes: 0 or 8. */
  readonly offset: number;
  /** Whether the state moves forward; else it stays, and the direction is the same. */
  readonly stores: boolean;
  /** How the arrays of the state hold their numbers. */
  readonly stored: Stored;
}

export interface DirectionCode {
  /** Unique: kernels are made once for each. */
  readonly name: string;
  /** Arrays of state, and numbers of a step. */
  readonly slots: number;
  readonly numbers: number;
  /** Moves the state of two entries: what the direction begins with. */
  state(place: DirectionPlace): Code;
  /** Leaves the direction of two entries, as their arrays would hold it: 0 where all of them are 0. */
  direction(place: DirectionPlace): Code;
  /** How sums over it are estimated; absent where float32 cannot hold what it is made of. */
  readonly estimate?: EstimateCode;
}

/**
 * r = share·x or, with a root, share·x/(√(s + inside) + outside), and 0 where both are 0, and what is added to x then: in float32,
 * four entries at once.
 */
export interface EstimateCode {
  /** How many numbers its code takes. */
  readonly numbers: number;
  readonly divides: boolean;
  /** @param numbers of the direction */
  terms(numbers: readonly number[]): EstimateTerms;
  /** Makes x of the gradient in the local `x`, and leaves s in `root` where it divides; the state stays. */
  operands(place: EstimatePlace): Code;
  /** What is added to the quotient. */
  added?(place: EstimatePlace): Code;
}
export type EstimatePlace = Pick<DirectionPlace, 'x' | 'root' | 'slots' | 'numbers'>;
export interface EstimateTerms {
  /** Applied in float64; the others are rounded to float32. */
  readonly share: number;
  readonly inside?: number;
  readonly outside?: number;
  readonly numbers?: readonly number[];
}

/** The direction of a tensor at a step: its code, and what that works on. */
export interface DirectionKernel {
  readonly code: DirectionCode;
  readonly slots: readonly Float32Array[];
  readonly numbers: readonly number[];
}
