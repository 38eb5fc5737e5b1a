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
  /**
   * The norm of the random part of the start, for a search that shall also exclude a larger eigenvalue where it can: once
   * the pair is converged it goes on for as many products again at most. 0 for one that shall not.
   */
  readonly randomShare: number;
  /** Called where a pair is converged and the search goes on, with the products that it may still take for that. */
  readonly onCertified: (value: number, residualNorm: number, most: number) => void;
}

export interface Solution {
  /** Unit vectors, orthogonal to each other and to the locked ones, with their products A·v. */
  readonly pairs: readonly { readonly vector: Float64Array; readonly image: Float64Array }[];
  /** The lowest eigenvalue as far as it was seen. */
  readonly lowest: number;
  /** See exclusion.ts; left out where nothing is known of that. */
  readonly excludedAbove?: number;
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
