/**
 * Robust statistics of a series: medians and scales that one spike, or a quarter of spikes, does not move.
 *
 * Everything here takes finite numbers; the callers keep NaN and ±Infinity apart, because they are events of their own.
 */
import { blocksOf, type Column, pickerOf, readerOf } from '../../model/column.ts';
import { MAD_TO_SIGMA, medianInPlace, medianOf, middleInPlace } from '../../model/order-statistics.ts';
import { type HalfMedians, rankedWindow } from './ranked-window.ts';
import type { VerdictSettings } from './settings.ts';

/** The same for the mean absolute deviation: √(π/2). */
const MEAN_DEVIATION_TO_SIGMA = 1.2533;

/**
 * Median of `values[0..length)`, which is likely to lie within `radius` of `hint`: one pass counts what is below and
 * collects what is inside, and only that is searched. Leaves the values alone; uses `scratch`. Exact wherever the median
 * lies: ten times as fast as {@link medianInPlace} where the hint is right, a little slower where it is not.
 */
function medianNear(
  values: Float64Array,
  length: number,
  hint: number,
  radius: number,
  scratch: Float64Array,
): number {
  let below = 0;
  let inside = 0;
  for (let i = 0; i < length; i++) {
    const value = values[i]!;
    // No line is a branch that the processor would guess wrong: what lies outside is written over. A comparison that is added
    // is a branch in V8 unless the sum is cut to 32 bits: eight times the time.
    below = (below + +(hint - value > radius)) | 0;
    scratch[inside] = value;
    inside = (inside + +(Math.abs(value - hint) <= radius)) | 0;
  }
  const k = (length >> 1) - below;
  if (k >= 1 && k < inside) return middleOfEven(scratch, inside, k, length % 2 === 1, hint, radius);
  scratch.set(values.subarray(0, length));
  return medianInPlace(scratch, length);
}

/**
 * {@link medianInPlace} of the few values of a short window, which belongs to a short log: what V8 sorts with is compiled, and
 * our search would hardly run often enough to be.
 */
function medianOfFew(values: Float64Array, length: number): number {
  const k = length >> 1;
  const sorted = values.subarray(0, length).sort();
  return length % 2 === 1 ? sorted[k]! : sorted[k - 1]! + (sorted[k]! - sorted[k - 1]!) / 2;
}

/** Standard errors that the place of a rank is searched in: one search in fifty has to look at all. */
const EVEN_ERRORS = 2.4;

/**
 * {@link middleInPlace} of values that lie evenly within `radius` of `hint`: then it is known about where rank k lies, and
 * no more than a few of them are put into order.
 */
function middleOfEven(
  values: Float64Array,
  length: number,
  k: number,
  odd: boolean,
  hint: number,
  radius: number,
): number {
  const place = hint + radius * ((2 * k) / length - 1);
  const width = (radius * EVEN_ERRORS) / Math.sqrt(length);
  let below = 0;
  let inside = 0;
  for (let i = 0; i < length; i++) {
    const distance = values[i]! - place;
    below = (below + +(distance < -width)) | 0;
    inside = (inside + +(Math.abs(distance) <= width)) | 0;
  }
  const rank = k - below;
  if (rank < 1 || rank >= inside) return middleInPlace(values, length, k, odd);
  let kept = 0;
  for (let i = 0; i < length; i++) {
    const value = values[i]!;
    values[kept] = value;
    kept = (kept + +(Math.abs(value - place) <= width)) | 0;
  }
  return middleInPlace(values, inside, rank, odd);
}

/**
 * Robust scale of deviations from a center: 1.4826 times their median; where more than half of them are zero (a loss printed
 * with two decimals), 1.2533 times their mean; 0 for a constant.
 */
function scaleFrom(median: number, deviations: Float64Array, length: number): number {
  if (median > 0) return MAD_TO_SIGMA * median;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += deviations[i]!;
  return length === 0 ? 0 : (MEAN_DEVIATION_TO_SIGMA * sum) / length;
}

/**
 * Scale of the noise of `to(values)`, which may also have a trend: 1.4826·MAD of the differences of neighbours, divided by √2.
 * Looks at 20,000 evenly spaced pairs at most. 0 with fewer than two finite neighbours.
 */
export function noiseScale(values: Column, to: (value: number) => number): number {
  const pairs = Math.min(values.length - 1, 20_000);
  if (pairs < 1) return 0;
  const at = pickerOf(values);
  const differences = new Float64Array(pairs);
  let found = 0;
  for (let k = 0; k < pairs; k++) {
    const i = Math.floor((k * (values.length - 1)) / pairs);
    const difference = to(at(i + 1)) - to(at(i));
    if (Number.isFinite(difference)) differences[found++] = difference;
  }
  const center = medianInPlace(differences, found);
  for (let k = 0; k < found; k++) differences[k] = Math.abs(differences[k]! - center);
  return scaleFrom(medianInPlace(differences, found), differences, found) / Math.SQRT2;
}

/** How a series is looked at: by ratios, or by differences. */
export interface Scale {
  /** Whether what it calls a ratio is one of the values. */
  readonly byRatio: boolean;
  to(value: number): number;
  from(y: number): number;
  /** What is `ratio` times the center, on the scale. `noise` is the robust scale there. */
  above(center: number, ratio: number, noise: number): number;
  /** The ratio of which `y` is {@link above} the center. */
  ratioOf(center: number, y: number, noise: number): number;
}

/** What an incident says of the level before it, whose points have that noise on the scale, and of how far its peak is above. */
export const besideLevel = (
  before: number,
  noise: number,
  peak: number,
  scale: Scale,
  { bandScales, bandRatio }: Pick<VerdictSettings, 'bandScales' | 'bandRatio'>,
) =>
  ({
    before: scale.from(before),
    high: scale.from(Math.max(before + bandScales * noise, scale.above(before, bandRatio, noise))),
    size: scale.ratioOf(before, peak, noise),
    byRatio: true,
  }) as const;

/** The logarithm of the ratio that was asked for last, which is asked for at every point. */
const lastRatio = { ratio: 1, log: 0 };
const logOfRatio = (ratio: number): number => {
  if (ratio !== lastRatio.ratio) {
    lastRatio.ratio = ratio;
    lastRatio.log = Math.log(ratio);
  }
  return lastRatio.log;
};

/** Ratios: zero and negative values are not finite on it. */
export const LOG_SCALE: Scale = {
  byRatio: true,
  to: Math.log,
  from: Math.exp,
  above: (center, ratio) => center + logOfRatio(ratio),
  ratioOf: (center, y) => Math.exp(y - center),
};

/** A loss of both signs is nearly 0 now and then, and a multiple of nearly nothing is nothing: a ratio is one of at least so many scales. */
const LEAST_UNIT = 8;
/**
 * A loss that fell to exactly 0 has no noise left either. Its unit is so small a share of where it began, a quarter of which starts an
 * incident: twenty times the rounding of float32.
 */
const LEAST_SHARE = 1e-5;
/** Finite values at the start that say where a loss began. */
export const FIRST_VALUES = 3;

/**
 * Differences; a ratio is one of the absolute value of the center, or of eight scales of the noise, or 1e-5 of the first level, where one of
 * these is more.
 *
 * @param first the first {@link FIRST_VALUES} finite values; fewer where no more are known
 */
export function linearScale(first: readonly number[]): Scale {
  const least = first.length === 0 ? 0 : LEAST_SHARE * medianOf(first.map(Math.abs));
  const unitAt = (center: number, noise: number): number =>
    Math.max(Math.abs(center), LEAST_UNIT * noise, least);
  return {
    byRatio: false,
    to: (value) => value,
    from: (y) => y,
    above: (center, ratio, noise) => center + (ratio - 1) * unitAt(center, noise),
    ratioOf: (center, y, noise) => 1 + (y - center) / unitAt(center, noise),
  };
}
export const LINEAR_SCALE = linearScale([]);

/** The scale on which a loss is judged: its logarithm, unless a finite value is zero or negative. */
export function scaleOf(values: Column): Scale {
  const first: number[] = [];
  let linear = false;
  for (const block of blocksOf(values)) {
    for (let i = 0; i < block.length && !linear; i++)
      linear = block[i]! <= 0 && block[i]! > Number.NEGATIVE_INFINITY;
    for (let i = 0; i < block.length && first.length < FIRST_VALUES; i++)
      if (Number.isFinite(block[i]!)) first.push(block[i]!);
    if (linear && first.length === FIRST_VALUES) break;
  }
  return linear ? linearScale(first) : LOG_SCALE;
}

/** Median and scale of the last points that were pushed. */
export interface RollingBand {
  /** Adds a finite value. */
  push(value: number): void;
  /** Forgets everything. */
  clear(): void;
  /** Sets the points that the window may hold, up to its capacity: a series that grows has a growing window. */
  resize(size: number): void;
  /** Points in the window. */
  readonly points: number;
  readonly center: number;
  /** Whether it falls by more than three scales from end to end: its center is then that of its last points. */
  readonly falling: boolean;
  /** No larger than the center, and known without it; -Infinity where finding it would be work. */
  readonly floor: number;
  /** Corrected for the small number of points, see {@link rollingBand}. */
  readonly scale: number;
  /**
   * Height above its neighbours that one point in twenty of the window has; 0 where fewer than 20 points are there. A loss that is high at
   * every third batch (mixup, two data sets) has a small median deviation and a large one of these.
   */
  readonly tails: number;
}

/**
 * A window that falls by more than this many scales from end to end has its scale where the loss is now, about the line of its last half, of so many
 * points at least, and its center in the median of a sixth, of 8 to 20 points.
 */
export const FALL = 3;
const RECENT = 20;
const nowOf = (points: number): number => Math.max(8, Math.min(20, Math.floor(points / 6)));
/** Windows that are renewed at every point; their values are kept in order. */
const RANKED_POINTS = 60;
/** Neighbours on either side of a point that its height is measured from. */
const NEIGHBOURS = 3;
/** Share of the points, and how many at least, that are as high again and again. */
const RECURRENT_SHARE = 0.05;
const RECURRENT_POINTS = 3;

/**
 * A window over the last `size` pushed values. Judge a point first and push it afterwards: a window that holds the point
 * itself hides a fifty-fold spike.
 *
 * The scale is that of the deviations from the line through the medians of the two halves, if that line falls: with the trend of a
 * falling loss in it, a fifty-fold jump after thirty epochs would be six scales.
 *
 * A window of up to 60 points is renewed at every point, one of 1,000 at every 250th: its median hardly moves until then, and a million
 * points cost a quarter of a second. `smallSample` widens the scale by (1 + smallSample/points), because the MAD of
 * few points is often far too small by chance.
 *
 * @param capacity points that the window may ever hold; its size until it is resized
 */
export function rollingBand(capacity: number, smallSample: number): RollingBand {
  const ring = new Float64Array(capacity);
  const ordered = new Float64Array(capacity);
  const deviations = new Float64Array(capacity);
  const scratch = new Float64Array(capacity);
  let size = capacity;
  let held = 0;
  let points = 0;
  let next = 0;
  let age = Number.POSITIVE_INFINITY;
  let center = Number.NaN;
  let deviation = Number.NaN;
  let scale = Number.NaN;
  let slope = 0;
  let falling = false;
  let recent = Number.NaN;
  let recentAge = Number.POSITIVE_INFINITY;
  let tails = 0;
  let tailsAge = Number.POSITIVE_INFINITY;
  const ranks = rankedWindow(capacity);
  const halves: HalfMedians = { older: Number.NaN, newer: Number.NaN };
  const oldest = (): number => (next - points + capacity) % capacity;
  const inOrder = (): void => {
    const count = points;
    const from = oldest();
    const wrapped = Math.max(0, from + count - capacity);
    // Views cost more than a short window has to copy.
    if (count <= RANKED_POINTS) {
      const straight = count - wrapped;
      for (let i = 0; i < straight; i++) ordered[i] = ring[from + i]!;
      for (let i = 0; i < wrapped; i++) ordered[straight + i] = ring[i]!;
      return;
    }
    ordered.set(ring.subarray(from, from + count - wrapped));
    ordered.set(ring.subarray(0, wrapped), count - wrapped);
  };
  /** Scale of the last points about the line through the medians of their halves; `ordered` holds the window. */
  const recentScale = (count: number): number => {
    const from = points - count;
    const half = count >> 1;
    const medianFrom = (start: number, length: number): number => {
      for (let i = 0; i < length; i++) scratch[i] = ordered[start + i]!;
      return medianInPlace(scratch, length);
    };
    const ranked = size <= RANKED_POINTS;
    if (ranked) ranks.halves(oldest(), from, half, from + half, halves);
    const older = ranked ? halves.older : medianFrom(from, half);
    const newer = ranked ? halves.newer : medianFrom(from + half, half);
    const level = ranked ? ranks.medianSince(oldest(), from) : medianFrom(from, count);
    const slope = Math.min(0, (newer - older) / half);
    const middle = (count - 1) / 2;
    for (let i = 0; i < count; i++) scratch[i] = Math.abs(ordered[from + i]! - level - slope * (i - middle));
    const spread = ranked ? medianOfFew(scratch, count) : medianInPlace(scratch, count);
    return scaleFrom(spread, scratch, count);
  };
  /** Distances of the points in the window from the line through its center; `ordered` holds the window. */
  const measure = (count: number, level: number, slope: number): void => {
    const middle = (count - 1) / 2;
    for (let i = 0; i < count; i++) deviations[i] = Math.abs(ordered[i]! - level - slope * (i - middle));
  };
  /** Renews what a short window has for its center; its scale waits until it is asked for. */
  const renewRanked = (): void => {
    const count = points;
    const half = count >> 1;
    ranks.halves(oldest(), 0, half, count - half, halves);
    center = ranks.median();
    slope = Math.min(0, (halves.newer - halves.older) / (count - half)) || 0;
    scale = Number.NaN;
    falling = false;
    if (slope === 0) return;
    // Where half of the distances are larger than this, the fall is no matter of three scales, and where half are smaller it is.
    // Half of the window tells it, mostly.
    const least = (-slope * count) / (FALL * MAD_TO_SIGMA * (1 + smallSample / count));
    const middle = (count - 1) / 2;
    let larger = 0;
    let smaller = 0;
    for (let i = 0, at = oldest(); i < count; i++) {
      const distance = Math.abs(ring[at]! - center - slope * (i - middle));
      if (distance > least) {
        if (2 * ++larger > count + 1) return;
      } else if (distance > 0 && 2 * ++smaller > count + 1) {
        falling = true;
        return;
      }
      if (++at === capacity) at = 0;
    }
    rankedScale();
  };
  const renewScale = (found: number): void => {
    const count = points;
    deviation = found;
    scale = scaleFrom(deviation, deviations, count) * (1 + smallSample / count);
    falling = slope * count < -FALL * scale;
    // A steep fall bends, and its bend is no noise either: of its last points the line is a better one.
    if (falling && count > RECENT) {
      const last = Math.max(RECENT, count >> 1);
      scale = Math.min(scale, recentScale(last) * (1 + (2 * smallSample) / last));
    }
  };
  const rankedScale = (): number => {
    if (Number.isNaN(scale) && points > 0) {
      const nearest = slope === 0 ? ranks.deviation(center) : 0;
      if (nearest > 0) renewScale(nearest);
      else {
        inOrder();
        measure(points, center, slope);
        renewScale(medianNear(deviations, points, deviation, deviation / 4, scratch));
      }
    }
    return scale;
  };
  const renewNow = (): void => {
    age = 0;
    if (size <= RANKED_POINTS) {
      renewRanked();
      return;
    }
    inOrder();
    const count = points;
    const half = count >> 1;
    const near = deviation / 2;
    const older = medianNear(ordered.subarray(0, half), half, center, near, scratch);
    const newer = medianNear(ordered.subarray(count - half, count), half, center, near, scratch);
    center = medianNear(ordered, count, center, deviation / 4, scratch);
    // A falling loss is no noise. A rising one is judged against everything it was, so that its climb is not explained away.
    slope = Math.min(0, (newer - older) / (count - half)) || 0;
    measure(count, center, slope);
    renewScale(medianNear(deviations, count, deviation, deviation / 4, scratch));
  };
  // Asked at every point, and short, so that it costs no call.
  const renew = (): void => {
    if (age >= (points * points) / 4000) renewNow();
  };
  const recentCenter = (): number => {
    if (recentAge >= nowOf(points) / 4) {
      const count = Math.min(points, nowOf(points));
      for (let i = 0; i < count; i++) scratch[i] = ring[(next - 1 - i + capacity) % capacity]!;
      recent = medianInPlace(scratch, count);
      recentAge = 0;
    }
    return recent;
  };
  const around = new Float64Array(2 * NEIGHBOURS);
  const recurrent = (): number => {
    if (points < RECENT) return 0;
    if (tailsAge < (points * points) / 4000) return tails;
    inOrder();
    const judged = points - 2 * NEIGHBOURS;
    for (let i = 0; i < judged; i++) {
      for (let k = 0; k < NEIGHBOURS; k++) {
        around[k] = ordered[i + k]!;
        around[NEIGHBOURS + k] = ordered[i + NEIGHBOURS + 1 + k]!;
      }
      deviations[i] = ordered[i + NEIGHBOURS]! - medianInPlace(around, 2 * NEIGHBOURS);
    }
    const rank = Math.max(RECURRENT_POINTS, Math.ceil(RECURRENT_SHARE * judged));
    tails = Math.max(0, deviations.subarray(0, judged).sort()[judged - rank]!);
    tailsAge = 0;
    return tails;
  };
  return {
    push(value) {
      if (size <= RANKED_POINTS) {
        if (points === size) ranks.remove(oldest());
        ranks.add(value, next);
      }
      ring[next] = value;
      next = next + 1 === capacity ? 0 : next + 1;
      if (held < capacity) held++;
      if (points < size) points++;
      age++;
      recentAge++;
      tailsAge++;
    },
    clear() {
      ranks.clear();
      held = 0;
      points = 0;
      next = 0;
      age = Number.POSITIVE_INFINITY;
      recentAge = Number.POSITIVE_INFINITY;
      tailsAge = Number.POSITIVE_INFINITY;
    },
    resize(wanted) {
      if (wanted === size) return;
      size = Math.min(wanted, capacity);
      points = Math.min(held, size);
      ranks.clear();
      if (size <= RANKED_POINTS)
        for (let i = 0; i < points; i++) {
          const slot = (oldest() + i) % capacity;
          ranks.add(ring[slot]!, slot);
        }
      age = Number.POSITIVE_INFINITY;
      tailsAge = Number.POSITIVE_INFINITY;
    },
    get points() {
      return points;
    },
    get center() {
      renew();
      return falling ? Math.min(center, recentCenter()) : center;
    },
    get falling() {
      renew();
      return falling;
    },
    get floor() {
      return size <= RANKED_POINTS && points > 0 ? ranks.least() : Number.NEGATIVE_INFINITY;
    },
    get scale() {
      renew();
      return size <= RANKED_POINTS ? rankedScale() : scale;
    },
    get tails() {
      return recurrent();
    },
  };
}

/** Whether a few values fall by more than three scales from end to end. */
export function isFalling(values: readonly number[], smallSample: number): boolean {
  const scale = scaleOf(Float64Array.from(values));
  const band = rollingBand(Math.max(1, values.length), smallSample);
  for (const value of values) band.push(scale.to(value));
  return band.falling;
}

/** Shape of a trailing window, in points and shares of the series; a part of the verdict's settings. */
export interface WindowSettings {
  readonly windowPoints: number;
  readonly windowShare: number;
  readonly windowMaximum: number;
  readonly windowStart: number;
  readonly smallSample: number;
}

/** Points of the trailing window of a series of n points, and how many of them make the first judgement. */
export const windowFor = (n: number, settings: WindowSettings): { size: number; start: number } => ({
  size: Math.min(
    Math.max(settings.windowPoints, Math.floor(settings.windowShare * n)),
    settings.windowMaximum,
  ),
  start: Math.max(5, Math.min(settings.windowStart, Math.floor(n / 8))),
});

/**
 * Points that lie more than `scales` robust scales **and** `ratio` times above the median of the window before. Every point that is finite
 * on the scale joins the window afterwards, so that a new level is a new normal; the others are left out.
 */
export function exceedances(
  values: Column,
  scale: Scale,
  settings: WindowSettings,
  scales: number,
  ratio: number,
) {
  const { size, start } = windowFor(values.length, settings);
  const at = readerOf(values);
  // Most series have no point that may lie above it: a window for each of tens of thousands (the norms of all layers) would
  // cost more than all else.
  let band: RollingBand | undefined;
  let lowest = size <= RANKED_POINTS ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  let seen = 0;
  const bandOfAll = (before: number): RollingBand => {
    const made = rollingBand(size, settings.smallSample);
    for (let i = 0; i < before; i++) {
      const y = scale.to(at(i));
      if (Number.isFinite(y)) made.push(y);
    }
    return made;
  };
  const found: { readonly index: number; readonly before: number; readonly scales: number }[] = [];
  // The center costs more than its floor, the scale more than the center, and hardly a point is so high that they matter.
  const mayExceed = (y: number, center: number): boolean =>
    y > center && !(scale.byRatio && y <= scale.above(center, ratio, 0));
  for (let i = 0; i < values.length; i++) {
    const y = scale.to(at(i));
    if (!Number.isFinite(y)) continue;
    if (seen++ >= start && mayExceed(y, band?.floor ?? lowest)) {
      band ??= bandOfAll(i);
      const { center } = band;
      if (mayExceed(y, center)) {
        const { scale: spread } = band;
        if (y - center > scales * spread && y > scale.above(center, ratio, spread))
          found.push({ index: i, before: scale.from(center), scales: (y - center) / spread });
      }
    }
    band?.push(y);
    if (y < lowest) lowest = y;
  }
  return found;
}
