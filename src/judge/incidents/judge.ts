/** Incidents of one series in one attempt: where it leaves its band, whether it comes back, where it climbs. */
import { type Column, readerOf } from '../../model/column.ts';
import { medianInPlace, medianOf } from '../../model/order-statistics.ts';
import { VERDICT_CLASSES, type VerdictClass } from '../../model/report.ts';
import { noiseScale, type RollingBand, rollingBand, type Scale, scaleOf, windowFor } from './bands.ts';
import { findBurst } from './burst.ts';
import type { PlannedRise } from './schedule-restart.ts';
import type { VerdictSettings } from './settings.ts';
import { findStep } from './step.ts';
import { largestIn, levelBetween } from './stretch.ts';
import { findSwell } from './swell.ts';

/** Indices count from the attempt's first point. */
export interface SeriesIncident {
  readonly class: VerdictClass;
  /**
   * `jump`: left the band; `climb`: no jump, but it ends far above its own minimum; `rise`: left its first level before there was a
   * band; `swell`: no jump, but its level rose for a while.
   */
  readonly form: 'jump' | 'climb' | 'rise' | 'swell';
  /** First point outside the band on the way to the trigger. */
  readonly onset: number;
  /** Last point before the onset that was in the band and no worse than the first level; null where there is none. */
  readonly lastGood: number | null;
  /** First point of the level that is back. */
  readonly recovered: number | null;
  /** Where the series ends before the level is back, and another column of the same loss, which goes on, shows it back: the step of its first such point. */
  readonly backIn?: { readonly series: string; readonly step: number };
  /** Position after its last point: its recovery, a new level that is the normal from there on, or the end of the series. */
  readonly end: number;
  /** The worst point: the first non-finite one, else the largest. */
  readonly peak: number;
  /** Median before the incident, in units of the series; NaN where too few points came before. */
  readonly before: number;
  /** Upper edge of the band before the incident, in units of the series; NaN where too few points came before. */
  readonly high: number;
  /** Median of the last points of the incident, in units of the series (before the recovery if it recovered). */
  readonly after: number;
  /** Peak over the median before; Infinity where the peak is not finite. Losses of both signs: see {@link LINEAR_SCALE}. */
  readonly size: number;
  /** Whether `size` is a ratio of two values of the series. */
  readonly byRatio: boolean;
}

/** A point above the band that is no incident. */
export interface Spike {
  readonly index: number;
  readonly scales: number;
  /** Median of the window before, in units of the series. */
  readonly before: number;
}

export interface AttemptJudgement {
  readonly points: number;
  readonly nonFinite: number;
  readonly class: VerdictClass;
  readonly incidents: readonly SeriesIncident[];
  readonly spikes: readonly Spike[];
  /** Rises that are left out of the incidents, because this series comes back from rises like them again and again. */
  readonly usual?: number;
  /** Rises that are left out of the incidents, because the schedule restarted and the loss is what it was at that rate. */
  readonly planned?: readonly PlannedRise[];
  /** Median of the band after the last point, and its upper edge, in units of the series; NaN where too few points make one. */
  readonly band: { readonly median: number; readonly high: number };
}

/** Points of such runs are epochs more often than steps. */
const SHORT_RUN = 100;

const share = (n: number, points: number, part: number): number => Math.max(points, Math.floor(part * n));

/** Lengths, in points, that the settings give for a series of n points. */
export interface Lengths {
  /** The first points, which start no incident by the band. */
  readonly grace: number;
  readonly window: { readonly size: number; readonly start: number };
  /** Points in a row in the band that are a recovery. */
  readonly recovery: number;
  /** Points that an incident has to come back in. */
  readonly decision: number;
}

export function lengthsFor(n: number, settings: VerdictSettings): Lengths {
  return {
    grace: share(n, Math.floor(Math.min(settings.gracePoints, n / 6)), settings.graceShare),
    window: windowFor(n, settings),
    recovery: Math.max(1, Math.min(settings.recoveryPoints, Math.floor(settings.recoveryShare * n))),
    decision: share(n, settings.decisionPoints, settings.decisionShare),
  };
}

/**
 * Judges one attempt of one series.
 *
 * One pass over the points against a band (median and robust scale of the accepted points before); while an incident is
 * open the band stays frozen, and its points are never part of a later band. NaN and ±Infinity are outside every band.
 * Defined on any number of points.
 *
 * @param levelSays whether a level that rises is worth a word: where it is not, an incident that ends as no number begins
 *   where the loss left its band, not where it began to grow
 */
export function judgePoints(values: Column, settings: VerdictSettings, levelSays = true): AttemptJudgement {
  const n = values.length;
  const lengths = lengthsFor(n, settings);
  const scale = scaleOf(values);
  const follower = followPoints(readerOf(values), scale, settings, lengths.window.size);
  for (let i = 0; i < n; i++) follower.step(i, lengths);
  follower.end(n, lengths);
  const { incidents, spikes, nonFinite } = follower;
  const first = firstLevel(values, scale, settings);
  const last = incidents.at(-1);
  if (!incidents.some(({ class: found }) => badness(found) >= badness('full-divergence'))) {
    // An incident that is still open is no climb, unless it rose to the end over much of the run; what came before it may be.
    const isOpen = last?.class === 'inconclusive';
    const climbs = isOpen && risesToEnd(values, last.onset, scale, settings);
    const until = isOpen && !climbs ? values.subarray(0, last.onset) : values;
    const rise = findRise(until, scale, first, lengths, settings);
    const climb =
      rise === null || rise.recovered !== null
        ? findClimb(nonFinite === 0 ? until : until.filter(Number.isFinite), until, scale, settings)
        : null;
    if (climbs && climb !== null) incidents.pop();
    for (const one of [rise, climb]) if (one !== null) incidents.push(one);
    const isTold = incidents.some(({ class: found }) => badness(found) >= badness('drift'));
    const jump = last?.class === 'micro-divergence' && last.recovered !== null ? last : null;
    const step = isOpen || isTold || nonFinite > 0 ? null : findStep(values, scale, lengths, settings, jump);
    if (step !== null) addStep(step, incidents, values, scale, lengths, settings);
    const swell = incidents.length === 0 ? findSwell(values, scale, lengths, settings) : null;
    if (swell !== null) incidents.push(swell);
    const burst = levelSays ? findBurst(values, scale, lengths, settings) : null;
    if (burst !== null && incidents.every(({ onset }) => onset >= burst.end)) incidents.push(burst);
    incidents.sort((a, b) => a.onset - b.onset);
  }
  if (levelSays && last?.class === 'non-finite' && last.recovered === null) {
    const head = values.subarray(0, last.onset);
    const led =
      findRise(head, scale, first, lengths, settings) ??
      findClimb(nonFinite === 0 ? head : head.filter(Number.isFinite), head, scale, settings);
    if (led?.class === 'full-divergence' && led.recovered === null) beginAt(led, incidents);
  }
  beginAtFirstLevel(incidents, values, scale, first, settings);
  const enough = n - nonFinite >= settings.minimumPoints;
  return {
    points: n,
    nonFinite,
    class: worstOf(incidents)?.class ?? (enough ? 'healthy' : 'inconclusive'),
    incidents,
    spikes,
    band: follower.band(lengths),
  };
}

/** Position in the order from harmless to worst. */
export const badness = (verdict: VerdictClass): number => VERDICT_CLASSES.indexOf(verdict);

/** Of the worst class the largest, of those the first: it decides class and onset. */
export const worstOf = <T extends { readonly class: VerdictClass; readonly size?: number }>(
  incidents: readonly T[],
): T | undefined =>
  incidents.reduce<T | undefined>((worst, next) => {
    if (worst === undefined) return next;
    const worse = badness(next.class) - badness(worst.class);
    return worse > 0 || (worse === 0 && (next.size ?? 0) > (worst.size ?? 0)) ? next : worst;
  }, undefined);

/** Upper edge of the band; NaN (which nothing exceeds) where there is no band yet. */
const bandLimit = (center: number, spread: number, scale: Scale, settings: VerdictSettings): number =>
  Math.max(center + settings.bandScales * spread, scale.above(center, settings.bandRatio, spread));

/** Heights that come again and again are at most so many scales: see {@link RollingBand.tails}. */
const TAIL_SCALES = 4;

/** The scale of the band for a point at `y`: wider where points as high are usual. Looks at the tails only for what the plain band does not hold. */
const spreadFor = (y: number, band: RollingBand, scale: Scale, settings: VerdictSettings): number => {
  const { center, scale: spread } = band;
  return y > bandLimit(center, spread, scale, settings) ? Math.max(spread, band.tails / TAIL_SCALES) : spread;
};

/** The share of a run after which an incident that is still open where the log ends is judged, though its decision window is longer. */
const OPEN_SHARE = 1 / 4;

/** Whether an incident at the end of a run of few points has taken as much of it as it has to. */
const tookItsShare = (onset: number, n: number, { shortOpenShare }: VerdictSettings): boolean =>
  n - onset >= shortOpenShare * n;

/** An incident that is not over yet. */
interface OpenIncident {
  readonly onset: number;
  readonly trigger: number;
  /** Median and robust scale before it, on the scale, and the edges of its band and of a level that is back, also in units of the series. */
  readonly center: number;
  readonly spread: number;
  readonly limit: number;
  readonly levelLimit: number;
  readonly levelValue: number;
  peak: number;
  peakValue: number;
  lastFinite: number;
  /** The last point that was a new peak, or not finite. */
  worse: number;
  /** First point of the level that is back since then, up to the last point; −1 where it is not. */
  back: number;
  /** Points in a row in the band, up to the last. */
  inBand: number;
  /** Whether the decision window ended without a way back. */
  lost: boolean;
}

/**
 * Follows a series point by point: its spikes, its incidents in the order of their onsets, and which one is open. Of a series that still grows
 * the lengths are those of the points so far.
 *
 * @param at the value at a position
 * @param capacity the largest window that the lengths will have, in points
 * @param reach how many positions, up to the last, can be asked for
 */
export function followPoints(
  at: (index: number) => number,
  scale: Scale,
  settings: VerdictSettings,
  capacity: number,
  reach = Number.POSITIVE_INFINITY,
) {
  const band = rollingBand(capacity, settings.smallSample);
  const incidents: SeriesIncident[] = [];
  const spikes: Spike[] = [];
  let nonFinite = 0;
  /** First of the current run of points outside the band, and the median there. */
  let outSince = -1;
  let outCenter = Number.NaN;
  let open: OpenIncident | null = null;
  /** Where the last incident that settled at a new level was closed. */
  let settledAt = -1;

  /** Median of the last `count` points before `end`; Infinity where half of them are not finite. */
  const levelBefore = (end: number, count: number): number => {
    const from = Math.max(0, end - count);
    const last = new Float64Array(end - from);
    for (let i = from; i < end; i++)
      last[i - from] = Number.isFinite(at(i)) ? at(i) : Number.POSITIVE_INFINITY;
    const level = medianInPlace(last);
    return Number.isNaN(level) ? Number.POSITIVE_INFINITY : level;
  };
  /**
   * Whether an incident that is open after n points had the time that its run can give, a quarter of it, and would end its decision
   * window above `fullRatio` did it go on as since its middle.
   */
  const staysOut = (incident: OpenIncident, n: number, { recovery, decision }: Lengths): boolean => {
    const { onset, trigger, center, spread } = incident;
    const count = Math.max(3, recovery);
    const half = Math.floor((n - onset - count) / 2);
    if (half < 1 || n - onset < OPEN_SHARE * n) return false;
    const level = scale.to(levelBefore(n, count));
    const fall = Math.max(0, scale.to(levelBefore(n - half, count)) - level) / half;
    return level - fall * (trigger + decision - n) > scale.above(center, settings.fullRatio, spread);
  };
  const close = (
    incident: OpenIncident,
    found: Pick<SeriesIncident, 'class' | 'recovered'>,
    next: number,
    { recovery }: Lengths,
  ): void => {
    const { onset, peak, center, limit, spread } = incident;
    const { recovered } = found;
    // Where nothing came back the points before the onset say nothing of its last level, however few came after it.
    const last = Math.max(3, recovery);
    incidents.push({
      ...found,
      form: 'jump',
      onset,
      lastGood: onset > 0 ? onset - 1 : null,
      end: recovered ?? next,
      peak,
      before: scale.from(center),
      high: scale.from(limit),
      after:
        recovered === null ? levelBefore(next, Math.min(last, next - onset)) : levelBefore(recovered, last),
      size: sizeOf(at(peak), center, spread, scale),
      byRatio: scale.byRatio,
    });
  };
  /** Points that belong to the band of what follows. */
  const accept = (from: number, to: number): void => {
    for (let k = from; k < to; k++) {
      const y = scale.to(at(k));
      if (Number.isFinite(y)) band.push(y);
    }
  };
  /** One point of an open incident: is it over? */
  const advance = (incident: OpenIncident, i: number, lengths: Lengths): void => {
    const { recovery, decision } = lengths;
    const { center, limit, levelLimit } = incident;
    const value = at(i);
    const y = scale.to(value);
    if (Number.isFinite(y)) incident.lastFinite = i;
    else nonFinite++;
    if (Number.isFinite(incident.peakValue) && (!Number.isFinite(value) || value > incident.peakValue)) {
      incident.peak = i;
      incident.peakValue = value;
      incident.worse = i;
    } else if (!Number.isFinite(value)) incident.worse = i;
    incident.inBand = Number.isFinite(y) && !(y > limit) ? incident.inBand + 1 : 0;
    incident.back = backSince(incident, i, recovery);
    const { inBand, back } = incident;
    const cameBack = incident.lost ? 'full-divergence' : 'micro-divergence';
    if (inBand > 0 && inBand % recovery === 0 && !(scale.to(levelBefore(i + 1, recovery)) > levelLimit)) {
      const proof = i + 1 - recovery;
      close(
        incident,
        { class: cameBack, recovered: back < 0 ? proof : Math.min(back, proof) },
        i + 1,
        lengths,
      );
      accept(proof, i + 1);
      open = null;
      return;
    }
    const deadline = incident.trigger + decision - 1;
    const late = incident.lost && back >= 0 && i - back >= decision;
    if (!late && (incident.lost || i < deadline || (inBand > 0 && i < deadline + recovery))) return;
    const level = scale.to(levelBefore(i + 1, recovery));
    if (!late && !(level <= scale.above(center, settings.fullRatio, incident.spread))) {
      incident.lost = true;
      return;
    }
    // Neither in the band nor lost. Either the level is back, and the noise is larger than it was; or there is a new level. What follows is judged
    // against that.
    const partial =
      back < 0 && level > scale.above(center, settings.driftRatio, incident.spread) ? 'drift' : cameBack;
    close(incident, { class: partial, recovered: back < 0 ? null : back }, i + 1, lengths);
    settledAt = i + 1;
    band.clear();
    accept(Math.max(back < 0 ? incident.onset : back, i + 1 - Math.min(decision, reach)), i + 1);
    open = null;
  };
  /**
   * Since when the level is back: more than half of the last `recovery` points are no higher than a level that is back, none of
   * them is a new peak or not finite, and it has been so without a break. The first of these in the band; −1 where it is not.
   */
  const backSince = (incident: OpenIncident, i: number, recovery: number): number => {
    const from = i + 1 - recovery;
    if (from <= incident.worse) return -1;
    let low = 0;
    for (let k = from; k <= i; k++) if (at(k) <= incident.levelValue) low++;
    if (low <= recovery / 2) return -1;
    if (incident.back >= 0) return incident.back;
    for (let k = from; k <= i; k++) if (!(scale.to(at(k)) > incident.limit)) return k;
    return -1;
  };

  return {
    incidents,
    spikes,
    get nonFinite() {
      return nonFinite;
    },
    /** The incident that the last point belongs to; null where there is none. */
    get open(): OpenIncident | null {
      return open;
    },
    /** Median of the band as it is now, and its upper edge, in units of the series; NaN where there are too few points. */
    band({ window }: Lengths): { readonly median: number; readonly high: number } {
      if (band.points < window.start) return { median: Number.NaN, high: Number.NaN };
      const spread = Math.max(band.scale, band.tails / TAIL_SCALES);
      const limit = bandLimit(band.center, spread, scale, settings);
      return { median: scale.from(band.center), high: scale.from(limit) };
    },
    /** Takes the next point. */
    step(i: number, lengths: Lengths): void {
      if (open !== null) {
        advance(open, i, lengths);
        return;
      }
      band.resize(lengths.window.size);
      const y = scale.to(at(i));
      const finite = Number.isFinite(y);
      const judged = band.points >= lengths.window.start;
      const center = judged ? band.center : Number.NaN;
      // What lies no higher than the center lies in every band: its scale, which costs more, is not asked for.
      const low = finite && y <= center;
      const spread = judged && !low ? spreadFor(y, band, scale, settings) : Number.NaN;
      const inBand = low || (finite && !(y > bandLimit(center, spread, scale, settings)));
      if (inBand) outSince = -1;
      else if (outSince < 0) {
        outSince = i;
        outCenter = center;
      }
      // A user may set a band that is wider than the jump that starts an incident: what lies in it is none.
      const jump =
        !inBand &&
        y - center > settings.incidentScales * spread &&
        y > scale.above(center, settings.incidentRatio, spread);
      if (!finite || (jump && i >= lengths.grace)) {
        while (spikes.length > 0 && spikes.at(-1)!.index >= outSince) spikes.pop();
        let peak = Math.max(outSince, i + 1 - reach);
        for (let k = peak; k < i; k++) if (at(k) > at(peak)) peak = k;
        // Where the noise is large the band alone is no proof: the level of the points that are back in it must be back too.
        const levelLimit = Math.max(
          scale.above(outCenter, settings.incidentRatio, spread),
          outCenter + (settings.bandScales * spread) / Math.sqrt(lengths.recovery),
        );
        open = {
          onset: outSince,
          trigger: i,
          center: outCenter,
          spread,
          limit: bandLimit(outCenter, spread, scale, settings),
          levelLimit,
          levelValue: Number.isNaN(levelLimit) ? Number.POSITIVE_INFINITY : scale.from(levelLimit),
          peak,
          peakValue: at(peak),
          lastFinite: i - 1,
          worse: peak,
          back: -1,
          inBand: 0,
          lost: false,
        };
        advance(open, i, lengths);
        outSince = -1;
        return;
      }
      const spikeLimit =
        spread > 0 ? settings.spikeScales * spread : scale.above(center, settings.bandRatio, 0) - center;
      if (y - center > spikeLimit && i >= lengths.grace)
        spikes.push({ index: i, scales: (y - center) / spread, before: scale.from(center) });
      band.push(y);
    },
    /** Ends the series after n points: what becomes of an incident that is open. */
    end(n: number, lengths: Lengths): void {
      if (open === null) {
        if (settledAt === n && !Number.isFinite(scale.to(at(n - 1))))
          incidents.push({ ...incidents.pop()!, class: 'non-finite' });
        return;
      }
      const { onset, inBand, lastFinite, lost, center, levelLimit, spread } = open;
      const { recovery } = lengths;
      // Where the log ends, a quarter of the recovery is enough: else one spike near the end leaves every run open.
      const fewer = Math.max(Math.min(recovery, 3), Math.ceil(recovery / 4));
      const atLast = inBand >= fewer && !(scale.to(levelBefore(n, inBand)) > levelLimit);
      const stays = open.back >= 0 && !(scale.to(levelBefore(n, fewer)) > levelLimit);
      const back = atLast || stays;
      const recovered = back ? Math.min(atLast ? n - inBand : n, open.back < 0 ? n : open.back) : null;
      const isShort = n < SHORT_RUN && tookItsShare(onset, n, settings);
      const ratio = isShort
        ? settings.fullRatioShort
        : n >= SHORT_RUN && staysOut(open, n, lengths)
          ? settings.fullRatio
          : settings.fullRatioAtEnd;
      const atEnd = scale.above(center, ratio, spread);
      const gone = scale.to(levelBefore(n, Math.max(3, recovery))) > atEnd;
      close(
        open,
        {
          class:
            lastFinite < n - 1
              ? 'non-finite'
              : lost
                ? 'full-divergence'
                : back
                  ? 'micro-divergence'
                  : gone
                    ? 'full-divergence'
                    : 'inconclusive',
          recovered,
        },
        n,
        lengths,
      );
      if (recovered !== null) accept(recovered, n);
      open = null;
    },
  };
}

/**
 * Whether an incident that is open where the log ends did not jump and may come back, but went up all the way: its last
 * sixth is above its middle, and that above its first, each by as much as starts an incident.
 */
function risesToEnd(values: Column, onset: number, scale: Scale, settings: VerdictSettings): boolean {
  const rest = values.subarray(onset).filter(Number.isFinite);
  const sixth = Math.floor(rest.length / 6);
  if (sixth === 0 || values.length - onset < OPEN_SHARE * values.length) return false;
  const noise = noiseScale(rest, scale.to);
  const levelAt = (start: number): number => scale.to(medianOf(rest.subarray(start, start + sixth)));
  const middle = levelAt(Math.floor((rest.length - sixth) / 2));
  const isAbove = (one: number, other: number): boolean =>
    one > scale.above(other, settings.incidentRatio, noise);
  return isAbove(middle, levelAt(0)) && isAbove(levelAt(rest.length - sixth), middle);
}

/**
 * A climb: the smoothed series (medians of twentieths of the attempt) ends above `driftRatio` times its own minimum, by
 * more than noise explains, and does not fall. The comparison is with the best level and not with the first: a run may
 * improve, climb, and still end below its start. The first few points count as a level too, for a loss that climbs at once.
 */
function findClimb(
  finite: Column,
  values: Column,
  scale: Scale,
  settings: VerdictSettings,
): SeriesIncident | null {
  const n = finite.length;
  if (n < Math.max(settings.minimumPoints, settings.windowStart)) return null;
  // Only levels go through the scale (a median is the same before and after): a million logarithms are left out.
  const levelOf = (start: number, end: number): number => scale.to(medianOf(finite.subarray(start, end)));
  const size = n < SHORT_RUN ? 1 : Math.floor(n / 20);
  const noise = noiseScale(finite, scale.to);
  const tolerance = (width: number): number => (settings.driftScales * noise) / Math.sqrt(width);
  const levels: { readonly start: number; readonly end: number; readonly level: number }[] = [];
  for (let width = 1; width < size; width *= 4)
    levels.push({ start: 0, end: width, level: levelOf(0, width) });
  // In a short run a level may be one point, but one of many draws is far off by chance: three make one sooner.
  for (const width of n < SHORT_RUN ? [1, 3] : [size])
    for (let start = n % width; start < n; start += width)
      levels.push({ start, end: start + width, level: levelOf(start, start + width) });
  const last = levelOf(n - Math.max(size, 3), n);
  let best = levels.at(-1)!;
  for (const level of levels) {
    const width = level.end - level.start;
    const least = size === 1 && width === 1 ? settings.driftPointScales * noise : tolerance(width);
    if (level.level <= best.level && last - level.level > least) best = level;
  }
  if (!(last > scale.above(best.level, settings.driftRatio, noise))) return null;
  // On the way back: a third of the climb is regained within the last quarter.
  const highest = Math.max(...levels.slice(-5).map(({ level }) => level));
  if (highest - last > (highest - best.level) / 3) return null;
  // Onset: where the sum of the excess over the edge of the band is lowest, the usual estimate of a change point. The
  // summands are clipped so that one spike does not outweigh what follows.
  const edge = Math.max(scale.above(best.level, settings.bandRatio, noise), best.level + tolerance(size));
  const at = readerOf(finite);
  let sum = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let onset = n;
  for (let k = best.start; k < n; k++) {
    sum += Math.min(scale.to(at(k)) - edge, edge - best.level);
    if (sum <= lowest) {
      lowest = sum;
      onset = k + 1;
    }
  }
  if (onset >= n) return null;
  // The level at the end is that of its last points: the climb to it began no later, whichever of them are low by chance.
  onset = Math.min(onset, n - Math.max(size, 3));
  const peak = largestIn(finite, onset, n);
  // Positions among the finite points, as positions among all of them.
  const index = (k: number): number => {
    if (n === values.length) return k;
    let seen = -1;
    return values.findIndex((value) => Number.isFinite(value) && ++seen === k);
  };
  const isOpen = n < SHORT_RUN && !tookItsShare(onset, n, settings);
  return {
    class:
      last > scale.above(best.level, settings.driftFullRatio, noise)
        ? 'full-divergence'
        : isOpen
          ? 'inconclusive'
          : 'drift',
    form: 'climb',
    onset: index(onset),
    lastGood: onset > 0 ? index(onset - 1) : null,
    recovered: null,
    end: values.length,
    peak: index(peak),
    before: scale.from(best.level),
    high: scale.from(edge),
    after: scale.from(last),
    size: sizeOf(at(peak), best.level, noise, scale),
    byRatio: scale.byRatio,
  };
}

/**
 * Adds a step. A jump that was taken for back on a step, by the few points that had to be low for that, is the beginning of the step: it
 * stays. What else lies on the step is a part of it.
 */
function addStep(
  step: SeriesIncident,
  incidents: SeriesIncident[],
  values: Column,
  scale: Scale,
  { recovery, decision }: Lengths,
  settings: VerdictSettings,
): void {
  incidents.sort((a, b) => a.onset - b.onset);
  const first = incidents.findIndex(({ end }) => end >= step.onset);
  const [jump] = first < 0 ? [] : incidents.splice(first);
  if (jump === undefined || jump.onset > step.onset + recovery) {
    incidents.push(step);
    return;
  }
  const n = values.length;
  const onset = Math.min(jump.onset, step.onset);
  const peak = largestIn(values, onset, n);
  const lost = n < SHORT_RUN ? settings.fullRatioShort : settings.fullRatio;
  const isOpen =
    n < SHORT_RUN ? !tookItsShare(onset, n, settings) : n - onset < Math.min(decision, OPEN_SHARE * n);
  const [before, after] = [scale.to(step.before), scale.to(step.after)];
  const isLost = after > scale.above(before, lost, 0);
  incidents.push({
    ...step,
    class: isOpen ? 'inconclusive' : isLost ? 'full-divergence' : step.class,
    form: 'jump',
    onset,
    lastGood: onset > 0 ? onset - 1 : null,
    peak,
    size: scale.ratioOf(before, scale.to(values.at(peak)!), 0),
  });
}

/** How many times the level before a peak is. */
const sizeOf = (peak: number, center: number, noise: number, scale: Scale): number =>
  Number.isFinite(peak) ? scale.ratioOf(center, scale.to(peak), noise) : Number.POSITIVE_INFINITY;

/**
 * The last incident, which ends as no number, begins where a rise or climb to it does that is a divergence by itself: cut right before
 * the first such value, the same losses diverge there. What lies between is of that incident.
 */
function beginAt({ onset, before, high, size }: SeriesIncident, incidents: SeriesIncident[]): void {
  const last = incidents.at(-1)!;
  while (incidents.length > 0 && incidents.at(-1)!.onset >= onset) incidents.pop();
  incidents.push({ ...last, onset, before, high, size });
}

/** Where a loss began, on the scale: what a last good step is no worse than, and what a rise in warm-up is measured from. */
interface FirstLevel {
  readonly level: number;
  /** Scale of the noise of the first points. */
  readonly noise: number;
  /** The highest that a point of that level is. */
  readonly edge: number;
}

/** Points that make a first level at least. */
const FIRST_POINTS = 3;

/**
 * The first level: of the first max(5, min(20, n/8)) finite points the lowest median of three and more from the first on, so that a loss that rises at
 * the third does not count as its own beginning. NaN where there are fewer.
 */
function firstLevel(values: Column, scale: Scale, settings: VerdictSettings): FirstLevel {
  const count = Math.max(5, Math.min(settings.windowStart, Math.floor(values.length / 8)));
  const first: number[] = [];
  for (let i = 0; i < values.length && first.length < count; i++) {
    const y = scale.to(values.at(i)!);
    if (Number.isFinite(y)) first.push(y);
  }
  let level = Number.NaN;
  for (let k = FIRST_POINTS; k <= first.length; k++) {
    const median = medianInPlace(Float64Array.from(first.slice(0, k)));
    if (!(median >= level)) level = median;
  }
  const noise = noiseScale(Float64Array.from(first), (y) => y);
  return { level, noise, edge: scale.above(level, settings.incidentRatio, noise) };
}

/**
 * Last good points that are no worse than the first level. An incident that no band saw coming, because it was over before there was one, begins
 * where the loss left twice its first level.
 *
 * @param incidents in the order of their onsets; changed in place
 */
function beginAtFirstLevel(
  incidents: SeriesIncident[],
  values: Column,
  scale: Scale,
  { level, noise, edge }: FirstLevel,
  settings: VerdictSettings,
): void {
  if (Number.isNaN(edge)) return;
  const highest = scale.from(edge);
  const doubled = scale.from(scale.above(level, settings.fullRatio, noise));
  const at = readerOf(values);
  let lastGood = -1;
  let i = 0;
  for (const [k, incident] of incidents.entries()) {
    let { onset } = incident;
    if (Number.isNaN(incident.before)) while (onset > 0 && at(onset - 1) > doubled) onset--;
    for (; i < onset; i++) if (at(i) <= highest && Number.isFinite(at(i))) lastGood = i;
    incidents[k] = { ...incident, onset, lastGood: lastGood < 0 || lastGood >= onset ? null : lastGood };
  }
}

/** Of the points of a rise so many lie above the first level. */
const RISE_SHARE = 0.9;

/**
 * A rise over the first level before there is a band, that lasts: nine of ten points of its decision window are above that level, and the end of the window is
 * half above it. What comes back within the window is how trainings start, but for a burst (burst.ts). One that comes back later counts if it had doubled the loss.
 */
function findRise(
  values: Column,
  scale: Scale,
  { level, noise, edge }: FirstLevel,
  lengths: Lengths,
  settings: VerdictSettings,
): SeriesIncident | null {
  const n = values.length;
  const { recovery, decision } = lengths;
  const above = (ratio: number): number => scale.from(scale.above(level, ratio, noise));
  const highest = scale.from(edge);
  const risen = Math.max(above(settings.driftRatio), scale.from(level + settings.driftScales * noise));
  // Where the loss is first above it, after the points that the level is of.
  const until = Math.min(n, Math.max(lengths.grace, lengths.window.start));
  const at = readerOf(values);
  let onset = FIRST_POINTS - 1;
  while (onset < until && !(at(onset) > risen)) onset++;
  while (onset > 1 && at(onset - 1) > highest) onset--;
  const deadline = Math.min(n, onset + decision);
  if (!(onset < until) || deadline - onset < settings.minimumPoints) return null;
  const levelAt = (end: number): number => levelBetween(values, end - Math.max(3, recovery), end);
  let low = 0;
  for (let i = onset; i < deadline; i++) if (at(i) <= highest) low++;
  if (low > (1 - RISE_SHARE) * (deadline - onset) || !(levelAt(deadline) > risen)) return null;
  const last = levelAt(n);
  const lost = above(n < SHORT_RUN ? settings.fullRatioShort : settings.fullRatio);
  let recovered: number | null = null;
  if (!(last > risen)) {
    if (!(levelAt(deadline) > above(settings.fullRatio))) return null;
    recovered = deadline;
    while (recovered < n && !(levelAt(Math.min(n, recovered + recovery)) <= highest)) recovered++;
    if (recovered === n) recovered = null;
  }
  const end = recovered ?? n;
  const peak = largestIn(values, onset, end);
  return {
    class: !(last > risen) ? 'micro-divergence' : last > lost ? 'full-divergence' : 'drift',
    form: 'rise',
    onset,
    lastGood: null,
    recovered,
    end,
    peak,
    before: scale.from(level),
    high: highest,
    after: levelAt(end),
    size: sizeOf(at(peak), level, noise, scale),
    byRatio: scale.byRatio,
  };
}
