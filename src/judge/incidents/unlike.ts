/** The one threshold of "unlike, raised, unusual": outside of the range of earlier values, widened by half of it. */

import type { Column } from '../../model/column.ts';
import { finiteIn } from '../../model/order-statistics.ts';

/** Values before that say what is usual: in a warm-up, or while a loss falls, those long before are of another time. */
export const USUAL = 20;

/** Fewer earlier values make no range. */
export const LEAST_EARLIER = 4;

/** States, or steps, that a level before takes. */
export const LEAST_STATES = 8;

/**
 * The range of what is usual.
 *
 * @param earlier values of the same quantity from before; those that are not finite do not count
 * @returns [low, high] of the finite ones, each moved outwards by half of their difference; null for fewer than four
 */
export function usualRange(earlier: readonly number[] | Column): readonly [number, number] | null {
  const {
    count,
    least: low,
    most: high,
  } = finiteIn(Array.isArray(earlier) ? Float64Array.from(earlier) : (earlier as Column));
  if (count < LEAST_EARLIER) return null;
  const margin = (high - low) / 2;
  return [low - margin, high + margin];
}

/** Whether a value lies above what is usual; NaN and Infinity do, where there is a usual range. */
export const isRaised = (value: number, usual: readonly [number, number] | null): boolean =>
  usual !== null && !(value <= usual[1]);

/** Whether a value lies outside of what is usual, above or below it; NaN and Infinity do, where there is a usual range. */
export const isUnlike = (value: number, usual: readonly [number, number] | null): boolean =>
  usual !== null && !(value >= usual[0] && value <= usual[1]);
