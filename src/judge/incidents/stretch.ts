/**
 * Where a series lies above a level for longest, single points below it allowed: the range of positions whose values sum to
 * the most above it, the usual estimate of the two ends of a step.
 *
 * @returns the first position, and the one after the last; 0 and 0 where no value is above the level
 */
export function stretchAbove(
  length: number,
  at: (index: number) => number,
  level: number,
): { readonly start: number; readonly end: number } {
  let best = { start: 0, end: 0, sum: 0 };
  let [sum, start] = [0, 0];
  for (let k = 0; k < length; k++) {
    sum += at(k) - level;
    if (sum > best.sum) best = { start, end: k + 1, sum };
    if (sum < 0) [sum, start] = [0, k + 1];
  }
  return best;
}
