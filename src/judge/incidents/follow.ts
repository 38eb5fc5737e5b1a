/**
 * Follows a series point by point: how far its level is above the best level before, and what becomes of an excess.
 *
 * One computation for a log that is over and for losses that still come: nothing here looks ahead, and no number depends on
 * how many points will follow.
 */
import { medianInPlace } from '../../model/order-statistics.ts';
import { Ladder, type Rung, RunningMedian } from './levels.ts';
import { NUMBERS } from './numbers.ts';
import { DEFAULT_VERDICT_SETTINGS, type VerdictSettings } from './settings.ts';

/** How values are compared: by ratios of positive ones, else by differences. */
export interface Unit {
  readonly byRatio: boolean;
  /** Added to values before their ratios are taken. */
  readonly shift: number;
  to(value: number): number;
  from(z: number): number;
}

const BY_RATIO: Unit = { byRatio: true, shift: 0, to: Math.log, from: Math.exp };
const BY_DIFFERENCE: Unit = { byRatio: false, shift: 0, to: (value) => value, from: (z) => z };

/**
 * How a series is compared.
 *
 * A loss that is learnt to 0 has no ratio to it. A thousandth of its first value is nothing, so that is added to all of its values: a
 * rise from 0 to it counts as twice the loss. Losses of both signs have no zero.
 *
 * @param first its first finite value, NaN where there is none
 * @param least its least value so far
 */
export function unitOf(first: number, least: number): Unit {
  if (!(least <= 0)) return BY_RATIO;
  const shift = NUMBERS.nothing * first;
  if (least < 0 || !(shift > 0)) return BY_DIFFERENCE;
  return { byRatio: true, shift, to: (value) => Math.log(value + shift), from: (z) => Math.exp(z) - shift };
}

/** What a user may set. */
export type Limits = Pick<
  VerdictSettings,
  'incidentRatio' | 'driftRatio' | 'fullRatio' | 'fullRatioAtEnd' | 'decisionPoints' | 'lostShare'
>;

/** What an excess is measured against, on the scale. */
interface Reference {
  /** Best level before, and what the best of many noisy levels is too low by. */
  readonly best: number;
  readonly gap: number;
  /** Standard error of a level of {@link width} points. */
  readonly noise: number;
  readonly width: number;
}

/** A rung that is too high: how much, and where the best level is. */
type FoundExcess = Reference & { readonly excess: number; readonly bestAt: number };

/** An excess that is more than the run's own noise. Indices count from the first point. */
export interface Excess extends Reference {
  readonly onset: number;
  /** The point that proved it. */
  readonly trigger: number;
  /** Upper edge of what is usual, on the scale. */
  readonly edge: number;
  /** The worst point: the first non-finite one, else the largest. */
  peak: number;
  peakValue: number;
  /** Highest level in it, and in its first points. */
  highest: number;
  early: number;
  lastFinite: number;
  /** Whether its time to come back ended far above the best level. */
  lost: boolean;
  /** First point that is back, or null. */
  recovered: number | null;
  /** Point after its last: of the recovery, of a new level, or of the end. */
  end: number;
  /** Whether it ended at a new level, which is the normal from there on. */
  settled: boolean;
  /** Level that it ended at, on the scale. */
  last: number;
  /** Where it is looked at next whether it is lost or settled. */
  nextLook: number;
  /** Highest level of few points, and how far above the best one it may be by the run's own tail; NaN where that has been asked. */
  mostOfFew: number;
  readonly tailOfFew: number;
}

/** What an excess means: times the best level, and the share of what was learnt that is lost. */
export interface Height {
  readonly ratio: number;
  readonly share: number;
}

/** What logarithms and their sums are off by, and more. */
const ROUNDING = 1e-9;
/** Points that can be looked back at. */
const KEPT = 4096;
/** Points of a level that decides whether an excess is over, at least. */
const NARROWEST = 3;

const median = (values: readonly number[]): number => medianInPlace(Float64Array.from(values));

/** Time to come back of an excess that began at a point: a third of what came before, at most the decision points or a tenth. */
export const decisionAfter = (onset: number, { decisionPoints }: Limits): number =>
  Math.max(5, Math.min(decisionPoints, Math.floor(onset / 3)), Math.floor(onset / 10));

/** Where the last level of an excess begins: an eighth of it, so that its error is small. */
export const lastFrom = ({ onset, width }: Excess, next: number): number =>
  Math.max(onset, next - Math.max(5, width, Math.min(27, (next - onset) >> 3)));

/**
 * The highest level that counts as back: no higher than the edge of what is usual, and no higher than half of the way up, but for
 * three errors. A rise that ends just below a quarter more than the best, where it began to count, has not come back.
 */
export const highestBack = ({ edge, best, gap, noise, highest }: Excess): number =>
  Math.min(edge, gap + best + Math.max(3 * noise, NUMBERS.backShare * (highest - best - gap)));

export class Follower {
  /** Excesses that are over, in the order of their ends. */
  readonly excesses: Excess[] = [];
  /** Single points that are more than noise, and too little for an excess: the index, and level errors above the best. */
  readonly spikes: { readonly index: number; readonly errors: number; readonly best: number }[] = [];
  /** The excess that the newest point belongs to. */
  open: Excess | null = null;
  count = 0;
  private readonly ring = new Float64Array(KEPT);
  /** The first finite points, and where they begin. */
  private readonly first: number[] = [];
  private firstAt = 0;
  private untrained = Number.NaN;
  private least = Number.POSITIVE_INFINITY;
  private most = Number.NEGATIVE_INFINITY;
  private ladder = new Ladder();
  private recent = new RunningMedian(NARROWEST);
  private few = new RunningMedian(NARROWEST);

  /**
   * @param unit how values are compared; of a series with a value that is not positive, by differences
   * @param isWhole whether its first level is that of a net that has learnt nothing
   * @param leastErrors level errors that an excess has to exceed
   */
  constructor(
    readonly unit: Unit,
    readonly isWhole = true,
    readonly limits: Limits = DEFAULT_VERDICT_SETTINGS,
    private readonly leastErrors: number = NUMBERS.errors,
  ) {}

  /** One that goes on from here by itself. */
  copy(): Follower {
    const { unit, isWhole, limits, leastErrors, open } = this;
    return Object.assign(new Follower(unit, isWhole, limits, leastErrors), this, {
      // The last one that is over may be opened again.
      excesses: this.excesses.map((one) => ({ ...one })),
      spikes: [...this.spikes],
      open: open === null ? null : { ...open },
      ring: this.ring.slice(),
      first: [...this.first],
      ladder: this.ladder.copy(),
      recent: this.recent.copy(),
      few: this.few.copy(),
    });
  }

  /** Takes the next value, of any kind. */
  step(value: number): void {
    const i = this.count++;
    const z = this.unit.to(value);
    this.ring[i % KEPT] = z;
    if (Number.isFinite(z)) {
      this.least = Math.min(this.least, z);
      this.most = Math.max(this.most, z);
    }
    if (Number.isFinite(z) && this.first.length < NARROWEST) {
      if (this.first.length === 0) this.firstAt = i;
      this.first.push(z);
      this.untrained = median(this.first);
    }
    if (this.open !== null) {
      this.advance(this.open, i);
      return;
    }
    if (!Number.isFinite(z)) {
      this.beginWithoutNumber(i);
      return;
    }
    this.ladder.push(z, i);
    const found = this.findExcess();
    if (found === null) return;
    const { excess, bestAt, ...reference } = found;
    const line = reference.best + reference.gap + NUMBERS.onsetShare * (excess - reference.gap);
    const from = Math.max(
      i + 1 - NUMBERS.onsetWidths * reference.width,
      bestAt,
      this.excesses.at(-1)?.end ?? 0,
    );
    const single = this.noiseOf(this.ladder.rungs[0]!);
    const base = reference.best + reference.gap;
    let onset = this.onsetBefore(i, from, line, excess / 2);
    // Of few points none is part of it that is as usual, and all are that no noise explains.
    const low = base + Math.min(NUMBERS.usualErrors * single, (excess - reference.gap) / 2);
    const few = Math.min(NARROWEST, reference.width);
    if (reference.width <= NUMBERS.onsetFew)
      while (onset < i && (this.at(onset) <= low || this.levelOf(onset, Math.min(i + 1, onset + few)) <= low))
        onset++;
    const first = Math.max(bestAt, this.excesses.at(-1)?.end ?? 0, i + 1 - KEPT);
    while (onset > first && this.at(onset - 1) > base + NUMBERS.errors * single) onset--;
    this.begin(i, onset, this.fromLowest(reference, onset));
  }

  /** A rise of points that follows the lowest point at once is measured from it: no median of three could be there yet. */
  private fromLowest(reference: Reference, onset: number): Reference {
    const lowest = this.ladder.rungs[0]!;
    const follows = reference.width === lowest.width && lowest.bestAt === onset - 1;
    return follows ? { ...reference, best: lowest.best, gap: this.gapOf(lowest) } : reference;
  }

  /** What an excess above a level (the best, with its gap) means. */
  heightOf(excess: number, base: number, noise: number): Height {
    const { unit, untrained } = this;
    const learnt = unit.from(untrained) - unit.from(base);
    const counts = this.isWhole && untrained > base && untrained - base >= NUMBERS.learntErrors * noise;
    const lost = unit.from(base + excess) - unit.from(base);
    if (unit.byRatio) return { ratio: Math.exp(excess), share: counts ? lost / learnt : 0 };
    const single = this.noiseOf(this.ladder.rungs[0]!);
    const least = Math.max(
      NUMBERS.signErrors * (Number.isFinite(single) ? single : noise),
      1e-9 * Math.abs(base),
    );
    const all = Math.max(learnt, least);
    return { ratio: 1 + excess / all, share: counts ? lost / all : 0 };
  }

  /** What a level of an excess means. */
  heightIn({ best, gap, noise }: Excess, level: number): Height {
    return this.heightOf(level - best - gap, best + gap, noise);
  }

  /** Whether a share that is lost is all of it, but for the error of the few points that the untrained level is of. */
  isAll(share: number, one: Excess): boolean {
    return share >= this.limits.lostShare - this.shareError(one);
  }

  /** Two errors of the untrained level, as a share of what was learnt; at most what leaves `NUMBERS.lostMost` of all. */
  shareError({ best, gap }: Excess): number {
    const learnt = this.untrained - best - gap;
    const error = this.ladder.rungs[0]!.near / Math.sqrt(this.first.length);
    const share = (2 * error) / learnt;
    return share > 0 ? Math.min(this.limits.lostShare - NUMBERS.lostMost, share) : 0;
  }

  /** The level as it is now, and the highest single point that is usual, on the scale; NaN where too few points came. */
  usual(): { readonly level: number; readonly edge: number } {
    if (this.count < NUMBERS.fewest) return { level: Number.NaN, edge: Number.NaN };
    const { rungs } = this.ladder;
    const [single, few] = rungs as [Rung, Rung];
    const { level } = rungs.find(({ width, level }) => width > NARROWEST && !Number.isNaN(level)) ?? few;
    const gap = this.gapOf(few);
    const edge = this.edgeOf({ best: few.best, gap, noise: this.noiseOf(few), width: few.width });
    return { level, edge: Math.max(edge, few.best + gap + this.errors * this.noiseOf(single)) };
  }

  /** Median of the points from one to before another; Infinity where half of them are not finite. */
  levelOf(from: number, to: number): number {
    const points: number[] = [];
    for (let k = Math.max(0, from, to - KEPT); k < to; k++) {
      const z = this.at(k);
      points.push(Number.isFinite(z) ? z : Number.POSITIVE_INFINITY);
    }
    return points.length === 0 ? Number.NaN : median(points);
  }

  private at(i: number): number {
    return this.ring[i % KEPT]!;
  }

  /** The best level of the next wider rung, which chance makes less low; of a rung's own where that is young. */
  private matureOf(k: number): Rung {
    const own = this.ladder.rungs[k]!;
    const wider = this.ladder.rungs[k + 1];
    const isOld =
      wider !== undefined && wider.blocks >= NUMBERS.oldBlocks && wider.noise < Number.POSITIVE_INFINITY;
    return isOld ? wider : own;
  }

  /**
   * Reference of a rung. One low point is no level: points are compared with the best median of three from the first ones on, unless
   * the very first is the lowest.
   */
  private referenceOf(k: number): Rung {
    const own = this.ladder.rungs[k]!;
    const wider = this.ladder.rungs[k + 1];
    return own.width === 1 && wider!.blocks >= 1 && own.bestAt !== this.firstAt ? wider! : this.matureOf(k);
  }

  /** Of the best of so many independent levels, what it is expected to be too low by. */
  private gapOf({ noise, since, best, width }: Rung): number {
    if (!Number.isFinite(noise)) return 0;
    // No more than what a wider level, of which fewer were drawn, is above it.
    let most = Number.POSITIVE_INFINITY;
    for (const each of this.ladder.rungs)
      if (each.width > width && each.noise < Number.POSITIVE_INFINITY)
        most = Math.min(most, each.best - best);
    return Math.max(0, Math.min(most, noise * Math.sqrt(2 * Math.log(Math.max(1, since)))));
  }

  private noiseOf({ noise, width }: Rung, prior = this.prior): number {
    if (Number.isFinite(noise)) return noise + prior;
    return width === 1 && this.unit.byRatio ? NUMBERS.priorNoise : Number.POSITIVE_INFINITY;
  }

  /** What is added to the noise that was measured. */
  private get prior(): number {
    const range = this.unit.byRatio ? 1 : this.most - this.least;
    return range * (NUMBERS.priorNoise * (4 / Math.max(4, this.count)) ** 2);
  }

  /** Level errors that an excess has to exceed: more where few points tell of the noise. */
  private get errors(): number {
    return this.leastErrors * (1 + NUMBERS.fewPoints / Math.sqrt(this.count));
  }

  private isWorth({ ratio, share }: Height): boolean {
    // Printed losses have ratios of exactly 4; logarithms of two languages differ in the last digit.
    const isAbove = (one: number, limit: number): boolean => one > limit * (1 + ROUNDING);
    if (this.count <= NUMBERS.startPoints) return isAbove(ratio, NUMBERS.worthAtStart);
    return isAbove(ratio, this.limits.incidentRatio) || isAbove(share, NUMBERS.lostHalf);
  }

  /** The narrowest rung that is too high, with its reference. */
  private findExcess(): FoundExcess | null {
    const { rungs } = this.ladder;
    const { errors, prior } = this;
    for (let k = 0; k < rungs.length; k++) {
      const own = rungs[k]!;
      if (Number.isNaN(own.level)) continue;
      const found = this.excessOf(k, errors, prior);
      if (found !== null) return found;
      if (own.width <= NUMBERS.tailWidth) own.excess(own.level - this.matureOf(k).best);
    }
    return null;
  }

  /** The excess of a rung above its reference, where that is too high. */
  private excessOf(k: number, errors: number, prior: number): FoundExcess | null {
    const own = this.ladder.rungs[k]!;
    const reference = this.referenceOf(k);
    const { best } = reference;
    const excess = own.level - best;
    if (!(excess > 0)) return null;
    const hasTail = own.width <= NUMBERS.tailWidth;
    const noise = this.noiseOf(own, prior);
    const isJump = hasTail && Math.min(own.jump, excess) > errors * own.apart;
    // Most points are no more than that without a gap, which takes longer to know.
    if (!isJump && excess <= errors * noise) return null;
    const gap = this.gapOf(reference);
    if (!isJump && excess <= errors * noise + gap) return null;
    // Both count from one level.
    if (hasTail && own.level - this.matureOf(k).best <= own.tail()) return null;
    if (this.isWorth(this.heightOf(excess - gap, best + gap, noise)))
      return { width: own.width, best, excess, noise, gap, bestAt: reference.bestAt - reference.width };
    if (k === 0 && own.level > best + gap)
      this.spikes.push({ index: this.count - 1, errors: (excess - gap) / noise, best: best + gap });
    return null;
  }

  /** First point of a stretch above a line, the usual estimate of a change: where the clipped sum over the line is lowest. */
  private onsetBefore(i: number, from: number, line: number, clip: number): number {
    let sum = 0;
    let lowest = Number.POSITIVE_INFINITY;
    let onset = i;
    for (let k = Math.max(0, from, i + 1 - KEPT); k < i; k++) {
      const z = this.at(k);
      sum += Number.isNaN(z) ? clip : Math.max(-clip, Math.min(clip, z - line));
      if (sum > lowest) continue;
      lowest = sum;
      onset = k + 1;
    }
    return onset;
  }

  /** A value that is not a number begins an excess, or the points before it that are high already do. */
  private beginWithoutNumber(i: number): void {
    const rung = this.ladder.rungs[0]!;
    const { best: lowest } = this.referenceOf(0);
    const noise = this.noiseOf(rung);
    const best = Number.isFinite(lowest) ? lowest : this.untrained;
    const line = best + Math.max(8 * noise, Math.log(this.limits.incidentRatio));
    let onset = i;
    while (onset > 0 && i - onset < KEPT - 1 && this.at(onset - 1) > line) onset--;
    this.begin(i, onset, { width: 1, best, gap: 0, noise });
  }

  /** Upper edge of what is usual: three errors, and neither a quarter more than the best nor a quarter of what was learnt. */
  private edgeOf({ best, gap, noise }: Reference): number {
    const { unit, untrained } = this;
    const learnt = unit.from(untrained) - unit.from(best);
    const counts = this.isWhole && untrained - best >= NUMBERS.learntErrors * noise;
    const worth = this.limits.incidentRatio - 1;
    const quarter = unit.byRatio
      ? Math.log1p((worth * learnt) / (unit.from(best) + unit.shift))
      : worth * learnt;
    const ratio = unit.byRatio
      ? Math.log(this.limits.incidentRatio)
      : worth * Math.max(learnt, NUMBERS.learntErrors * noise);
    return gap + best + Math.max(3 * noise, counts ? Math.min(ratio, quarter) : ratio);
  }

  private begin(i: number, onset: number, reference: Reference): void {
    const width = Math.max(NARROWEST, reference.width);
    const last = this.excesses.at(-1);
    // What is high again before it was back for long is one excess.
    const same = last?.recovered != null && onset <= last.recovered + width && !last.lost ? last : null;
    if (same !== null) this.excesses.pop();
    const from = same ?? { ...reference, onset, peak: onset, peakValue: this.at(onset) };
    this.open = {
      onset: from.onset,
      best: from.best,
      gap: from.gap,
      noise: reference.noise,
      width,
      trigger: i,
      edge: same?.edge ?? this.edgeOf(reference),
      peak: from.peak,
      peakValue: from.peakValue,
      highest: same?.highest ?? Number.NEGATIVE_INFINITY,
      early: same?.early ?? Number.NEGATIVE_INFINITY,
      lastFinite: i - 1,
      lost: false,
      recovered: null,
      end: i + 1,
      settled: false,
      last: Number.NaN,
      nextLook: i + decisionAfter(onset, this.limits),
      mostOfFew: same?.mostOfFew ?? Number.NEGATIVE_INFINITY,
      tailOfFew: reference.width > NARROWEST ? this.ladder.rungs[1]!.tail() : Number.NaN,
    };
    this.recent = new RunningMedian(width);
    this.few = new RunningMedian(NARROWEST);
    for (let k = Math.max(from.onset, i + 1 - KEPT); k <= i; k++) this.advance(this.open, k);
  }

  private close(one: Excess, next: number): void {
    one.end = one.recovered ?? next;
    one.last = this.levelOf(lastFrom(one, next), next);
    this.excesses.push(one);
    this.open = null;
  }

  /** One point of an excess: is it over? */
  private advance(one: Excess, i: number): void {
    const z = this.at(i);
    if (Number.isFinite(one.peakValue) && (!Number.isFinite(z) || z > one.peakValue)) {
      one.peak = i;
      one.peakValue = z;
    }
    if (!Number.isFinite(z)) {
      this.recent.clear();
      return;
    }
    one.lastFinite = i;
    this.few.push(z);
    if (this.few.level > one.mostOfFew) one.mostOfFew = this.few.level;
    this.recent.push(z);
    const { level } = this.recent;
    if (Number.isNaN(level)) return;
    if (level > one.highest) one.highest = level;
    if (i - one.onset < 3 * one.width && level > one.early) one.early = level;
    if (i < one.trigger) return;
    if (level <= highestBack(one)) this.recover(one, i);
    else if (i >= one.nextLook && !one.lost) this.look(one, i);
  }

  /** The level is back: the ladder goes on from the first point that is. */
  private recover(one: Excess, i: number): void {
    const highest = highestBack(one);
    let back = i;
    while (back > one.peak + 1 && i - back < one.width && this.at(back - 1) <= highest) back--;
    one.recovered = back;
    this.close(one, i + 1);
    this.ladder.restart();
    for (let k = back; k <= i; k++) if (Number.isFinite(this.at(k))) this.ladder.push(this.at(k), k);
  }

  /** The time to come back is over: it is lost, or stays at a new level, or still rises. */
  private look(one: Excess, i: number): void {
    const time = i + 1 - one.trigger;
    const quarter = Math.max(3, time >> 2);
    const end = this.levelOf(i + 1 - quarter, i + 1);
    const start = this.levelOf(i + 1 - 4 * quarter, i + 1 - 3 * quarter);
    const { ratio, share } = this.heightIn(one, end);
    if (ratio >= this.limits.fullRatio || this.isAll(share, one)) one.lost = true;
    else if (end - start <= this.noiseOfWidth(quarter)) this.settle(one, i, time);
    else one.nextLook = i + (time >> 1);
  }

  /** Standard error of a level of about so many points. */
  private noiseOfWidth(points: number): number {
    const { rungs } = this.ladder;
    const wide = rungs.findLast(({ width, noise }) => width <= points && Number.isFinite(noise));
    return this.noiseOf(wide ?? rungs[0]!);
  }

  /** A new level is the normal from here on: a ladder of its last points. */
  private settle(one: Excess, i: number, time: number): void {
    one.settled = true;
    this.close(one, i + 1);
    this.ladder = new Ladder();
    for (let k = i + 1 - Math.min(KEPT, time >> 1); k <= i; k++)
      if (Number.isFinite(this.at(k))) this.ladder.push(this.at(k), k);
  }
}
