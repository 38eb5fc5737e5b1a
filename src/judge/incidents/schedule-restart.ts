/** Warm restarts: a schedule raises the rate again, and the loss goes to where it was at that rate. */
import type { Column } from '../../model/column.ts';
import { medianOf } from '../../model/order-statistics.ts';

/** Times its lowest value since its last height that a rate rises at a restart. */
export const RISE = 3;
/** Share of an earlier height that a restarted rate comes back to: some schedules lower each height. */
export const HEIGHT = 0.4;
/** A loss of up to so many times that of the same rate before is what is usual at that rate. */
export const AS_BEFORE = 1.5;
/** Points at which a rate comes down before a restart: a rate that was lowered by hand falls at one. */
const FALLS = 5;
/** Points that a level is of. */
const LEVEL = 20;
/** Of the points of a level so many may be higher than its usual height. */
const HIGHEST = 2;
/** Share of a rate down to which a rate counts as that rate. */
const SAME_RATE = 0.7;

/** Points of a series in the order of their steps. */
export interface Points {
  readonly step: Column;
  readonly value: Column;
}

interface Restart {
  readonly step: number;
  /** The rate that it was raised to. */
  readonly rate: number;
  /** Times the lowest rate before that it is. */
  readonly times: number;
}

/** A rise of the loss that came with a restart and is no more than the loss was at that rate. */
export interface PlannedRise extends Restart {
  /** Level of the loss when the rate was last that high. */
  readonly usual: number;
  /** The highest value of the loss in the rise. */
  readonly highest: number;
}

/**
 * The restart that explains a rise of the loss; null without one. The rise begins within the points of a level after the
 * restart. It is nowhere higher than 1.5 times what was usual when the rate was that high before.
 *
 * It came back, or the rate is still as high. Otherwise the loss ends at about what it was at the last rate.
 *
 * @param loss of the attempt
 * @param rates of the attempt
 * @param rise positions of the rise in `loss`: the first, and the one after its last; whether it came back
 * @param ratio that the loss may be above its level at the rate of the end
 */
export function plannedRise(
  loss: Points,
  rates: Points,
  rise: { readonly onset: number; readonly end: number; readonly isBack: boolean },
  ratio: number,
): PlannedRise | null {
  const restart = restartBefore(rates, loss.step.at(rise.onset)!);
  if (restart === null) return null;
  const from = loss.step.findIndex((one) => one >= restart.step);
  if (rise.onset - from >= LEVEL) return null;
  const before = pointsAtRate(loss, rates, restart.rate, from);
  if (before.length === 0) return null;
  const rising = loss.value.subarray(rise.onset, rise.end);
  let highest = Number.NEGATIVE_INFINITY;
  // NaN and Infinity are never planned.
  for (const value of rising) highest = Number.isFinite(value) ? Math.max(highest, value) : Number.NaN;
  const usualHeight = before[Math.max(0, before.length - 1 - HIGHEST)]!;
  if (!(highest <= AS_BEFORE * usualHeight)) return null;
  const isHigh = rates.value.at(-1)! >= SAME_RATE * restart.rate;
  if (!rise.isBack && !isHigh && !endsAsBefore(loss, rates, from, ratio)) return null;
  return { ...restart, usual: medianOf(before), highest };
}

/** The last restart up to a step: where the rate is back at about the height that it had come down from, point by point. */
function restartBefore({ step, value }: Points, until: number): Restart | null {
  let [height, lowest, falls] = [0, Number.POSITIVE_INFINITY, 0];
  let found: Restart | null = null;
  for (let i = 0; i < value.length && step.at(i)! <= until; i++) {
    const rate = value.at(i)!;
    const cameDown = falls >= FALLS && height > RISE * lowest;
    if (cameDown && rate > RISE * lowest && rate >= HEIGHT * height && rate <= AS_BEFORE * height) {
      found = { step: step.at(i)!, rate, times: rate / lowest };
      [height, lowest, falls] = [rate, rate, 0];
    } else if (rate > height) [height, lowest, falls] = [rate, rate, 0];
    else if (rate < lowest) {
      lowest = rate;
      falls++;
    }
  }
  return found;
}

/**
 * The finite losses of a level, in ascending order, at the end of the first time that the rate was as high: by then the loss
 * had come down from its start. Only points before a position count.
 */
function pointsAtRate(loss: Points, rates: Points, rate: number, before: number): Float64Array {
  const until = loss.step.at(before) ?? Number.POSITIVE_INFINITY;
  let last = -1;
  for (let i = 0; i < rates.value.length && rates.step.at(i)! < until; i++) {
    if (rates.value.at(i)! >= SAME_RATE * rate) last = i;
    else if (last >= 0) break;
  }
  if (last < 0) return new Float64Array(0);
  const end = loss.step.findLastIndex((one) => one <= rates.step.at(last)!) + 1;
  return Float64Array.from(loss.value.subarray(Math.max(0, end - LEVEL), end).filter(Number.isFinite)).sort();
}

/** Whether the last points of a loss are about at its level when the rate was that of the end, before a restart. */
function endsAsBefore(loss: Points, rates: Points, restart: number, ratio: number): boolean {
  const end = medianOf(loss.value.subarray(-LEVEL).filter(Number.isFinite));
  return end <= ratio * medianOf(pointsAtRate(loss, rates, rates.value.at(-1)!, restart));
}
