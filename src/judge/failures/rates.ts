/** Learning rates that rose, as a log or a capture has them. */

import type { Column } from '../../model/column.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { isRaised, usualRange } from '../incidents/unlike.ts';

/** A rise of the rate below this is a schedule's. */
export const RATE_RISE = 1.5;
/** Steps before the harmful one in which a change may have caused it. */
export const CHANGE_WINDOW = 10;
/** Rises that make a warm-up, and no change of the rate by hand. */
const RISES = 4;

/**
 * A rate that is raised above those before, at or shortly before a position.
 *
 * @returns its first position and how many times the median before it is; null without one
 */
export function raisedRate(
  rates: Column,
  until: number,
): { readonly from: number; readonly before: number; readonly times: number } | null {
  for (let i = Math.max(1, until - CHANGE_WINDOW); i <= until; i++) {
    const rate = rates.at(i)!;
    // A warm-up rises too: each step's range is that of the steps before it, and so is their ratio.
    if (!(rate / rates.at(i - 1)! >= RATE_RISE)) continue;
    const earlier = rates.subarray(0, i);
    const before = medianOf(earlier);
    const usual = usualRange(earlier);
    const times = rate / before;
    if (before > 0 && times >= RATE_RISE && (usual === null || isRaised(rate, usual)))
      return { from: i, before, times };
  }
  return null;
}

/**
 * A warm-up that goes on at a position or reached its height shortly before: the rate rises step by step, at least
 * four times and to half as much again, and is higher than ever before.
 *
 * @returns the positions of its first and of its highest rate; null without one
 */
export function warmUpTo(
  rates: Column,
  until: number,
): { readonly from: number; readonly to: number } | null {
  let to = 0;
  for (let i = 0; i <= until; i++) if (!(rates.at(i)! <= rates.at(to)!)) to = i;
  if (to < 1 || until - to > CHANGE_WINDOW) return null;
  let from = to;
  let rises = 0;
  // A rate that was printed with few digits is still at times.
  while (from > 0 && rates.at(from - 1)! <= rates.at(from)!)
    if (rates.at(from - 1)! < rates.at(from--)!) rises++;
  // Its level before is no part of it.
  while (rates.at(from + 1)! === rates.at(from)!) from++;
  return rises >= RISES && rates.at(to)! >= RATE_RISE * rates.at(from)! ? { from, to } : null;
}

/** Points of a level before a ramp, and times it that a ramp reaches at least. */
export const [LEVEL_POINTS, RAMP_RISE] = [20, 3];

/**
 * A ramp of the rate out of a level at which the run had trained for a while, up to a position or shortly before it.
 *
 * @returns the positions of the last rate of the level and of the highest one, and the highest rate of the level; null without one
 */
export function rampOutOfLevel(
  rates: Column,
  until: number,
): { readonly from: number; readonly to: number; readonly before: number } | null {
  const risen = warmUpTo(rates, until);
  if (risen === null || risen.from < LEVEL_POINTS) return null;
  let before = 0;
  for (let i = 0; i <= risen.from; i++) before = Math.max(before, rates.at(i)!);
  return before > 0 && rates.at(risen.to)! >= RAMP_RISE * before ? { ...risen, before } : null;
}
