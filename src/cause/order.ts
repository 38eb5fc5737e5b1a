/** Orders of the batches for perturbed tries. */

/**
 * Each block (before the incident, in it, after it) is shuffled within itself, so that bad batches stay where they were.
 *
 * @param count steps
 * @param incident first and last position of the incident's block
 * @param seed another order for each; the same order everywhere
 * @returns for each step the position of the batch that it takes
 */
export function perturbedOrder(
  count: number,
  [first, last]: readonly [number, number],
  seed: number,
): readonly number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  let state = (seed * 0x9e3779b9) >>> 0 || 1;
  // xorshift32: any generator would do, as long as it is this one everywhere.
  const below = (n: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
  for (const [from, to] of [
    [0, first],
    [first, last + 1],
    [last + 1, count],
  ] as const)
    for (let i = to - 1; i > from; i--) {
      const j = from + below(i - from + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
  return order;
}
