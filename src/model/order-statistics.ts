/** Order statistics without sorting: what percentiles and medians of long series are made of. */

/**
 * The k-th smallest value (0-based) of `values[from, to)`; reorders that range in place (quickselect, expected O(n)).
 * Values must not be NaN.
 */
export function selectNth(values: Float64Array, k: number, from = 0, to = values.length): number {
  let left = from;
  let right = to - 1;
  while (left < right) {
    // The middle entry as pivot: a sorted window, the usual case of a falling loss, costs no more than a shuffled one. A
    // median of three would cost windows a third more, and is no safer against what logs hold.
    const pivot = values[(left + right) >> 1]!;
    let i = left;
    let j = right;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i <= j) {
        const swap = values[i]!;
        values[i++] = values[j]!;
        values[j--] = swap;
      }
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return values[k]!;
}

/**
 * Percentiles by the nearest-rank definition: the smallest value such that at least p % of the values are ≤ it.
 *
 * @param values finite values; reordered in place
 * @param percentiles ascending, in (0, 100]
 * @returns one value per percentile, null for an empty series
 */
export function percentilesInPlace(values: Float64Array, percentiles: readonly number[]): (number | null)[] {
  let from = 0;
  return percentiles.map((p) => {
    if (values.length === 0) return null;
    const k = Math.min(values.length - 1, Math.max(0, Math.ceil((p / 100) * values.length) - 1));
    // What an earlier percentile put to its left is smaller than everything that is still wanted.
    const value = selectNth(values, k, Math.min(from, k));
    from = k;
    return value;
  });
}
