/**
 * Order statistics without sorting, and the count of what has no order. The only medians, percentiles and counts of NaN and
 * ±Infinity of the project: reports, detectors, the gate and replays all take them from here.
 */
import { BLOCK, blocksOf, type Column, copyOf, isArray, pickerOf, readerOf } from './column.ts';

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
    const middle = (left + right) >> 1;
    const pivot = values[middle]!;
    values[middle] = values[right]!;
    const place = belowFirst(values, left, right, pivot);
    values[right] = values[place]!;
    values[place] = pivot;
    if (k < place) right = place - 1;
    else if (k === place) break;
    else if (place > left) left = place + 1;
    else {
      // None is smaller: all that are equal leave at once.
      left = atMostFirst(values, left + 1, right + 1, pivot);
      if (k < left) break;
    }
  }
  return values[k]!;
}

/**
 * Puts those of [from, to) that are below a pivot first; where the others begin. No branch that the processor would guess
 * wrong: half of the time of one that swaps from both ends (256 random values: 1.1 for 2.6 µs).
 */
function belowFirst(values: Float64Array, from: number, to: number, pivot: number): number {
  let place = from;
  for (let k = from; k < to; k++) {
    const value = values[k]!;
    values[k] = values[place]!;
    values[place] = value;
    place = (place + +(value < pivot)) | 0;
  }
  return place;
}

/** The same of those that are at most the pivot. */
function atMostFirst(values: Float64Array, from: number, to: number, pivot: number): number {
  let place = from;
  for (let k = from; k < to; k++) {
    const value = values[k]!;
    values[k] = values[place]!;
    values[place] = value;
    place = (place + +(value <= pivot)) | 0;
  }
  return place;
}

/** Index of a percentile among so many ordered values. */
const rankOf = (p: number, count: number): number =>
  Math.min(count - 1, Math.max(0, Math.ceil((p / 100) * count) - 1));

/** The values of some ranks (0-based, ascending); reorders the values in place. */
function ranksInPlace(values: Float64Array, ranks: readonly number[]): number[] {
  let from = -1;
  return ranks.map((k) => {
    // What an earlier rank put to its left is smaller than everything that is still wanted.
    const value =
      from >= 0 && k === from + 1
        ? leastFrom(values, k)
        : selectNth(values, k, Math.max(0, Math.min(from, k)));
    from = k;
    return value;
  });
}

/** Up to so many values are copied to be put into order. */
const COPIED = 1 << 20;
const BINS = 4096;

/** The least of the values from a position on, which is put there. */
function leastFrom(values: Float64Array, from: number): number {
  let place = from;
  for (let i = from + 1; i < values.length; i++) if (values[i]! < values[place]!) place = i;
  const least = values[place]!;
  values[place] = values[from]!;
  values[from] = least;
  return least;
}

/**
 * Percentiles by the nearest-rank definition, of the finite ones of any values, which stay as they are: the smallest value
 * such that at least p % of the values are ≤ it; null where none is finite. A long series is counted into
 * bins of equal width, and those of the bins that hold a percentile again, until they hold few values or one many times:
 * a copy of ten million points would be what takes most memory in a report.
 *
 * @param percentiles ascending, in (0, 100]
 * @param copied values that may be copied at once
 * @param held what is held of the finite ones, where it is known
 */
export function percentilesOf(
  values: Column,
  percentiles: readonly number[],
  copied = COPIED,
  held: Held = finiteIn(values),
): (number | null)[] {
  if (held.count === 0) return percentiles.map(() => null);
  const ranks = percentiles.map((p) => rankOf(p, held.count));
  return ranked(values, ranks, held, copied);
}

/** How many values there are in a range, and the smallest and largest of them. */
export interface Held {
  readonly count: number;
  readonly least: number;
  readonly most: number;
}

/** What is held of the finite values. */
export function finiteIn(values: Column): Held {
  let count = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++) {
      const value = block[i]!;
      if (!Number.isFinite(value)) continue;
      count++;
      if (value < least) least = value;
      if (value > most) most = value;
    }
  return { count, least, most };
}

/** The `count` values in [least, most]. */
function between(values: Column, { count, least, most }: Held): Float64Array {
  const found = new Float64Array(count);
  let next = 0;
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++)
      if (block[i]! >= least && block[i]! <= most) found[next++] = block[i]!;
  return found;
}

/** The values of some ranks (0-based, ascending) among those held. */
function ranked(values: Column, ranks: readonly number[], held: Held, copied: number): number[] {
  const { count, least, most } = held;
  if (least === most) return ranks.map(() => least);
  const near = nearRanks(values, ranks, held, copied);
  if (near !== undefined) return near;
  const perBin = BINS / (most - least);
  // Where the width is beyond float64, or below what it divides, there are no bins.
  if (count <= copied || !(perBin > 0 && perBin < Number.POSITIVE_INFINITY))
    return ranksInPlace(between(values, held), ranks);
  const wanted: { readonly bin: number; readonly held: Held; readonly ranks: readonly number[] }[] = [];
  let before = 0;
  for (const [bin, one] of binned(values, held, perBin).entries()) {
    const inside = ranks.filter((rank) => rank >= before && rank < before + one.count);
    if (inside.length > 0) wanted.push({ bin, held: one, ranks: inside.map((rank) => rank - before) });
    before += one.count;
  }
  // Bins that are small together are copied in one pass; of one number there is nothing to copy.
  const few = wanted.filter(({ held: { least: low, most: high } }) => low < high);
  if (few.reduce((sum, { held: { count: inside } }) => sum + inside, 0) > copied)
    return wanted.flatMap((one) => ranked(values, one.ranks, one.held, copied));
  const copies = copiesOf(values, held, perBin, few);
  return wanted.flatMap(({ held: one, ranks: own }) =>
    one.least === one.most ? own.map(() => one.least) : ranksInPlace(copies.get(one)!, own),
  );
}

/** Values that are looked at to guess between which values a rank lies. */
const SAMPLE = 256;
/** Ranks of the sample on either side that a rank is looked for in: three standard errors of the one in the middle. */
const MARGIN = 24;

/**
 * The values of neighbouring ranks, found between two of a sample: one pass counts what is below and collects a
 * fifth of the values, and only that is searched. Exact, or undefined where the sample was wrong, or values are not finite or few.
 */
function nearRanks(
  values: Column,
  ranks: readonly number[],
  { count }: Held,
  copied: number,
): number[] | undefined {
  const [first, last] = [ranks[0]!, ranks.at(-1)!];
  if (count < 4 * SAMPLE || count > 2 * copied || count < values.length || last - first > 1) return undefined;
  const at = pickerOf(values);
  const sample = Float64Array.from({ length: SAMPLE }, (_, k) =>
    at(Math.floor(((k + 0.5) * count) / SAMPLE)),
  ).sort();
  const middle = Math.floor((first / count) * SAMPLE);
  const low = sample[middle - MARGIN] ?? Number.NEGATIVE_INFINITY;
  const high = sample[middle + MARGIN] ?? Number.POSITIVE_INFINITY;
  const found = new Float64Array((count >> 1) + BLOCK);
  let below = 0;
  let inside = 0;
  for (const block of blocksOf(values)) {
    if (inside + block.length > found.length) return undefined;
    for (let i = 0; i < block.length; i++) {
      const value = block[i]!;
      // As in medianNear of bands.ts: no branch that the processor would guess wrong.
      below = (below + +(value < low)) | 0;
      found[inside] = value;
      inside = (inside + (+(value >= low) & +(value <= high))) | 0;
    }
  }
  if (first < below || last >= below + inside) return undefined;
  return ranksInPlace(
    found.subarray(0, inside),
    ranks.map((rank) => rank - below),
  );
}

/** The values of some bins. */
function copiesOf(
  values: Column,
  { least, most }: Held,
  perBin: number,
  bins: readonly { readonly bin: number; readonly held: Held }[],
): ReadonlyMap<Held, Float64Array> {
  const copies = bins.map(({ held }) => new Float64Array(held.count));
  const filled = new Uint32Array(bins.length);
  const copyOfBin = new Uint16Array(BINS + 1);
  bins.forEach(({ bin }, k) => {
    copyOfBin[bin] = k + 1;
  });
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++) {
      const value = block[i]!;
      if (!(value >= least && value <= most)) continue;
      const copy = copyOfBin[Math.floor((value - least) * perBin)]!;
      if (copy > 0) copies[copy - 1]![filled[copy - 1]!++] = value;
    }
  return new Map(bins.map(({ held }, k) => [held, copies[k]!]));
}

/** What is held of each bin of the values in [least, most]. */
function binned(values: Column, { least, most }: Held, perBin: number): Held[] {
  // Each step of the index rounds upwards or downwards for all larger values too: bins are ranges of values.
  const counts = new Uint32Array(BINS + 1);
  const lows = new Float64Array(BINS + 1).fill(Number.POSITIVE_INFINITY);
  const highs = new Float64Array(BINS + 1).fill(Number.NEGATIVE_INFINITY);
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++) {
      const value = block[i]!;
      if (!(value >= least && value <= most)) continue;
      const bin = Math.floor((value - least) * perBin);
      counts[bin]!++;
      if (value < lows[bin]!) lows[bin] = value;
      if (value > highs[bin]!) highs[bin] = value;
    }
  return Array.from(counts, (count, bin) => ({ count, least: lows[bin]!, most: highs[bin]! }));
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

/** The finite ones of values, in their order. `filter` of a typed array takes ten times as long. */
export function finiteOf(values: ArrayLike<number>): Float64Array {
  const finite = new Float64Array(values.length);
  let found = 0;
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) finite[found++] = values[i]!;
  return finite.subarray(0, found);
}

/** Median of any numbers; the non-finite ones are left out. NaN where none is finite. */
export function medianOf(values: ArrayLike<number> | Column): number {
  if (!isArray(values)) return values.length > BLOCK ? medianOfColumn(values) : medianOf(copyOf(values));
  const finite = finiteOf(values);
  return medianInPlace(finite, finite.length);
}

/**
 * The same of a column, which is counted where it is long, see {@link percentilesOf}.
 *
 * @param copied values that may be copied at once
 */
export function medianOfColumn(values: Column, copied = COPIED): number {
  const held = finiteIn(values);
  if (held.count === 0) return Number.NaN;
  const middle = held.count >> 1;
  if (held.count % 2 === 1) return ranked(values, [middle], held, copied)[0]!;
  const [lower, upper] = ranked(values, [middle - 1, middle], held, copied) as [number, number];
  return lower + (upper - lower) / 2;
}

/** Median of the distances of neighbouring steps, which is how far two points usually lie apart; NaN for fewer than two. */
export function usualDistance(step: Column): number {
  if (step.length < 2) return Number.NaN;
  const at = readerOf(step);
  const distance = at(1) - at(0);
  // Most logs are even, and then no copy is needed.
  let k = 2;
  while (k < step.length && at(k) - at(k - 1) === distance) k++;
  return k === step.length ? distance : medianOf(step.subarray(1).map((one, i) => one - at(i)));
}

/** The usual distance of the steps of a log, one at least: from its last record to the next one. */
export const distanceToNext = (step: Column): number => Math.max(1, usualDistance(step) || 1);

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

/** The same of a column. */
export function countNonFiniteIn(column: Column): NonFiniteCounts {
  const counts = { nan: 0, posInf: 0, negInf: 0 };
  for (const block of blocksOf(column)) {
    const { nan, posInf, negInf } = countNonFinite(block);
    counts.nan += nan;
    counts.posInf += posInf;
    counts.negInf += negInf;
  }
  return counts;
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
