/** What is usual in the window before a point, of quantities that rise in runs that go well: norms, and losses in few points. */
import { type Column, pickerOf, readerOf } from '../../model/column.ts';
import { MAD_TO_SIGMA, medianInPlace, medianOf } from '../../model/order-statistics.ts';
import { RunningMedian } from './levels.ts';

/** The same for the mean absolute deviation: √(π/2). */
const MEAN_DEVIATION_TO_SIGMA = 1.2533;

/**
 * Robust scale of deviations from a center: 1.4826 times their median; where more than half of them are zero (a loss printed
 * with two decimals), 1.2533 times their mean; 0 for a constant.
 */
function scaleFrom(median: number, deviations: Float64Array, length: number): number {
  if (median > 0) return MAD_TO_SIGMA * median;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += deviations[i]!;
  return length === 0 ? 0 : (MEAN_DEVIATION_TO_SIGMA * sum) / length;
}

/**
 * Scale of the noise of `to(values)`, which may also have a trend: 1.4826·MAD of the differences of neighbours, divided by √2.
 * Looks at 20,000 evenly spaced pairs at most. 0 with fewer than two finite neighbours.
 */
export function noiseScale(values: Column, to: (value: number) => number): number {
  const pairs = Math.min(values.length - 1, 20_000);
  if (pairs < 1) return 0;
  const at = pickerOf(values);
  const differences = new Float64Array(pairs);
  let found = 0;
  for (let k = 0; k < pairs; k++) {
    const i = Math.floor((k * (values.length - 1)) / pairs);
    const difference = to(at(i + 1)) - to(at(i));
    if (Number.isFinite(difference)) differences[found++] = difference;
  }
  const center = medianInPlace(differences, found);
  for (let k = 0; k < found; k++) differences[k] = Math.abs(differences[k]! - center);
  return scaleFrom(medianInPlace(differences, found), differences, found) / Math.SQRT2;
}

/** A window falls where its halves differ by more than so many scales. */
const FALL = 3;

/** Whether a few values fall by more than three scales from end to end. */
export function isFalling(values: readonly number[]): boolean {
  const n = values.length;
  const half = n >> 1;
  const [older, newer] = [medianOf(values.slice(0, half)), medianOf(values.slice(n - half))];
  const slope = Math.min(0, (newer - older) / (n - half)) || 0;
  const center = medianOf(values);
  const spread =
    MAD_TO_SIGMA * medianOf(values.map((value, i) => Math.abs(value - center - slope * (i - (n - 1) / 2))));
  return slope * n < -FALL * spread * (1 + FEW_POINTS / n);
}

/** A scale of n points is widened by 1 + this / n: it is often far too small by chance. */
const FEW_POINTS = 4;

/** Shape of a trailing window: the scale of 50 points is off by about 16 %; more than 1,000 add cost and no accuracy. */
const WINDOW = { points: 50, share: 0.05, maximum: 1000, start: 20 };

/** Points of the trailing window of a series of n points, and how many of them make the first judgement. */
export const windowFor = (n: number): { size: number; start: number } => ({
  size: Math.min(Math.max(WINDOW.points, Math.floor(WINDOW.share * n)), WINDOW.maximum),
  start: Math.max(5, Math.min(WINDOW.start, Math.floor(n / 8))),
});

/**
 * Positive points that lie more than `scales` robust scales of the logarithm **and** `ratio` times above the median of the window
 * before. Every point joins the window afterwards, so that a new level is a new normal; what has no logarithm is left out.
 */
export function exceedances(values: Column, scales: number, ratio: number) {
  const { size, start } = windowFor(values.length);
  const at = readerOf(values);
  const found: { readonly index: number; readonly before: number; readonly scales: number }[] = [];
  const window: number[] = [];
  let next = 0;
  let median: RunningMedian | null = null;
  let lowest = Number.POSITIVE_INFINITY;
  const spreadAbout = (center: number): number => {
    const distances = Float64Array.from(window, (y) => Math.abs(y - center));
    const points = distances.length;
    return scaleFrom(medianInPlace(distances), distances, points) * (1 + FEW_POINTS / points);
  };
  for (let i = 0; i < values.length; i++) {
    const y = Math.log(at(i));
    if (!Number.isFinite(y)) continue;
    // A median costs more than the least point, and hardly a point is so high that it matters.
    if (window.length >= start && y > lowest + Math.log(ratio)) {
      if (median === null && window.length === size) {
        median = new RunningMedian(size);
        for (let k = 0; k < size; k++) median.push(window[(next + k) % size]!);
      }
      const center = median === null ? medianOf(window) : median.level;
      if (y > center + Math.log(ratio)) {
        const spread = spreadAbout(center);
        if (y - center > scales * spread)
          found.push({ index: i, before: Math.exp(center), scales: (y - center) / spread });
      }
    }
    if (window.length < size) window.push(y);
    else {
      window[next] = y;
      next = (next + 1) % size;
      median?.push(y);
    }
    if (y < lowest) lowest = y;
  }
  return found;
}
