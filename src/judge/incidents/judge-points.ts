/**
 * The judge of levels on one attempt of one series: what its excesses amount to where the log ends.
 *
 * It runs in the bench with the judge in use (judge.ts) until it is no worse on every set of `bench/detection/table.ts`;
 * docs/detection.md has the figures of both.
 */
import { type Column, readerOf } from '../../model/column.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { VerdictClass } from '../../model/report.ts';
import {
  BY_DIFFERENCE,
  BY_RATIO,
  decisionAfter,
  type Excess,
  Follower,
  lastFrom,
  type Unit,
} from './follow.ts';
import { worstOf } from './judge.ts';
import { NUMBERS } from './numbers.ts';

/** An excess with its class. */
export interface JudgedExcess extends Excess {
  readonly class: VerdictClass;
  /** Highest level over the best before, on the scale of ratios. */
  readonly size: number;
}

/** How a series is followed: by ratios where all its values are positive. Of a stream: so far. */
function followed(values: Column): Follower {
  const at = readerOf(values);
  let positive = true;
  for (let i = 0; i < values.length && positive; i++) positive = !(at(i) <= 0);
  const follower = new Follower(positive ? BY_RATIO : BY_DIFFERENCE);
  for (let i = 0; i < values.length; i++) follower.step(at(i));
  return follower;
}

/** The class of an excess that is open after n points, or over. */
function classOf(one: Excess, n: number, follower: Follower): VerdictClass {
  const isOpen = one.recovered === null && !one.settled;
  if (isOpen && one.lastFinite < n - 1) return 'non-finite';
  if (one.recovered !== null) return one.lost ? 'full-divergence' : 'micro-divergence';
  const took = n - one.onset;
  const { ratio, share } = follower.heightIn(
    one,
    one.settled ? one.last : follower.levelOf(lastFrom(one, n), n),
  );
  const early = follower.heightIn(one, one.early);
  const isJump = early.ratio - 1 >= 0.5 * (ratio - 1) || early.share >= NUMBERS.lostHalf;
  if (isOpen) {
    if (ratio >= NUMBERS.decade && took >= 3) return 'full-divergence';
    // A slow rise took its time before it was one.
    if (took < decisionAfter(one.onset) / (isJump ? 1 : 3)) return 'inconclusive';
    if (follower.isAll(share, one) || (isJump && ratio >= NUMBERS.lost)) return 'full-divergence';
  }
  return ratio >= NUMBERS.drift || share >= NUMBERS.lostHalf ? 'drift' : 'micro-divergence';
}

/** Levels of a finished series, one for each stretch of so many finite points. */
function levelsOf(values: Column, { to }: Unit, width: number): readonly number[] {
  const at = readerOf(values);
  const levels: number[] = [];
  const block: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const z = to(at(i));
    if (Number.isFinite(z)) block.push(z);
    if (block.length < width) continue;
    levels.push(medianOf(block));
    block.length = 0;
  }
  return levels;
}

/** Times that a level rises by `height` over the lowest since it last did, and comes back by as much. */
function timesRisen(levels: readonly number[], height: number): number {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let times = 0;
  for (const level of levels) {
    if (high > low) {
      high = Math.max(high, level);
      if (high - level <= height) continue;
      times++;
      low = level;
      high = Number.NEGATIVE_INFINITY;
    } else {
      low = Math.min(low, level);
      if (level - low > height) high = level;
    }
  }
  return times;
}

/**
 * What comes again is usual: a rise of a level that this run shows several times, and comes back from each time (daily cycles, warm
 * restarts), is no news. Rises to several times the level are reported however often they come.
 */
function isUsual(one: Excess, levels: readonly number[]): boolean {
  const height = one.highest - one.best;
  return height < Math.log(NUMBERS.usual) && timesRisen(levels, NUMBERS.alike * height) >= NUMBERS.usualTimes;
}

/**
 * Judges one attempt of one series.
 *
 * @param values in the order of their steps, finite or not, of any sign
 * @returns the class of the worst excess, `healthy` without one, and all that count, the open one last
 */
export function judgeLevels(values: Column): {
  readonly class: VerdictClass;
  readonly excesses: readonly JudgedExcess[];
} {
  const follower = followed(values);
  const n = values.length;
  const { unit, open } = follower;
  const levels = new Map<number, readonly number[]>();
  const told = [...follower.excesses, ...(open === null ? [] : [open])].filter((one) => {
    if (!unit.byRatio || one.lastFinite < one.end - 1) return true;
    if (!levels.has(one.width)) levels.set(one.width, levelsOf(values, unit, one.width));
    return !isUsual(one, levels.get(one.width)!);
  });
  const excesses = told.map((one) => ({
    ...one,
    class: classOf(one, n, follower),
    size: Math.exp(one.highest - one.best),
  }));
  return { class: worstOf(excesses)?.class ?? 'healthy', excesses };
}
