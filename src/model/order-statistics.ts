/**
 * Order statistics without sorting, and the count of what has no order. The only medians, percentiles and counts of NaN and
 * ±Infinity of the project: reports, detectors, the gate and replays all take them from here.
 */

/** Makes a median absolute deviation comparable with a standard deviation: 1/Φ⁻¹(3/4) for Gaussian noise. */
export const MAD_TO_SIGMA = 1.4826;

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

/** Index of a percentile among so many ordered values. */
const rankOf = (p: number, count: number): number =>
  Math.min(count - 1, Math.max(0, Math.ceil((p / 100) * count) - 1));

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
    const k = rankOf(p, values.length);
    // What an earlier percentile put to its left is smaller than everything that is still wanted.
    const value = selectNth(values, k, Math.min(from, k));
    from = k;
    return value;
  });
}

/** Up to so many values are copied to be put into order. */
const COPIED = 1 << 20;
const BINS = 4096;

/**
 * As {@link percentilesInPlace}, of the finite ones of any values, which stay as they are. A long series is counted into
 * bins of equal width, and those of the bin that holds a percentile again, until it holds few values or one many times:
 * a copy of ten million points would be what takes most memory in a report.
 *
 * @param copied values that may be copied at once
 */
export function percentilesOf(
  values: Float64Array,
  percentiles: readonly number[],
  copied = COPIED,
): (number | null)[] {
  const { count, least, most } = finiteIn(values, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
  if (count <= copied) return percentilesInPlace(between(values, least, most, count), percentiles);
  return percentiles.map((p) => nthOf(values, rankOf(p, count), count, least, most, copied));
}

/** How many finite values lie in [low, high], and the smallest and largest of them. */
function finiteIn(values: Float64Array, low: number, high: number) {
  let count = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!(value >= low && value <= high) || Math.abs(value) === Number.POSITIVE_INFINITY) continue;
    count++;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return { count, least, most };
}

/** The `count` values in [low, high]. */
function between(values: Float64Array, low: number, high: number, count: number): Float64Array {
  const found = new Float64Array(count);
  let next = 0;
  for (let i = 0; i < values.length; i++)
    if (values[i]! >= low && values[i]! <= high) found[next++] = values[i]!;
  return found;
}

/** The k-th smallest (0-based) of the `count` values in [low, high], which are the smallest and largest of them. */
function nthOf(
  values: Float64Array,
  k: number,
  count: number,
  low: number,
  high: number,
  copied: number,
): number {
  if (low === high) return low;
  const perBin = BINS / (high - low);
  // Where the width is beyond float64, or below what it divides, there are no bins.
  if (count <= copied || !(perBin > 0 && perBin < Number.POSITIVE_INFINITY))
    return selectNth(between(values, low, high, count), k);
  // Each step of the index rounds upwards or downwards for all larger values too: bins are ranges of values.
  const held = new Uint32Array(BINS + 1);
  const least = new Float64Array(BINS + 1).fill(Number.POSITIVE_INFINITY);
  const most = new Float64Array(BINS + 1).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!(value >= low && value <= high)) continue;
    const bin = Math.floor((value - low) * perBin);
    held[bin]!++;
    if (value < least[bin]!) least[bin] = value;
    if (value > most[bin]!) most[bin] = value;
  }
  let bin = 0;
  let before = 0;
  while (before + held[bin]! <= k) before += held[bin++]!;
  return nthOf(values, k - before, held[bin]!, least[bin]!, most[bin]!, copied);
}

/**
 * Median of `values[0..length)`, the mean of the two middle ones where there is an even number; reorders the entries.
 * NaN for none. Entries must not be NaN.
 */
export const medianInPlace = (values: Float64Array, length: number = values.length): number =>
  length === 0 ? Number.NaN : middleInPlace(values, length, length >> 1, length % 2 === 1);

/**
 * The k-th smallest of `values[0..length)`, or unless `odd` the mean of it and the one before; reorders the entries. With
 * k = length >> 1 it is the median; another k serves a median of which only the middle part is at hand.
 */
export function middleInPlace(values: Float64Array, length: number, k: number, odd: boolean): number {
  const upper = selectNth(values, k, 0, length);
  if (odd) return upper;
  let lower = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < k; i++) if (values[i]! > lower) lower = values[i]!;
  return lower + (upper - lower) / 2;
}

/** Median of any numbers; the non-finite ones are left out. NaN where none is finite. */
export function medianOf(values: ArrayLike<number>): number {
  const finite = new Float64Array(values.length);
  let found = 0;
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) finite[found++] = values[i]!;
  return medianInPlace(finite, found);
}

/** Median of the distances of neighbouring steps, which is how far two points usually lie apart; NaN for fewer than two. */
export function usualDistance(step: Float64Array): number {
  const distance = step[1]! - step[0]!;
  // Most logs are even, and then no copy is needed.
  let k = 2;
  while (k < step.length && step[k]! - step[k - 1]! === distance) k++;
  return k === step.length ? distance : medianOf(step.subarray(1).map((at, i) => at - step[i]!));
}

/** How many values are not finite, by kind. */
export interface NonFiniteCounts {
  readonly nan: number;
  readonly posInf: number;
  readonly negInf: number;
}

/** Counts NaN, +Infinity and -Infinity in `values[from, to)`. */
export function countNonFinite(
  values: ArrayLike<number>,
  from = 0,
  to: number = values.length,
): NonFiniteCounts {
  let nan = 0;
  let posInf = 0;
  let negInf = 0;
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    if (Number.isFinite(value)) continue;
    if (value === Number.POSITIVE_INFINITY) posInf++;
    else if (value === Number.NEGATIVE_INFINITY) negInf++;
    else nan++;
  }
  return { nan, posInf, negInf };
}

/** The smallest value; NaN where one is, +Infinity of none. */
export function smallest(values: ArrayLike<number>): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < values.length; i++) least = Math.min(least, values[i]!);
  return least;
}

/** The largest value; NaN where one is, -Infinity of none. */
export function largest(values: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i]!);
  return most;
}
