/** What a Lanczos search says about eigenvalues that it has not found. */

/** The share of random starts that may miss a larger eigenvalue. */
export const MISSED = 1e-3;

/**
 * The value above which there is no eigenvalue, but for a share `missed` of random starts.
 *
 * After k steps the next Lanczos vector is p(A)·q with the start q, p(t) = ∏(t − θⱼ)/∏βⱼ, the Ritz values θ and the norms β
 * by which the vectors were divided. Its part along the unit eigenvector u of an eigenvalue μ is p(μ)·⟨q, u⟩, and a unit
 * vector has no part above 1: |⟨q, u⟩| ≤ 1/p(μ). A random unit vector of n entries has a part below δ with a probability of
 * at most δ·√(2n/π). Above the largest Ritz value p rises, so that what is excluded at μ is excluded above it. This holds
 * for indefinite A too, whatever step the search ends at, up to the rounding of products.
 *
 * Van Dorsselaer, Hochstenbach & van der Vorst, SIAM J. Matrix Anal. Appl. 22 (2000), 837–852, the bound by the Lanczos
 * polynomial.
 *
 * @param ritz Ritz values, largest first
 * @param norms as many, in the order of the steps, ≥ 0
 * @param size entries of the vectors
 * @param share the norm of the random part of the unit start: 1, or less where it began near a known vector
 */
export function excludedAbove(
  ritz: readonly number[],
  norms: readonly number[],
  size: number,
  share: number,
  missed = MISSED,
): number {
  const top = ritz[0]!;
  const smallestPart = (share * missed) / Math.sqrt((2 * size) / Math.PI);
  // log of 1/smallestPart · ∏β, which the product of the distances to the Ritz values has to reach.
  const wanted = norms.reduce((sum, norm) => sum + Math.log(norm), -Math.log(smallestPart));
  let low = top;
  // There every distance is at least the mean that is wanted.
  let high = top + Math.exp(wanted / ritz.length);
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2;
    if (ritz.reduce((sum, value) => sum + Math.log(middle - value), 0) < wanted) low = middle;
    else high = middle;
  }
  return high;
}
