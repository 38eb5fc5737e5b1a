/** What the excesses of a finished series amount to. */
import { type Column, readerOf } from '../../model/column.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { VerdictClass } from '../../model/report.ts';
import {
  decisionAfter,
  type Excess,
  type Follower,
  type Height,
  highestBack,
  type Limits,
  lastFrom,
  type Unit,
  unitOf,
} from './follow.ts';
import { followerOf } from './followers.ts';
import { type Spike, worstOf } from './judge.ts';
import { NUMBERS } from './numbers.ts';
import type { VerdictSettings } from './settings.ts';

/** An excess with its class. */
export interface JudgedExcess extends Excess {
  readonly class: VerdictClass;
  /** Worst point over the best level before, or over what was learnt where there are no ratios. */
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
function followed(values: Column, limits: Limits, isWhole: boolean, errors?: number): Follower {
  const at = readerOf(values);
  let first = Number.NaN;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = at(i);
    if (Number.isNaN(first) && Number.isFinite(value)) first = value;
    if (value < least) least = value;
  }
  return followerOf(values, { unit: unitOf(first, least), isWhole, limits, errors });
}

/** What an excess that is open after n points, or over, amounts to. */
function amountOf(
  one: Excess,
  n: number,
  follower: Follower,
): Pick<JudgedExcess, 'class' | 'isJump' | 'share' | 'shareError' | 'levels'> {
  const { unit } = follower;
  const isOpen = one.recovered === null && !one.settled;
  // Of two points of which the first is NaN, only the second is known.
  const isOne = !Number.isFinite(one.peakValue) && n - one.onset < 3 && one.lastFinite === n - 1;
  const last = isOpen ? follower.levelOf(isOne ? n - 1 : lastFrom(one, n), n) : one.last;
  const now = follower.heightIn(one, last);
  const early = follower.heightIn(one, one.early);
  // What was over within its first points rose in them.
  const isShort = one.recovered !== null && one.recovered - one.onset < LEVELS_OF_RISE * one.width;
  const isJump = isShort || early.ratio - 1 >= 0.5 * (now.ratio - 1) || early.share >= NUMBERS.lostHalf;
  const lostAll = isOpen && follower.isAll(now.share, one);
  return {
    class: classOf(one, n, now, isJump, lostAll, follower.limits),
    isJump,
    share: now.share,
    shareError: follower.shareError(one),
    levels: { best: unit.from(one.best + one.gap), edge: unit.from(one.edge), last: unit.from(last) },
  };
}

/** The class of an excess, given how high it is now, how it rose and whether all is lost; `healthy` where there is no incident. */
function classOf(
  one: Excess,
  n: number,
  { ratio, share }: Height,
  isJump: boolean,
  lostAll: boolean,
  limits: Limits,
): VerdictClass {
  const isOpen = one.recovered === null && !one.settled;
  if (isOpen && one.lastFinite < n - 1) return 'non-finite';
  if (one.recovered !== null)
    return one.lost && one.recovered - one.onset > limits.decisionPoints
      ? 'full-divergence'
      : 'micro-divergence';
  const took = n - one.onset;
  if (isOpen) {
    if (ratio >= (took < 3 ? NUMBERS.decades : limits.fullRatioAtEnd)) return 'full-divergence';
    // A slow rise took its time before it was one.
    if (took < decisionAfter(one.onset, limits) / (isJump ? 1 : 3)) return 'inconclusive';
    if (lostAll || (isJump && (one.lost || ratio >= limits.fullRatio))) return 'full-divergence';
  }
  if (ratio >= limits.driftRatio || share >= NUMBERS.lostHalf) return 'drift';
  // A little more than its best is how losses move.
  return isJump || !Number.isFinite(one.peakValue) ? 'micro-divergence' : 'healthy';
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
function isUsual(one: Excess, values: Column, { unit }: Follower): boolean {
  if (!unit.byRatio || !Number.isFinite(one.peakValue)) return false;
  const { onset, width, highest, best, recovered, settled } = one;
  const isOpen = recovered === null && !settled;
  const duration = (isOpen ? values.length : one.end) - onset;
  // A spike is reported however often it comes.
  if (duration < LEVELS_OF_RISE) return false;
  const height = (duration < LEVELS_OF_RISE * width ? one.peakValue : highest) - best;
  const finest = NUMBERS.widths.findLast((one) => one <= width && LEVELS_OF_RISE * one <= duration) ?? 1;
  const rises = risesOf(levelsOf(values, unit, finest), NUMBERS.alike * height);
  const longest = Math.max(0, ...rises.map(({ from, to }) => (to - from) * finest));
  return (
    height < Math.log(NUMBERS.usual) &&
    rises.length >= NUMBERS.usualTimes &&
    !(isOpen && duration > NUMBERS.usualLength * longest)
  );
}
/** Levels that a rise has to have, so that its height is no point's. */
const LEVELS_OF_RISE = 3;

/** A rise that is over within one level is one of its points: what their own tail gives is usual. */
const isOfPoints = (one: Excess): boolean =>
  one.recovered !== null &&
  !one.lost &&
  Number.isFinite(one.peakValue) &&
  one.recovered - one.onset <= one.width &&
  one.mostOfFew - one.best <= one.tailOfFew;

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
  if (first < 0 || first === all.length - 1) return all;
  const [one, ...later] = all.slice(first) as [Excess, ...Excess[]];
  const worst = [one, ...later].reduce((a, b) =>
    b.peakValue > a.peakValue || Number.isNaN(b.peakValue) ? b : a,
  );
  const joined: Excess = {
    ...one,
    peak: worst.peak,
    peakValue: worst.peakValue,
    highest: Math.max(...[one, ...later].map(({ highest }) => highest)),
    lastFinite: later.at(-1)!.settled ? n - 1 : later.at(-1)!.lastFinite,
    lost: later.some(({ lost }) => lost),
    settled: false,
    end: n,
  };
  return [...all.slice(0, first), joined];
}

/** A level that settled, and came back to the best one after that. */
function comeBack(one: Excess, values: Column, unit: Unit): Excess {
  if (!one.settled) return one;
  const width = Math.max(one.width, LEVELS_OF_RISE);
  const highest = highestBack(one);
  const back = levelsOf(values.subarray(one.end), unit, width).findIndex((level) => level <= highest);
  if (back < 0) return one;
  const recovered = one.end + back * width;
  return { ...one, recovered, settled: false, end: recovered };
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
export function judgeLevels(
  values: Column,
  settings: VerdictSettings,
  isWhole: boolean,
  errors?: number,
): {
  readonly class: VerdictClass;
  readonly excesses: readonly JudgedExcess[];
  readonly usual: number;
  readonly spikes: readonly Spike[];
  readonly band: { readonly median: number; readonly high: number };
} {
  const follower = followed(values, settings, isWhole, errors);
  const n = values.length;
  const { unit, open } = follower;
  const all = [...follower.excesses, ...(open === null ? [] : [open])];
  const news = chained(all, values, follower).filter((one) => !isStart(one, unit));
  const told = news
    .map((one) => comeBack(one, values, unit))
    .filter((one) => !isUsual(one, values, follower) && !isOfPoints(one));
  const few = countOf(values, Number.isFinite) < settings.minimumPoints;
  const excesses = told
    .filter((one) => !few || isPlain(one, n))
    .map((one) => ({
      ...one,
      ...amountOf(one, n, follower),
      size: follower.heightIn(one, one.peakValue).ratio,
      byRatio: unit.byRatio && unit.shift === 0,
    }))
    .filter((one) => one.class !== 'healthy');
  const { level, edge } = follower.usual();
  return {
    class: worstOf(excesses)?.class ?? 'healthy',
    excesses,
    usual: news.length - told.length,
    spikes: follower.spikes.map(({ index, errors, best }) => ({
      index,
      scales: errors,
      before: unit.from(best),
    })),
    band: { median: unit.from(level), high: unit.from(edge) },
  };
}

const countOf = (values: Column, is: (value: number) => boolean): number => {
  let count = 0;
  for (const value of values) if (is(value)) count++;
  return count;
};

/** Whether few points are enough: one is not a number, or the last of three and more is higher by decades. */
const isPlain = (one: Excess, n: number): boolean =>
  !Number.isFinite(one.peakValue) ||
  (one.recovered === null &&
    n - one.onset >= 3 &&
    one.peak === n - 1 &&
    one.peakValue - one.best >= Math.log(NUMBERS.decades));

/** What rises as training starts, and comes back, is how trainings start. */
const isStart = (one: Excess, { byRatio }: Unit): boolean =>
  byRatio &&
  one.recovered !== null &&
  one.onset < NUMBERS.startPoints &&
  one.peakValue - one.best < Math.log(NUMBERS.worthAtStart);
