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
      if (held === width) {
        const old = placeOf(ring[next]!);
        sorted.copyWithin(old, old + 1, held);
        held--;
      }
      const place = placeOf(value);
      sorted.copyWithin(place + 1, place, held);
      sorted[place] = value;
      held++;
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
  /** Where the best level was. */
  bestAt: number;
  /** @param i position in the series */
  push(value: number, i: number): void;
  /** Forgets the points of its level, and nothing else: what follows an incident is no neighbour of it. */
  restart(): void;
  /** Remembers an excess of an accepted level, for the tail. */
  excess(value: number): void;
  /** The excess that the tail of earlier ones gives once in exp(`NUMBERS.tail`) runs; 0 without one. */
  tail(): number;
  /** Measures the noise where there are enough new levels to; whether it did. */
  measure(): boolean;
  /** Robust scale of second differences of neighbouring levels, as a standard error. */
  near: number;
}

/** Excesses that make the tail of a rung. */
const TOP = 24;

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
  /** The largest excesses, falling, one of each stretch of `width` points; and the largest of the current stretch. */
  const top: number[] = [];
  let stretch = 0;
  let left = width;
  const perBlock = width / stride;
  /** Lowest level since the last swing ended, and the highest since then. */
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let largest = 0;
  /** A swing is a rise that most of is lost again: what goes up and stays does not count. */
  const swing = (level: number): void => {
    if (level < low) low = high = level;
    else if (level > high) high = level;
    else if (high - level > NUMBERS.swingBack * (high - low) && high - low > 2 * own.noise) {
      const size = high - low;
      if (size > largest) {
        own.swing = largest;
        largest = size;
      } else if (size > own.swing) own.swing = size;
      low = high = level;
    }
  };
  const own: Rung = {
    width,
    level: Number.NaN,
    best: Number.POSITIVE_INFINITY,
    noise: Number.POSITIVE_INFINITY,
    blocks: 0,
    swing: 0,
    since: 0,
    near: Number.NaN,
    bestAt: 0,
    push(value, i) {
      median.push(value);
      points++;
      if (points < width) return;
      own.level = median.level;
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
      own.level = Number.NaN;
    },
    excess(value) {
      if (value > stretch) stretch = value;
      left--;
      if (left > 0) return;
      left = width;
      if (stretch > 0 && (top.length < TOP || stretch > top.at(-1)!)) {
        let k = top.length;
        while (k > 0 && top[k - 1]! < stretch) k--;
        top.splice(k, 0, stretch);
        if (top.length > TOP) top.pop();
      }
      stretch = 0;
    },
    tail() {
      const m = Math.min(top.length - 1, Math.floor(Math.sqrt(own.blocks)));
      const { noise } = own;
      if (m < 2 || !Number.isFinite(noise)) return top[0] ?? 0;
      let sum = NUMBERS.tailPrior * NUMBERS.tailSlope;
      const low = NUMBERS.tailFrom * noise;
      for (let k = 0; k < m; k++) sum += Math.log((top[k]! + low) / (top[m]! + low));
      return (top[0]! + low) * Math.exp((NUMBERS.tail * sum) / (m + NUMBERS.tailPrior)) - low;
    },
    measure() {
      if (samples < measured * NUMBERS.anew && samples - measured < NUMBERS.remembered / 4) return false;
      measured = samples;
      own.near = nearNoise(kept, samples, Math.ceil(perBlock));
      return true;
    },
  };
  return own;
}

const scratch = new Float64Array(NUMBERS.remembered);

/**
 * Standard error of a level against the next that does not overlap: the scale of second differences, in which a trend
 * cancels; of their upper and lower fifth the smaller, since noise goes both ways and a curve bends one way. NaN where there are
 * too few.
 *
 * @param kept ring of levels
 * @param samples levels that were ever put there
 */
function nearNoise(kept: Float64Array, samples: number, perBlock: number): number {
  const size = kept.length;
  const held = Math.min(samples, size);
  const oldest = samples - held;
  const at = (i: number): number => kept[(oldest + i) % size]!;
  const count = held - 2 * perBlock;
  if (count < 3) return Number.NaN;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    scratch[i] = at(i) - 2 * at(i + perBlock) + at(i + 2 * perBlock);
    sum += Math.abs(scratch[i]!);
  }
  const fifth = Math.floor(count * FIFTH_OF);
  if (perBlock > 1) {
    const down = -selectNth(scratch, fifth, 0, count);
    const up = selectNth(scratch, count - 1 - fifth, 0, count);
    const bend = Math.max(0, Math.min(up, down)) / (FIFTH * Math.sqrt(6));
    // A step down bends both ways, but does not rise; a steady fall is no noise either.
    const steps = held - perBlock;
    for (let i = 0; i < steps; i++) scratch[i] = at(i + perBlock) - at(i);
    const older = medianInPlace(scratch.slice(0, steps >> 1));
    const newer = medianInPlace(scratch.slice(steps >> 1, steps));
    // One step is in one half.
    const trend = Math.min(0, Math.max(older, newer));
    const rise = selectNth(scratch, steps - 1 - Math.floor(steps * FIFTH_OF), 0, steps);
    return Math.min(bend, Math.max(0, rise - trend) / (FIFTH * Math.SQRT2));
  }
  for (let i = 0; i < count; i++) scratch[i] = Math.abs(scratch[i]!);
  const middle = MAD_TO_SIGMA * medianInPlace(scratch, count);
  // Where more than half are 0 the values are printed with few digits.
  return (middle > 0 ? middle : (MEAN_TO_SIGMA * sum) / count) / Math.sqrt(6);
}
const FIFTH_OF = 1 / 6;
/** Standard deviations above which a fifth of normal numbers lies. */
const FIFTH = 0.8416;
const MEAN_TO_SIGMA = 1.2533;

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
 *
 * @param fastOf variance that noise without memory gives a level
 */
function slowNoise(rungs: readonly Rung[], fastOf: (each: Rung) => number): number {
  let slow = 0;
  let narrower = 0;
  for (const each of rungs) {
    if (each.blocks < NUMBERS.fewBlocks || Number.isNaN(each.near)) continue;
    const fast = fastOf(each);
    const few = 1 / Math.sqrt(each.blocks);
    const isShared = narrower > NUMBERS.sharedNoise * fast;
    const factor = isShared ? 1 + NUMBERS.sharedErrors * few : Math.max(0, 1 - NUMBERS.nearErrors * few);
    const own = (each.near * factor) ** 2 - fast;
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
    const fastOf = ({ width }: Rung): number =>
      rungs[0]!.near * (width === 1 ? 1 : MEDIAN_ERROR / Math.sqrt(width));
    const slow = slowNoise(rungs, (each) => fastOf(each) ** 2);
    for (const each of rungs) {
      const fast = fastOf(each);
      each.noise = Number.isNaN(fast) ? Number.POSITIVE_INFINITY : Math.sqrt(fast ** 2 + slow);
    }
  };
  return {
    rungs,
    push(value, i) {
      for (const each of rungs) each.push(value, i);
      measure();
    },
    restart() {
      for (const each of rungs) each.restart();
    },
  };
}
