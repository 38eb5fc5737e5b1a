/**
 * Losses printed as the mean since their epoch began (HRNet's `AverageMeter`, a sum over the batches so far): the
 * first one of an epoch averages few batches, and the later ones hardly move. Undone, each point is the mean of the
 * batches since the point before.
 */
import { medianOf, smallest } from '../../model/order-statistics.ts';

/** Least points of an epoch that shows it, such epochs, and points early and late in them (heuristic). */
const LEAST_POINTS = 8;
const LEAST_EPOCHS = 3;
const LEAST_MOVES = 20;
/**
 * How much more such a mean moves in the first third of an epoch than in its last: five times, by 1/n, if each batch
 * is equally noisy. And how even the undone values must be.
 */
const MOVES = 2;
const EVEN = 2;
/** Largest share of the points of a positive loss that may be undone to 0 or less, by the rounding of their means. */
const MOST_IMPOSSIBLE = 0.02;
/** Largest share of an undone move that rounding may cause. */
const MOST_ROUNDING = 0.25;

export interface Undone {
  /** As many values as there were; unusable where {@link hidden} is 1. */
  readonly value: Float64Array;
  /** Points of fewer than half as many batches as most, and points hidden by the rounding of the mean. */
  readonly hidden: Uint8Array;
  /** How many batches most points average. */
  readonly batches: number;
}

/** The smallest difference in the printed digits: 0.001 of 1.284. */
function resolutionOf(value: Float64Array): number {
  let digits = 0;
  for (let k = 0; k < Math.min(value.length, 200); k++) {
    const text = `${value[k]!}`;
    if (/^-?\d+\.\d+$/.test(text)) digits = Math.max(digits, text.length - text.indexOf('.') - 1);
  }
  return 10 ** -digits;
}

/** How far a value usually is from the one before. */
const usualStep = (value: Float64Array, at: readonly number[]): number =>
  medianOf(Float64Array.from(at, (k) => Math.abs(value[k]! - value[k - 1]!)));

/**
 * Mean of the batches between two means m of n and m' of n' batches since the epoch began:
 * `(n'·m' − n·m) / (n' − n)`.
 */
export const meanBetween = (count: number, mean: number, nextCount: number, nextMean: number): number =>
  (nextCount * nextMean - count * mean) / (nextCount - count);

/** Where epochs begin, and how many batches usually are from one value to the next; NaN where none follows another. */
function epochsOf(
  batch: Float64Array,
  epoch: Float64Array,
): { readonly starts: number[]; readonly batches: number } {
  const starts: number[] = [];
  const distances: number[] = [];
  for (let k = 0; k < batch.length; k++) {
    const follows = k > 0 && epoch[k] === epoch[k - 1] && batch[k]! > batch[k - 1]!;
    if (follows) distances.push(batch[k]! - batch[k - 1]!);
    else starts.push(k);
  }
  return { starts, batches: distances.length === 0 ? Number.NaN : medianOf(Float64Array.from(distances)) };
}

/** Undoes the means from one value to before another, all of one epoch. @returns the last mean */
function undoEpoch(
  { value: undone, hidden, batches }: Undone,
  counts: Float64Array,
  from: number,
  to: number,
  isPositive: boolean,
): number {
  let [count, mean] = [0, 0];
  for (let k = from; k < to; k++) {
    const [next, here] = [counts[k]!, undone[k]!];
    // A mean that is not finite stays so to the end of its epoch.
    if (Number.isFinite(here) && next > count) undone[k] = meanBetween(count, mean, next, here);
    if (next - count < batches / 2 || (isPositive && undone[k]! <= 0)) hidden[k] = 1;
    [count, mean] = [next, here];
  }
  return mean;
}

/** Points early and late in an epoch that follow one that is not hidden. */
function thirdsOf(hidden: Uint8Array, from: number, to: number): { early: number[]; late: number[] } {
  const early: number[] = [];
  const late: number[] = [];
  for (let k = from + 2; k < to; k++) {
    const place = (k - from) / (to - from);
    if (hidden[k] === 1 || hidden[k - 1] === 1) continue;
    if (place < 1 / 3) early.push(k);
    else if (place >= 2 / 3) late.push(k);
  }
  return { early, late };
}

/** Whether values move as means since their epoch began, and hardly more early than late once that is undone. */
function areMeans(value: Float64Array, undone: Float64Array, epochs: readonly ReturnType<typeof thirdsOf>[]) {
  const early = epochs.flatMap((one) => one.early);
  const late = epochs.flatMap((one) => one.late);
  if (epochs.length < LEAST_EPOCHS || early.length < LEAST_MOVES || late.length < LEAST_MOVES) return false;
  if (!(usualStep(value, early) > MOVES * usualStep(value, late))) return false;
  const [first, last] = [usualStep(undone, early), usualStep(undone, late)];
  if (!(first < EVEN * last && last < EVEN * first)) return false;
  // Each epoch by itself: if a run diverges, the epochs before and after move on different scales.
  const both = epochs.filter((one) => one.early.length > 0 && one.late.length > 0);
  const ratio = (of: Float64Array): number =>
    medianOf(Float64Array.from(both, (one) => usualStep(of, one.early) / usualStep(of, one.late)));
  const even = ratio(undone);
  return ratio(value) > MOVES && even < EVEN && even * EVEN > 1;
}

/**
 * The losses of the batches themselves, from means since each epoch began.
 *
 * @param value what is printed
 * @param batch the batch counter within the epoch at each value, from 0 or from 1
 * @param epoch the epoch of each
 * @returns null where the values are not such means, or too few to decide
 */
export function undoRunningMeans(
  value: Float64Array,
  batch: Float64Array,
  epoch: Float64Array,
): Undone | null {
  const base = smallest(batch) === 0 ? 1 : 0;
  const counts = batch.map((one) => one + base);
  const { starts, batches } = epochsOf(batch, epoch);
  if (Number.isNaN(batches)) return null;
  const undone: Undone = { value: value.slice(), hidden: new Uint8Array(value.length), batches };
  const isPositive = value.every((one) => !(one <= 0));
  const shown: ReturnType<typeof thirdsOf>[] = [];
  for (const [i, start] of starts.entries()) {
    const end = starts[i + 1] ?? value.length;
    const mean = undoEpoch(undone, counts, start, end, isPositive);
    // The first epoch learns most, so its loss falls as such a mean does.
    if (i > 0 && end - start >= LEAST_POINTS && Number.isFinite(mean))
      shown.push(thirdsOf(undone.hidden, start, end));
  }
  // Losses that are no means are undone to many times their noise, which falls below 0; batches of a positive loss do not.
  const impossible = undone.value.reduce((count, one) => count + Number(one <= 0), 0);
  if (isPositive && impossible > MOST_IMPOSSIBLE * value.length) return null;
  if (!areMeans(value, undone.value, shown)) return null;
  const late = usualStep(
    undone.value,
    shown.flatMap((one) => one.late),
  );
  const most = batch.reduce((a, b) => Math.max(a, b), 0);
  return (resolutionOf(value) * most) / batches > MOST_ROUNDING * late ? null : undone;
}
