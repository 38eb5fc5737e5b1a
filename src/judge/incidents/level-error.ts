/** How well the level of some points is known. */
import { medianOf } from '../../model/order-statistics.ts';

/** Our numbers. Standard errors that a level has to be away from another, and blocks that its error is of. */
export const [ERRORS, BLOCKS] = [3, 5];

/** Standard error of a median of normal noise, times that of a mean of as many points. */
export const MEDIAN_ERROR = 1.2533;

/** Standard error of the median of so many points, of noise without memory. */
export const medianError = (noise: number, points: number): number =>
  (MEDIAN_ERROR * noise) / Math.sqrt(points);

/** Standard error of the level of values: of medians of blocks, so that correlated noise counts. */
export function levelError(values: Float64Array): number {
  const width = Math.floor(values.length / BLOCKS);
  if (width < 1) return Number.NaN;
  const levels = Array.from({ length: BLOCKS }, (_, k) =>
    medianOf(values.subarray(k * width, (k + 1) * width)),
  );
  const mean = levels.reduce((sum, level) => sum + level, 0) / BLOCKS;
  const squares = levels.reduce((sum, level) => sum + (level - mean) ** 2, 0);
  return Math.sqrt(squares / (BLOCKS - 1) / BLOCKS);
}
