/** Levels: medians of the last points, at several widths at once, with their noise and the best of each. */
import { MAD_TO_SIGMA, medianInPlace, selectNth } from '../../model/order-statistics.ts';
import { NUMBERS } from './numbers.ts';

/** Median of the last points of a series. */
export interface RunningMedian {
  push(value: number): void;
  /** Forgets all points. */
  clear(): void;
  /** NaN before the window is full. */
  readonly level: number;
}

/** @param width points in the window */
export function runningMedian(width: number): RunningMedian {
  const ring = new Float64Array(width);
  const sorted = new Float64Array(width);
  let held = 0;
  let next = 0;
  /** First position whose value is not below. */
  const placeOf = (value: number): number => {
    let low = 0;
    let high = held;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return {
    push(value) {
      // The new point takes the place of the oldest, and those between the two move by one.
      let place = held;
      if (held === width) place = placeOf(ring[next]!);
      else held++;
      while (place > 0 && sorted[place - 1]! >= value) {
        sorted[place] = sorted[place - 1]!;
        place--;
      }
      while (place + 1 < held && sorted[place + 1]! < value) {
        sorted[place] = sorted[place + 1]!;
        place++;
      }
      sorted[place] = value;
      ring[next] = value;
      next = next + 1 === width ? 0 : next + 1;
    },
    clear() {
      held = 0;
      next = 0;
    },
    get level() {
      if (held < width) return Number.NaN;
      const k = width >> 1;
      return width % 2 === 1 ? sorted[k]! : (sorted[k - 1]! + sorted[k]!) / 2;
    },
  };
}

/** Levels of one width along a series. */
export interface Rung {
  readonly width: number;
  /** Median of the last `width` points; NaN before. */
  level: number;
  /** The lowest level so far; Infinity before the first. */
  best: number;
  /** Standard error of a level, slow noise included; Infinity while unknown. */
  noise: number;
  /** Levels that do not overlap, so far. */
  blocks: number;
  /** The same since one was clearly better: of so many the best is low by chance. */
  since: number;
  /** Second largest swing so far: a rise that came back. What was seen twice is usual. */
  swing: number;
  /** Swings so far. */
  swings: number;
  /** What noise of neighbouring points gives a level. */
  fast: number;
  /** Where the best level was. */
  bestAt: number;
  /** @param i position in the series */
  push(value: number, i: number): void;
  /** Forgets the points of its level, and nothing else: what follows an incident is no neighbour of it. */
  restart(): void;
  /** Remembers an excess of an accepted level, for the tail, once it came back to half of it. */
  excess(value: number): void;
  /** The excess that the tail of earlier ones gives once in exp(`NUMBERS.tail`) runs; 0 without one. */
  tail(): number;
  /** Measures the noise where there are enough new levels to; whether it did. */
  measure(): boolean;
  /** Robust scale of second differences of neighbouring levels, as a standard error. */
  near: number;
  /** The same of half of them alone, of points. */
  calm: number;
  /** Share of a point that the next one keeps, at most. */
  memory: number;
  /** Standard deviation of the difference of two levels that follow one another; Infinity while unknown. */
  apart: number;
  /** How far the level is above the one before it that does not overlap; NaN before there are two. */
  readonly jump: number;
}

/** Excesses that make the tail of a rung. */
const TOP = 24;

/**
 * The tail of the excesses of accepted levels, each counted once it came back to half of it.
 *
 * @param width points of a level, of which one excess is taken
 */
function tailOf(width: number) {
  /** The largest ones, falling; those that have not come back; the largest of the current stretch. */
  const top: number[] = [];
  const pending: number[] = [];
  let stretch = 0;
  let left = width;
  const remember = (excess: number): void => {
    if (top.length === TOP && !(excess > top.at(-1)!)) return;
    let k = top.length;
    while (k > 0 && top[k - 1]! < excess) k--;
    top.splice(k, 0, excess);
    if (top.length > TOP) top.pop();
  };
  return {
    restart() {
      pending.length = 0;
      stretch = 0;
      left = width;
    },
    add(value: number) {
      let highest = stretch;
      for (const one of pending) if (one > highest) highest = one;
      if (value <= highest / 2) {
        if (stretch > 0) pending.push(stretch);
        for (const one of pending) remember(one);
        pending.length = 0;
        stretch = 0;
        left = width;
      }
      if (value > stretch) stretch = value;
      left--;
      if (left > 0) return;
      left = width;
      if (stretch > 0 && pending.length < TOP) pending.push(stretch);
      stretch = 0;
    },
    /** @param noise of a level, and how many of them do not overlap */
    record(noise: number, blocks: number): number {
      const m = Math.min(top.length - 1, Math.floor(Math.sqrt(blocks)));
      if (m < 2 || !Number.isFinite(noise)) return top[0] ?? 0;
      const low = NUMBERS.tailFrom * noise;
      const beyond = (first: number): number => {
        let sum = NUMBERS.tailPrior * NUMBERS.tailSlope;
        for (let k = first; k < m; k++) sum += Math.log((top[k]! + low) / (top[m]! + low));
        return (top[first]! + low) * Math.exp((NUMBERS.tail * sum) / (m - first + NUMBERS.tailPrior)) - low;
      };
      // One that enough others do not explain is no measure of what is usual.
      const ofOthers = m < NUMBERS.tailOthers ? Number.POSITIVE_INFINITY : beyond(1);
      return top[0]! > ofOthers ? ofOthers : beyond(0);
    },
  };
}

/** @param width points of a level */
export function rung(width: number): Rung {
  const median = runningMedian(width);
  const stride = Math.max(1, width >> 1);
  const kept = new Float64Array(NUMBERS.remembered);
  /** Points since the window was last empty. */
  let points = 0;
  let samples = 0;
  let measured = 0;
  let sinceSample = 0;
  const usual = tailOf(width);
  const perBlock = width / stride;
  /** Lowest level since the last swing ended, and the highest since then. */
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let largest = 0;
  let jump = Number.NaN;
  /** A swing is a rise that most of is lost again: what goes up and stays does not count. */
  const swing = (level: number): void => {
    if (level < low) low = high = level;
    else if (level > high) high = level;
    else if (high - level > NUMBERS.swingBack * (high - low) && high - low > 2 * own.noise) {
      const size = high - low;
      own.swings++;
      if (size > largest) {
        own.swing = largest;
        largest = size;
      } else if (size > own.swing) own.swing = size;
      low = high = level;
    }
  };
  /** The last levels, so that the one before is known. */
  const levels = new Float64Array(width);
  const own: Rung = {
    width,
    apart: Number.POSITIVE_INFINITY,
    get jump() {
      return jump;
    },
    level: Number.NaN,
    best: Number.POSITIVE_INFINITY,
    noise: Number.POSITIVE_INFINITY,
    blocks: 0,
    swing: 0,
    swings: 0,
    fast: Number.NaN,
    since: 0,
    near: Number.NaN,
    calm: Number.NaN,
    memory: 0,
    bestAt: 0,
    push(value, i) {
      median.push(value);
      points++;
      if (points < width) return;
      own.level = median.level;
      jump = points < 2 * width ? Number.NaN : own.level - levels[points % width]!;
      levels[points % width] = own.level;
      if ((points - width) % stride === 0) {
        kept[samples % NUMBERS.remembered] = own.level;
        samples++;
        sinceSample++;
        own.blocks = samples / perBlock;
      }
      if (own.level < own.best) {
        if (!(own.level >= own.best - 2 * own.noise)) sinceSample = 0;
        own.best = own.level;
        own.bestAt = i;
      }
      own.since = sinceSample / perBlock;
      swing(own.level);
    },
    restart() {
      median.clear();
      points = 0;
      // A rise that is reported is no swing, so that the next like it is reported, too.
      low = Number.POSITIVE_INFINITY;
      high = Number.NEGATIVE_INFINITY;
      usual.restart();
      own.level = jump = Number.NaN;
    },
    excess: usual.add,
    tail: () => usual.record(own.noise, own.blocks),
    measure() {
      if (samples < measured * NUMBERS.anew && samples - measured < NUMBERS.remembered / 4) return false;
      measured = samples;
      ({ near: own.near, calm: own.calm } = nearNoise(kept, samples, Math.ceil(perBlock)));
      if (width === 1)
        own.memory = Math.min(...[0, NUMBERS.trendApart].map((apart) => memoryOf(kept, samples, apart)));
      return true;
    },
  };
  return own;
}

const scratch = new Float64Array(NUMBERS.remembered);
const steps = new Float64Array(NUMBERS.remembered);
/** What a ring holds, the oldest first. */
const ordered = new Float64Array(NUMBERS.remembered);

/** Puts into `ordered` what a ring holds of so many samples; how many those are. */
function inOrder(ring: Float64Array, samples: number): number {
  const size = ring.length;
  if (samples <= size) {
    ordered.set(ring.subarray(0, samples));
    return samples;
  }
  const oldest = samples % size;
  ordered.set(ring.subarray(oldest));
  ordered.set(ring.subarray(0, oldest), size - oldest);
  return size;
}

/**
 * How much of a point the next one keeps, at most, by the correlation of neighbouring steps: −1/2 in noise without memory, 0 in a random
 * walk, and more along a smooth curve, which is no noise. Of few points it is known badly, and memory is assumed until they deny it
 * (Bartlett's error of a correlation). Large steps are left out: a jump and a steep fall are no noise.
 *
 * @param kept ring of points
 * @param samples points that were ever put there
 * @param apart each is taken above the mean of those so far before and after it, in which a trend cancels; 0: as it is
 * @returns correlation of neighbours, 0 to `NUMBERS.mostMemory`
 */
function memoryOf(kept: Float64Array, samples: number, apart: number): number {
  const held = inOrder(kept, samples);
  const count = Math.max(0, held - 2 * apart - 1);
  const own = (i: number): number =>
    ordered[i]! - (apart === 0 ? 0 : (ordered[i - apart]! + ordered[i + apart]!) / 2);
  for (let k = 0; k < count; k++) {
    steps[k] = own(apart + k + 1) - own(apart + k);
    scratch[k] = Math.abs(steps[k]!);
  }
  const most = NUMBERS.usualSteps * MAD_TO_SIGMA * medianInPlace(scratch, count);
  let [both, one, pairs] = [0, 0, 0];
  for (let k = 1; k < count; k++) {
    const [before, step] = [steps[k - 1]!, steps[k]!];
    if (Math.abs(before) > most || Math.abs(step) > most) continue;
    one += (before * before + step * step) / 2;
    both += before * step;
    pairs++;
  }
  const all = pairs + NUMBERS.memoryPrior;
  const found = ((one > 0 ? both / one : -1 / 2) * pairs - NUMBERS.memoryPrior / 2) / all;
  const error = NUMBERS.memoryErrors * Math.sqrt((1 - 3 * found ** 2 + 4 * found ** 4) / all);
  return Math.max(0, Math.min(NUMBERS.mostMemory, 1 - 2 * Math.max(0, Math.abs(found) - error)));
}

/**
 * Variance of a median of so many points over that which second differences of neighbours show, where each point keeps a share of the
 * one before (first-order autoregression).
 */
function inflation(width: number, memory: number): number {
  const point = 3 / ((1 - memory) * (3 - memory));
  if (width === 1) return point;
  return ((point * ofMean(width, memory)) / width) * MEDIAN_ERROR * MEDIAN_ERROR;
}

/** Variance of a mean of so many points, times their number, over that of a point. */
function ofMean(width: number, memory: number): number {
  const left = 1 - memory;
  return (1 + memory) / left - (2 * memory * (1 - memory ** width)) / (width * left * left);
}

/** Share of the variance of a level that the next one does not have. */
function unshared(width: number, memory: number): number {
  const shared = (memory * ((1 - memory ** width) / (1 - memory)) ** 2) / width;
  return 1 - shared / ofMean(width, memory);
}

/**
 * Standard error of a level against the next that does not overlap: the scale of second differences, in which a trend
 * cancels; of their upper and lower fifth the smaller, since noise goes both ways and a curve bends one way. NaN where there are
 * too few.
 *
 * @param kept ring of levels
 * @param samples levels that were ever put there
 */
function nearNoise(
  kept: Float64Array,
  samples: number,
  perBlock: number,
): { readonly near: number; readonly calm: number } {
  const held = inOrder(kept, samples);
  const count = held - 2 * perBlock;
  if (count < 3) return { near: Number.NaN, calm: Number.NaN };
  let sum = 0;
  for (let i = 0; i < count; i++) {
    scratch[i] = ordered[i]! - 2 * ordered[i + perBlock]! + ordered[i + 2 * perBlock]!;
    sum += Math.abs(scratch[i]!);
  }
  const fifth = Math.floor(count * FIFTH_OF);
  if (perBlock > 1) {
    const down = -selectNth(scratch, fifth, 0, count);
    const up = selectNth(scratch, count - 1 - fifth, 0, count);
    const bend = Math.max(0, Math.min(up, down)) / (FIFTH * Math.sqrt(6));
    // Few steps, or a climb at the end, are not in half of the differences.
    for (let i = 0; i < count; i++) scratch[i] = Math.abs(scratch[i]!);
    const usual = (MAD_TO_SIGMA * medianInPlace(scratch, count)) / Math.sqrt(6);
    // A step down bends both ways, but does not rise; a steady fall is no noise either.
    const pairs = held - perBlock;
    for (let i = 0; i < pairs; i++) scratch[i] = ordered[i + perBlock]! - ordered[i]!;
    const older = medianInPlace(scratch.slice(0, pairs >> 1));
    const newer = medianInPlace(scratch.slice(pairs >> 1, pairs));
    // One step is in one half.
    const trend = Math.min(0, Math.max(older, newer));
    const rank = Math.floor(pairs * FIFTH_OF);
    const rise = selectNth(scratch, pairs - 1 - rank, 0, pairs);
    // A climb does not fall.
    const fall = -selectNth(scratch, rank, 0, pairs);
    const near = Math.min(usual, bend, Math.max(0, Math.min(fall, rise - trend)) / (FIFTH * Math.SQRT2));
    return { near, calm: near };
  }
  for (let i = 0; i < count; i++) scratch[i] = Math.abs(scratch[i]!);
  // What is high again and again shows in the highest twentieth alone.
  const rank = count - 1 - Math.floor(count * NUMBERS.highestShare);
  const high = count < NUMBERS.highestFrom ? 0 : selectNth(scratch, rank, 0, count) / HIGHEST;
  const middle = MAD_TO_SIGMA * medianInPlace(scratch, count);
  // Where more than half are 0 the values are printed with few digits.
  const near = Math.max(high, middle) || (MEAN_TO_SIGMA * sum) / count;
  return { near: near / Math.sqrt(6), calm: (middle || near) / Math.sqrt(6) };
}
const FIFTH_OF = 1 / 6;
/** Standard deviations above which a fifth of normal numbers lies. */
const FIFTH = 0.8416;
const MEAN_TO_SIGMA = 1.2533;
/** The same of both signs for a twentieth. */
const HIGHEST = 1.96;

/** A median of so many points has a larger error than their mean. */
const MEDIAN_ERROR = 1.2533;
/** Ladder of levels from single points to wide ones, whose noise is measured together. */
export interface Ladder {
  readonly rungs: readonly Rung[];
  /** @param i position in the series */
  push(value: number, i: number): void;
  /** Forgets the points of the levels, and nothing else. */
  restart(): void;
}

/**
 * Variance of the noise that is slower than one level; it is in all of them, since an excess lies long after the best.
 *
 * One wide level that differs may do so by chance, so its error counts against it. Where narrower levels share the noise, it is
 * no chance: the error counts in its favour, and noise that still grows from width to width is taken to grow once more.
 */
function slowNoise(rungs: readonly Rung[], aloneOf: (each: Rung) => number): number {
  let slow = 0;
  let narrower = 0;
  for (const each of rungs) {
    const { blocks, near } = each;
    if (blocks < NUMBERS.fewBlocks || Number.isNaN(near)) continue;
    const alone = aloneOf(each);
    const few = 1 / Math.sqrt(blocks);
    const isShared = narrower > NUMBERS.sharedNoise * alone;
    const factor = isShared ? 1 + NUMBERS.sharedErrors * few : Math.max(0, 1 - NUMBERS.nearErrors * few);
    const own = (near * factor) ** 2 - alone;
    const growth = isShared ? Math.max(1, Math.min(NUMBERS.mostGrowth, own / narrower)) : 1;
    slow = Math.max(slow, own * growth * growth);
    narrower = own;
  }
  return slow;
}

export function ladderOf(): Ladder {
  const rungs = NUMBERS.widths.map(rung);
  const measure = (): void => {
    let anew = false;
    for (const each of rungs) if (each.measure()) anew = true;
    if (!anew) return;
    const [{ near, calm, memory }] = rungs as [Rung];
    for (const each of rungs)
      each.fast = Math.max(
        near * Math.sqrt(inflation(each.width, 0)),
        calm * Math.sqrt(inflation(each.width, memory)),
      );
    const slow = slowNoise(rungs, ({ width }) => near ** 2 * inflation(width, 0));
    for (const each of rungs) {
      const { width, fast } = each;
      each.noise = Number.isNaN(fast)
        ? Number.POSITIVE_INFINITY
        : Math.max(fast, Math.sqrt(near ** 2 * inflation(width, 0) + slow));
      const own = Number.isNaN(each.near) ? 0 : each.near;
      each.apart =
        Math.SQRT2 * Math.max(own, near * Math.sqrt(inflation(width, memory) * unshared(width, memory)));
      if (Number.isNaN(each.apart)) each.apart = Number.POSITIVE_INFINITY;
    }
  };
  return {
    rungs,
    push(value, i) {
      // The newest point may be the excess, which is no noise.
      measure();
      for (const each of rungs) each.push(value, i);
    },
    restart() {
      for (const each of rungs) each.restart();
    },
  };
}
