/** What kernels know of an optimizer: the code of its direction for two entries, which several of them are made of. */
import type { Code } from './wasm-assembler.ts';

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
}

export interface DirectionCode {
  /** Unique: kernels are made once for each. */
  readonly name: string;
  /** Arrays of state, and numbers of a step. */
  readonly slots: number;
  readonly numbers: number;
  /** Moves the state of two entries: what the direction begins with. */
  state(place: DirectionPlace): Code;
  /** Leaves the direction of two entries, rounded to float32, in the first half of a vector: 0 where all of them are 0. */
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
