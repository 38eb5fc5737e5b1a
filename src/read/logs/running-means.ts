/**
 * Losses printed as the mean since their epoch began (HRNet's `AverageMeter`, a sum over the batches so far): the
 * first one of an epoch averages few batches, and the later ones hardly move. Undone, each point is the mean of the
 * batches since the point before.
 */
import { medianOf } from '../../model/order-statistics.ts';

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
  const base = batch.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY) === 0 ? 1 : 0;
  const starts: number[] = [];
  for (let k = 0; k < value.length; k++)
    if (k === 0 || epoch[k] !== epoch[k - 1] || batch[k]! <= batch[k - 1]!) starts.push(k);
  const distances: number[] = [];
  for (let k = 1; k < value.length; k++)
    if (epoch[k] === epoch[k - 1] && batch[k]! > batch[k - 1]!) distances.push(batch[k]! - batch[k - 1]!);
  if (distances.length === 0) return null;
  const batches = medianOf(Float64Array.from(distances));
  const undone = value.slice();
  const hidden = new Uint8Array(value.length);
  const early: number[] = [];
  const late: number[] = [];
  /** Of each epoch that shows it, the ratio of its early to its late moves, as printed and undone. */
  const moves: number[] = [];
  const evens: number[] = [];
  let shown = 0;
  const isPositive = value.every((one) => !(one <= 0));
  for (const [i, start] of starts.entries()) {
    const end = starts[i + 1] ?? value.length;
    let [count, mean] = [0, 0];
    for (let k = start; k < end; k++) {
      const [next, here] = [batch[k]! + base, value[k]!];
      // A mean that is not finite stays so to the end of its epoch.
      if (Number.isFinite(here) && next > count) undone[k] = meanBetween(count, mean, next, here);
      if (next - count < batches / 2 || (isPositive && undone[k]! <= 0)) hidden[k] = 1;
      [count, mean] = [next, here];
    }
    // The first epoch learns most, so its loss falls as such a mean does.
    const points = end - start;
    if (i === 0 || points < LEAST_POINTS || !Number.isFinite(mean)) continue;
    shown++;
    const [earlyBefore, lateBefore] = [early.length, late.length];
    for (let k = start + 2; k < end; k++) {
      const place = (k - start) / points;
      if (hidden[k] === 1 || hidden[k - 1] === 1) continue;
      if (place < 1 / 3) early.push(k);
      else if (place >= 2 / 3) late.push(k);
    }
    const [first, last] = [early.slice(earlyBefore), late.slice(lateBefore)];
    if (first.length === 0 || last.length === 0) continue;
    moves.push(usualStep(value, first) / usualStep(value, last));
    evens.push(usualStep(undone, first) / usualStep(undone, last));
  }
  if (shown < LEAST_EPOCHS || early.length < LEAST_MOVES || late.length < LEAST_MOVES) return null;
  if (!(usualStep(value, early) > MOVES * usualStep(value, late))) return null;
  const [first, last] = [usualStep(undone, early), usualStep(undone, late)];
  if (!(first < EVEN * last && last < EVEN * first)) return null;
  // Each epoch by itself: if a run diverges, the epochs before and after move on different scales.
  const even = medianOf(Float64Array.from(evens));
  if (!(medianOf(Float64Array.from(moves)) > MOVES && even < EVEN && even * EVEN > 1)) return null;
  const most = batch.reduce((a, b) => Math.max(a, b), 0);
  if ((resolutionOf(value) * most) / batches > MOST_ROUNDING * last) return null;
  return { value: undone, hidden, batches };
}
