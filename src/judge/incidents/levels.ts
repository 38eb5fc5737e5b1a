/** Levels: medians of the last points, at several widths at once, with their noise and the best of each. */
import { MAD_TO_SIGMA, medianInPlace, selectNth } from '../../model/order-statistics.ts';
import { MEDIAN_ERROR } from './level-error.ts';
import { NUMBERS } from './numbers.ts';

/** Windows of more values keep so many on either side of their median in order, and count the others. */
const ORDERED = 16;
/** Windows of at most so many values are in order as a whole. */
const WHOLE = 4 * ORDERED;

/** Median of the last points of a series. */
export class RunningMedian {
  private readonly ring: Float64Array;
  /** The values of the window that lie from `low` to `high`, in order. */
  private readonly core: Float64Array;
  private size = 0;
  private low = Number.NEGATIVE_INFINITY;
  private high = Number.POSITIVE_INFINITY;
  /** Values of the window that are below them. */
  private below = 0;
  private held = 0;
  private next = 0;

  /** @param width points in the window */
  constructor(readonly width: number) {
    this.ring = new Float64Array(width);
    this.core = new Float64Array(width);
  }

  /** @param value finite */
  push(value: number): void {
    const { ring, core, width, low, high } = this;
    if (width === 1) {
      core[0] = value;
      this.held = 1;
      return;
    }
    const isFull = this.held === width;
    const old = isFull ? ring[this.next]! : Number.NaN;
    ring[this.next] = value;
    this.next = this.next + 1 === width ? 0 : this.next + 1;
    if (!isFull) this.held++;
    if (width <= WHOLE) {
      this.putInto(isFull ? this.placeOf(old) : this.size++, value);
      return;
    }
    if (old < low) this.below--;
    if (value < low) this.below++;
    // The new point takes the place of the oldest, and those between the two move by one.
    const place = old >= low && old <= high ? this.placeOf(old) : this.size++;
    if (value >= low && value <= high) this.putInto(place, value);
    else {
      const last = --this.size;
      for (let k = place; k < last; k++) core[k] = core[k + 1]!;
    }
    if (this.held < width) return;
    const rank = (width - 1) >> 1;
    if (!isFull || rank < this.below || width >> 1 >= this.below + this.size) this.order();
  }

  /** Puts a value into the core in the place of another. */
  private putInto(from: number, value: number): void {
    const { core } = this;
    const last = this.size - 1;
    let place = from;
    while (place > 0 && core[place - 1]! >= value) {
      core[place] = core[place - 1]!;
      place--;
    }
    while (place < last && core[place + 1]! < value) {
      core[place] = core[place + 1]!;
      place++;
    }
    core[place] = value;
  }

  /** One that goes on from here by itself. */
  copy(): RunningMedian {
    const { ring, core } = this;
    return Object.assign(new RunningMedian(this.width), this, { ring: ring.slice(), core: core.slice() });
  }

  /** Forgets all points. */
  clear(): void {
    this.held = this.next = this.size = this.below = 0;
    this.low = Number.NEGATIVE_INFINITY;
    this.high = Number.POSITIVE_INFINITY;
  }

  /** NaN before the window is full. */
  get level(): number {
    const { core, width, below } = this;
    if (this.held < width) return Number.NaN;
    const k = (width >> 1) - below;
    return width % 2 === 1 ? core[k]! : (core[k - 1]! + core[k]!) / 2;
  }

  /** First position in the core whose value is not below. */
  private placeOf(value: number): number {
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.core[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Makes a core about the median of a full window. */
  private order(): void {
    const { ring, core, width } = this;
    core.set(ring);
    core.sort();
    let from = (width >> 1) - ORDERED;
    let to = (width >> 1) + ORDERED;
    [this.low, this.high] = [core[from]!, core[to]!];
    while (from > 0 && core[from - 1] === this.low) from--;
    while (to < width && core[to] === this.high) to++;
    this.below = from;
    this.size = to - from;
    core.copyWithin(0, from, to);
  }
}

/** Excesses that make the tail of a rung. */
const TOP = 24;

/** The tail of the excesses of accepted levels of a width, each counted once it came back to half of it. */
class Tail {
  /** The largest ones, falling; those that have not come back; the largest of the current stretch. */
  private readonly top: number[] = [];
  private readonly pending: number[] = [];
  private highestPending = 0;
  private stretch = 0;
  private left: number;

  /** @param width points of a level, of which one excess is taken */
  constructor(private readonly width: number) {
    this.left = width;
  }

  copy(): Tail {
    const { top, pending } = this;
    return Object.assign(new Tail(this.width), this, { top: [...top], pending: [...pending] });
  }

  restart(): void {
    // Shortening an array calls the runtime, even an empty one.
    if (this.pending.length > 0) this.pending.length = 0;
    this.highestPending = this.stretch = 0;
    this.left = this.width;
  }

  add(value: number): void {
    const { stretch, highestPending } = this;
    if (value <= (stretch > highestPending ? stretch : highestPending) / 2) {
      for (const one of this.pending) this.remember(one);
      if (stretch > 0) this.remember(stretch);
      this.restart();
    }
    if (value > this.stretch) this.stretch = value;
    this.left--;
    if (this.left > 0) return;
    this.left = this.width;
    if (this.stretch > 0 && this.pending.length < TOP) {
      this.pending.push(this.stretch);
      if (this.stretch > this.highestPending) this.highestPending = this.stretch;
    }
    this.stretch = 0;
  }

  private remember(excess: number): void {
    const { top } = this;
    if (top.length === TOP && !(excess > top.at(-1)!)) return;
    let k = top.length;
    while (k > 0 && top[k - 1]! < excess) k--;
    top.splice(k, 0, excess);
    if (top.length > TOP) top.pop();
  }

  /** @param noise of a level, and how many of them do not overlap */
  record(noise: number, blocks: number): number {
    const { top } = this;
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
  }
}

/** Levels of one width along a series. Numbers that change are fields: in a closure each change of one would be a new object. */
export class Rung {
  /** Median of the last `width` points; NaN before. */
  level = Number.NaN;
  /** The lowest level so far; Infinity before the first. */
  best = Number.POSITIVE_INFINITY;
  /** Where it was. */
  bestAt = 0;
  /** Standard error of a level, slow noise included; Infinity while unknown. */
  noise = Number.POSITIVE_INFINITY;
  /** Robust scale of second differences of neighbouring levels, as a standard error. */
  near = Number.NaN;
  /** The same of half of them alone, of points. */
  calm = Number.NaN;
  /** Share of a point that the next one keeps, at most. */
  memory = 0;
  /** Standard deviation of the difference of two levels that follow one another; Infinity while unknown. */
  apart = Number.POSITIVE_INFINITY;
  /** How far the level is above the one before it that does not overlap; NaN before there are two. */
  jump = Number.NaN;
  private readonly median: RunningMedian;
  private readonly usual: Tail;
  private readonly stride: number;
  /** Samples of one level. */
  private readonly perBlock: number;
  private readonly kept = new Float64Array(NUMBERS.remembered);
  /** The last levels, so that the one before is known, and where the next is put. */
  private readonly levels: Float64Array;
  private place = 0;
  /** Points since the window was last empty, and to the next sample. */
  private points = 0;
  private untilSample = 1;
  private samples = 0;
  /** Samples of which the noise is measured next. */
  private due = 0;
  private sinceSample = 0;

  /** @param width points of a level */
  constructor(readonly width: number) {
    this.median = new RunningMedian(width);
    this.usual = new Tail(width);
    this.stride = Math.max(1, width >> 1);
    this.perBlock = width / this.stride;
    this.levels = new Float64Array(width);
  }

  /** Levels that do not overlap, so far. */
  get blocks(): number {
    return this.samples / this.perBlock;
  }

  /** The same since one was clearly better: of so many the best is low by chance. */
  get since(): number {
    return this.sinceSample / this.perBlock;
  }

  /** @param i position in the series */
  push(value: number, i: number): void {
    const { width, median, levels } = this;
    median.push(value);
    this.points++;
    if (this.points < width) return;
    const { level } = median;
    this.level = level;
    this.jump = this.points < 2 * width ? Number.NaN : level - levels[this.place]!;
    levels[this.place] = level;
    this.place = this.place + 1 === width ? 0 : this.place + 1;
    this.untilSample--;
    if (this.untilSample === 0) {
      this.untilSample = this.stride;
      this.kept[this.samples % NUMBERS.remembered] = level;
      this.samples++;
      this.sinceSample++;
    }
    if (level < this.best) {
      if (!(level >= this.best - 2 * this.noise)) this.sinceSample = 0;
      this.best = level;
      this.bestAt = i;
    }
  }

  /** One that goes on from here by itself. */
  copy(): Rung {
    const { median, usual, kept, levels } = this;
    const own = { median: median.copy(), usual: usual.copy(), kept: kept.slice(), levels: levels.slice() };
    return Object.assign(new Rung(this.width), this, own);
  }

  /** Forgets the points of its level, and nothing else: what follows an incident is no neighbour of it. */
  restart(): void {
    this.median.clear();
    this.points = this.place = 0;
    this.untilSample = 1;
    this.usual.restart();
    this.level = this.jump = Number.NaN;
  }

  /** Remembers an excess of an accepted level, for the tail, once it came back to half of it. */
  excess(value: number): void {
    this.usual.add(value);
  }

  /** The excess that the tail of earlier ones gives once in exp(`NUMBERS.tail`) runs; 0 without one. */
  tail(): number {
    return this.usual.record(this.noise, this.blocks);
  }

  /** Measures the noise where there are enough new levels to; whether it did. */
  measure(): boolean {
    const { samples, kept } = this;
    if (samples < this.due) return false;
    this.due = nextMeasure(samples);
    ({ near: this.near, calm: this.calm } = nearNoise(kept, samples, Math.ceil(this.perBlock)));
    if (this.width === 1)
      this.memory = Math.min(memoryOf(kept, samples, 0), memoryOf(kept, samples, NUMBERS.trendApart));
    return true;
  }
}

/** Samples at which the noise is measured again. */
function nextMeasure(measured: number): number {
  const { anew, remembered, anewShare } = NUMBERS;
  for (let samples = measured; ; samples++) {
    const most = Math.min(remembered, Math.max(remembered / 4, samples * anewShare));
    if (samples >= measured * anew || samples - measured >= most) return samples;
  }
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
 * walk, and more along a smooth curve, which is no noise. Large steps are left out: a jump and a steep fall are no noise.
 *
 * @param kept ring of points
 * @param samples points that were ever put there
 * @param apart each is taken above the mean of those so far before and after it, in which a trend cancels; 0: as it is
 * @returns correlation of neighbours, 0 to `NUMBERS.mostMemory`
 */
function memoryOf(kept: Float64Array, samples: number, apart: number): number {
  const held = inOrder(kept, samples);
  const count = Math.max(0, held - 2 * apart - 1);
  let before = Number.NaN;
  for (let k = 0, i = apart; k <= count; k++, i++) {
    const own = ordered[i]! - (apart === 0 ? 0 : (ordered[i - apart]! + ordered[i + apart]!) / 2);
    if (k > 0) {
      steps[k - 1] = own - before;
      scratch[k - 1] = Math.abs(own - before);
    }
    before = own;
  }
  const most = NUMBERS.usualSteps * MAD_TO_SIGMA * medianInPlace(scratch, count);
  let [both, one, pairs] = [0, 0, 0];
  for (let k = 1; k < count; k++) {
    const last = steps[k - 1]!;
    const step = steps[k]!;
    if (Math.abs(last) > most || Math.abs(step) > most) continue;
    one += (last * last + step * step) / 2;
    both += last * step;
    pairs++;
  }
  const { memoryPrior, mostMemory } = NUMBERS;
  const found = ((one > 0 ? both / one : -1 / 2) * pairs - memoryPrior / 2) / (pairs + memoryPrior);
  return Math.max(0, Math.min(mostMemory, 1 - 2 * Math.abs(found)));
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
    const own = (near * (isShared ? 1 + NUMBERS.sharedErrors * few : 1 - few)) ** 2 - alone;
    const growth = isShared ? Math.max(1, Math.min(NUMBERS.mostGrowth, own / narrower)) : 1;
    slow = Math.max(slow, own * growth * growth);
    narrower = own;
  }
  return slow;
}

/** Ladder of levels from single points to wide ones, whose noise is measured together. */
export class Ladder {
  constructor(readonly rungs: readonly Rung[] = NUMBERS.widths.map((width) => new Rung(width))) {}

  /** One that goes on from here by itself. */
  copy(): Ladder {
    return new Ladder(this.rungs.map((each) => each.copy()));
  }

  /** @param i position in the series */
  push(value: number, i: number): void {
    // The newest point may be the excess, which is no noise.
    this.measure();
    for (const each of this.rungs) each.push(value, i);
  }

  /** Forgets the points of the levels, and nothing else. */
  restart(): void {
    for (const each of this.rungs) each.restart();
  }

  private measure(): void {
    const { rungs } = this;
    let anew = false;
    for (const each of rungs) if (each.measure()) anew = true;
    if (!anew) return;
    const [{ near, calm, memory }] = rungs as [Rung, ...Rung[]];
    const slow = slowNoise(rungs, ({ width }) => near ** 2 * inflation(width, 0));
    for (const each of rungs) {
      const { width } = each;
      const alone = inflation(width, 0);
      const kept = inflation(width, memory);
      const fast = Math.max(near * Math.sqrt(alone), calm * Math.sqrt(kept));
      each.noise = Number.isNaN(fast)
        ? Number.POSITIVE_INFINITY
        : Math.max(fast, Math.sqrt(near ** 2 * alone + slow));
      const least = near * Math.sqrt(kept * unshared(width, memory));
      each.apart = Number.isNaN(least)
        ? Number.POSITIVE_INFINITY
        : Math.SQRT2 * Math.max(Number.isNaN(each.near) ? 0 : each.near, least);
    }
  }
}
