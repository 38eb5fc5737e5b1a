/** What a solver for the top of a spectrum is. */
import type { LinearOperator } from './operator.ts';
import type { RandomVectors } from './random.ts';

export interface SolveOptions {
  /** Relative to |λ|. */
  readonly tolerance: number;
  /** Products that may be spent. */
  readonly maxProducts: number;
  /** Basis vectors in memory (Lanczos). */
  readonly basisSize: number;
  /** Orthonormal vectors found before: the search is in their complement. */
  readonly locked: readonly Float64Array[];
  readonly random: RandomVectors;
  /** Whether the eigenvalue of largest magnitude is wanted too, if that is a negative one. */
  readonly magnitude: boolean;
}

export interface Solution {
  /** Unit vectors, orthogonal to each other and to the locked ones, with their products A·v. */
  readonly pairs: readonly { readonly vector: Float64Array; readonly image: Float64Array }[];
  /** The lowest eigenvalue as far as it was seen. */
  readonly lowest: number;
  readonly products: number;
}

/** @param start a unit vector, orthogonal to the locked ones */
export type Solve = (
  operator: LinearOperator,
  start: Float64Array,
  want: number,
  options: SolveOptions,
) => Promise<Solution>;

/** ‖Av − λv‖ ≤ tolerance·|λ|; for λ = 0 the residual itself. NaN is never converged. */
export const isConverged = (value: number, residualNorm: number, tolerance: number): boolean =>
  residualNorm <= tolerance * (value === 0 ? 1 : Math.abs(value));
