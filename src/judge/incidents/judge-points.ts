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
  type Height,
  lastFrom,
  type Unit,
} from './follow.ts';
import { worstOf } from './judge.ts';
import { NUMBERS } from './numbers.ts';
import { levelBetween } from './stretch.ts';

/** An excess with its class. */
export interface JudgedExcess extends Excess {
  readonly class: VerdictClass;
  /** Highest level over the best before, on the scale of ratios. */
  readonly size: number;
  /** Whether `size` is a ratio of two values of the series. */
  readonly byRatio: boolean;
  /** Whether it rose at once, and not little by little. */
  readonly isJump: boolean;
  /** Share of what was learnt that is lost where it ends; 0 where too little was learnt to say. */
  readonly share: number;
  /** What the share may be too small by, for the untrained level is of few points. */
  readonly shareError: number;
  /** In units of the series: the best level before, the highest that is back, and the last of the excess. */
  readonly levels: { readonly best: number; readonly edge: number; readonly last: number };
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

/** What an excess that is open after n points, or over, amounts to. */
function amountOf(
  one: Excess,
  n: number,
  follower: Follower,
): Pick<JudgedExcess, 'class' | 'isJump' | 'share' | 'shareError' | 'levels'> {
  const { unit } = follower;
  const last = one.recovered !== null || one.settled ? one.last : follower.levelOf(lastFrom(one, n), n);
  const isOpen = one.recovered === null && !one.settled;
  const now = follower.heightIn(one, last);
  const early = follower.heightIn(one, one.early);
  const isJump = early.ratio - 1 >= 0.5 * (now.ratio - 1) || early.share >= NUMBERS.lostHalf;
  const lostAll = isOpen && follower.isAll(now.share, one);
  return {
    class: classOf(one, n, now, isJump, lostAll),
    isJump,
    share: now.share,
    shareError: follower.shareError(one),
    levels: { best: unit.from(one.best + one.gap), edge: unit.from(one.edge), last: unit.from(last) },
  };
}

/** The class of an excess, given how high it is now, how it rose and whether all is lost. */
function classOf(
  one: Excess,
  n: number,
  { ratio, share }: Height,
  isJump: boolean,
  lostAll: boolean,
): VerdictClass {
  const isOpen = one.recovered === null && !one.settled;
  if (isOpen && one.lastFinite < n - 1) return 'non-finite';
  if (one.recovered !== null) return one.lost ? 'full-divergence' : 'micro-divergence';
  const took = n - one.onset;
  if (isOpen) {
    if (ratio >= NUMBERS.decade && took >= 3) return 'full-divergence';
    // A slow rise took its time before it was one.
    if (took < decisionAfter(one.onset) / (isJump ? 1 : 3)) return 'inconclusive';
    if (lostAll || (isJump && ratio >= NUMBERS.lost)) return 'full-divergence';
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

/** A rise of levels that came back: positions among the levels, of the first that is high and the first that is low again. */
interface Rise {
  readonly from: number;
  readonly to: number;
}

/** Where a level rises by `height` over the lowest since it last did, and comes back by as much. */
function risesOf(levels: readonly number[], height: number): readonly Rise[] {
  const rises: Rise[] = [];
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let from = 0;
  for (const [k, level] of levels.entries()) {
    if (high > low) {
      high = Math.max(high, level);
      if (high - level <= height) continue;
      rises.push({ from, to: k });
      low = level;
      high = Number.NEGATIVE_INFINITY;
    } else {
      low = Math.min(low, level);
      if (level - low <= height) continue;
      high = level;
      from = k;
    }
  }
  return rises;
}

/**
 * What comes again is usual: a rise of a level that this run shows several times, and comes back from each time (daily cycles, warm
 * restarts), is no news. Rises to several times the level are reported however often they come.
 */
function isUsual(one: Excess, levels: readonly number[]): boolean {
  const height = one.highest - one.best;
  return (
    height < Math.log(NUMBERS.usual) && risesOf(levels, NUMBERS.alike * height).length >= NUMBERS.usualTimes
  );
}

/**
 * Whether a stretch of a series is a rise like others of it, which came back: about as high, and as long. Few points that came
 * back themselves are spikes and no such rise.
 *
 * @param values positive, or not finite
 * @param before level that the stretch rises from, in units of the series
 * @param isOpen whether the stretch goes on where the series ends
 */
export function comesAgain(
  values: Column,
  { onset, end, before }: { readonly onset: number; readonly end: number; readonly before: number },
  isOpen: boolean,
): boolean {
  const duration = end - onset;
  const fitting = NUMBERS.widths.findLast((one) => one > 1 && LEVELS_OF_RISE * one <= duration);
  if (fitting === undefined && !isOpen) return false;
  const width = fitting ?? LEVELS_OF_RISE;
  const levels = levelsOf(values, BY_RATIO, width);
  const inside = levels.slice(Math.floor(onset / width), Math.ceil(end / width));
  const highest = fitting === undefined ? Math.log(levelBetween(values, onset, end)) : Math.max(...inside);
  const height = highest - Math.log(before);
  if (!(height > Math.log(NUMBERS.worth) && height < Math.log(NUMBERS.usual))) return false;
  const others = risesOf(levels, NUMBERS.alike * height).filter(
    ({ from, to }) => to * width <= onset || from * width >= end,
  );
  const longest = Math.max(0, ...others.map(({ from, to }) => (to - from) * width));
  return others.length + 1 >= NUMBERS.usualTimes && duration <= NUMBERS.usualLength * longest;
}
/** Levels that a rise has to have, so that its height is no point's. */
const LEVELS_OF_RISE = 3;

/**
 * A level that settled high and never came back is one excess with those that follow: the loss is compared with its best level,
 * not with the level that it settled at.
 */
function chained(all: readonly Excess[], values: Column, follower: Follower): readonly Excess[] {
  const n = values.length;
  const first = all.findIndex(
    (one, k) =>
      one.settled &&
      all.slice(k + 1).every(({ best, recovered }) => recovered === null && best > one.edge) &&
      staysAbove(values.subarray(one.end), one, follower.unit),
  );
  if (first < 0) return all;
  const [one, ...later] = all.slice(first) as [Excess, ...Excess[]];
  const worst = [one, ...later].reduce((a, b) =>
    b.peakValue > a.peakValue || Number.isNaN(b.peakValue) ? b : a,
  );
  const joined: Excess = {
    ...one,
    peak: worst.peak,
    peakValue: worst.peakValue,
    highest: Math.max(...[one, ...later].map(({ highest }) => highest)),
    lastFinite: Math.max(one.lastFinite, later.at(-1)?.lastFinite ?? n - 1),
    lost: later.some(({ lost }) => lost),
    settled: false,
    end: n,
  };
  return [...all.slice(0, first), joined];
}

/** Whether no level of a stretch is back at the one before an excess. */
const staysAbove = (rest: Column, { width, edge }: Excess, unit: Unit): boolean =>
  levelsOf(rest, unit, Math.max(width, LEVELS_OF_RISE)).every((level) => level > edge);

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
  const all = [...follower.excesses, ...(open === null ? [] : [open])];
  const told = chained(all, values, follower).filter((one) => {
    if (!unit.byRatio || one.lastFinite < one.end - 1) return true;
    if (!levels.has(one.width)) levels.set(one.width, levelsOf(values, unit, one.width));
    return !isUsual(one, levels.get(one.width)!);
  });
  const excesses = told.map((one) => ({
    ...one,
    ...amountOf(one, n, follower),
    size: Math.exp(one.highest - one.best),
    byRatio: unit.byRatio,
  }));
  return { class: worstOf(excesses)?.class ?? 'healthy', excesses };
}
