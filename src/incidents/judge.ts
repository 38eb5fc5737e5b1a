/** Incidents of one series in one attempt: where it leaves its band, whether it comes back, where it climbs. */
import { medianInPlace } from '../model/order-statistics.ts';
import { VERDICT_CLASSES, type VerdictClass } from '../model/report.ts';
import { noiseScale, rollingBand, type Scale, scaleOf, windowFor } from './bands.ts';
import type { VerdictSettings } from './settings.ts';

/** Indices count from the attempt's first point. */
export interface SeriesIncident {
  readonly class: VerdictClass;
  /** `jump`: left the band; `climb`: no jump, but it ends far above its own minimum. */
  readonly form: 'jump' | 'climb';
  /** First point outside the band on the way to the trigger. */
  readonly onset: number;
  /** Last point before the onset, which was in the band; null where there is none. */
  readonly lastGood: number | null;
  /** First point of the stretch that counts as recovery. */
  readonly recovered: number | null;
  /** The worst point: the first non-finite one, else the largest. */
  readonly peak: number;
  /** Median before the incident, in units of the series; NaN where too few points came before. */
  readonly before: number;
  /** Median of the last points of the incident, in units of the series (before the recovery if it recovered). */
  readonly after: number;
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
}

/** Points of such runs are epochs more often than steps. */
const SHORT_RUN = 100;

const share = (n: number, points: number, part: number): number => Math.max(points, Math.floor(part * n));

/** The lengths, in points, that the settings give for an attempt of n points. */
function lengthsFor(n: number, settings: VerdictSettings) {
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
 */
export function judgePoints(values: Float64Array, settings: VerdictSettings): AttemptJudgement {
  const n = values.length;
  const lengths = lengthsFor(n, settings);
  const scale = scaleOf(values);
  const band = rollingBand(lengths.window.size, settings.smallSample);
  const incidents: SeriesIncident[] = [];
  const spikes: Spike[] = [];
  let nonFinite = 0;
  /** First of the current run of points outside the band, and the band there. */
  let outSince = -1;
  let outCenter = Number.NaN;
  let i = 0;
  while (i < n) {
    const y = scale.to(values[i]!);
    const finite = Number.isFinite(y);
    const judged = band.points >= lengths.window.start;
    const center = judged ? band.center : Number.NaN;
    const spread = judged ? band.scale : Number.NaN;
    const inBand = finite && !(y > bandLimit(center, spread, scale, settings));
    if (inBand) outSince = -1;
    else if (outSince < 0) {
      outSince = i;
      outCenter = center;
    }
    // A user may set a band that is wider than the jump that starts an incident: what lies in it is none.
    const jump =
      !inBand &&
      y - center > settings.incidentScales * spread &&
      y > scale.above(center, settings.incidentRatio);
    if (!finite || (jump && i >= lengths.grace)) {
      while (spikes.length > 0 && spikes.at(-1)!.index >= outSince) spikes.pop();
      const incident = followIncident(values, scale, settings, outSince, i, outCenter, spread);
      incidents.push(incident.found);
      nonFinite += incident.nonFinite;
      if (incident.rebase) band.clear();
      for (let k = incident.resume; k < incident.next; k++) {
        const accepted = scale.to(values[k]!);
        if (Number.isFinite(accepted)) band.push(accepted);
      }
      i = incident.next;
      outSince = -1;
      continue;
    }
    const spikeLimit =
      spread > 0 ? settings.spikeScales * spread : scale.above(center, settings.bandRatio) - center;
    if (y - center > spikeLimit && i >= lengths.grace)
      spikes.push({ index: i, scales: (y - center) / spread, before: scale.from(center) });
    band.push(y);
    i++;
  }
  const last = incidents.at(-1);
  if (!incidents.some(({ class: found }) => badness(found) >= badness('full-divergence'))) {
    // An incident that is still open is no climb; what came before it may be.
    const until = last?.class === 'inconclusive' ? values.subarray(0, last.onset) : values;
    const climb = findClimb(nonFinite === 0 ? until : until.filter(Number.isFinite), until, scale, settings);
    if (climb !== null) incidents.push(climb);
    incidents.sort((a, b) => a.onset - b.onset);
  }
  const enough = n - nonFinite >= settings.minimumPoints;
  return {
    points: n,
    nonFinite,
    class: worstClass(incidents.map((incident) => incident.class)) ?? (enough ? 'healthy' : 'inconclusive'),
    incidents,
    spikes,
  };
}

/** Position in the order from harmless to worst. */
export const badness = (verdict: VerdictClass): number => VERDICT_CLASSES.indexOf(verdict);

const worstClass = (classes: readonly VerdictClass[]): VerdictClass | undefined =>
  classes.reduce<VerdictClass | undefined>(
    (worst, next) => (worst === undefined || badness(next) > badness(worst) ? next : worst),
    undefined,
  );

/** Upper edge of the band; NaN (which nothing exceeds) where there is no band yet. */
const bandLimit = (center: number, spread: number, scale: Scale, settings: VerdictSettings): number =>
  Math.max(center + settings.bandScales * spread, scale.above(center, settings.bandRatio));

/** Follows an incident that was triggered at `trigger` to its end: recovery, the end of the log, or a verdict. */
function followIncident(
  values: Float64Array,
  scale: Scale,
  settings: VerdictSettings,
  onset: number,
  trigger: number,
  center: number,
  spread: number,
) {
  const n = values.length;
  const { recovery, decision } = lengthsFor(n, settings);
  const limit = bandLimit(center, spread, scale, settings);
  // Where the noise is large the band alone is no proof: the level of the points that are back in it must be back too.
  const levelLimit = Math.max(
    scale.above(center, settings.incidentRatio),
    center + (settings.bandScales * spread) / Math.sqrt(recovery),
  );
  const deadline = trigger + decision - 1;
  let lost = false;
  let inBand = 0;
  let nonFinite = 0;
  let lastFinite = -1;
  let peak = onset;
  let i = onset;
  let partial: VerdictClass | undefined;
  let back = false;
  for (; i < n && !back; i++) {
    const value = values[i]!;
    const y = scale.to(value);
    if (Number.isFinite(y)) lastFinite = i;
    else nonFinite++;
    if (Number.isFinite(values[peak]!) && (!Number.isFinite(value) || value > values[peak]!)) peak = i;
    inBand = Number.isFinite(y) && !(y > limit) ? inBand + 1 : 0;
    back =
      inBand > 0 && inBand % recovery === 0 && !(scale.to(levelBefore(values, i + 1, recovery)) > levelLimit);
    if (!back && !lost && i >= deadline && (inBand === 0 || i === deadline + recovery)) {
      const level = scale.to(levelBefore(values, i + 1, recovery));
      if (!(level <= scale.above(center, settings.fullRatio))) lost = true;
      else {
        // Neither back nor lost: a new level. Say so, and judge what follows against that level.
        partial = level > scale.above(center, settings.driftRatio) ? 'drift' : 'micro-divergence';
        i++;
        break;
      }
    }
  }
  // Where the log ends, a quarter of the recovery is enough: else one spike near the end leaves every run open.
  const fewer = Math.max(Math.min(recovery, 3), Math.ceil(recovery / 4));
  const backAtEnd =
    !back && i === n && inBand >= fewer && !(scale.to(levelBefore(values, n, inBand)) > levelLimit);
  const recovered = back ? i - recovery : backAtEnd ? n - inBand : null;
  const endsNonFinite = i === n && lastFinite < n - 1;
  const after = levelBefore(values, recovered ?? i, Math.max(3, recovery));
  const atEnd = scale.above(center, n < SHORT_RUN ? settings.fullRatioShort : settings.fullRatioAtEnd);
  const found: SeriesIncident = {
    class: endsNonFinite
      ? 'non-finite'
      : lost
        ? 'full-divergence'
        : recovered !== null
          ? 'micro-divergence'
          : (partial ?? (scale.to(after) > atEnd ? 'full-divergence' : 'inconclusive')),
    form: 'jump',
    onset,
    lastGood: onset > 0 ? onset - 1 : null,
    recovered,
    peak,
    before: scale.from(center),
    after,
  };
  return {
    found,
    nonFinite,
    next: i,
    /** Points from here to `next` belong to the band of what follows. */
    resume: recovered ?? (partial === undefined ? n : Math.max(onset, i - decision)),
    rebase: partial !== undefined,
  };
}

/** Median of the last `count` points before `end`; Infinity where half of them are not finite. */
function levelBefore(values: Float64Array, end: number, count: number): number {
  const last = values
    .slice(Math.max(0, end - count), end)
    .map((value) => (Number.isFinite(value) ? value : Infinity));
  const level = medianInPlace(last);
  return Number.isNaN(level) ? Number.POSITIVE_INFINITY : level;
}

/**
 * A climb: the smoothed series (medians of twentieths of the attempt) ends above `driftRatio` times its own minimum, by
 * more than noise explains, and does not fall. The comparison is with the best level and not with the first: a run may
 * improve, climb, and still end below its start. The first few points count as a level too, for a loss that climbs at once.
 */
function findClimb(
  finite: Float64Array,
  values: Float64Array,
  scale: Scale,
  settings: VerdictSettings,
): SeriesIncident | null {
  const n = finite.length;
  if (n < Math.max(settings.minimumPoints, settings.windowStart)) return null;
  // Only levels go through the scale (a median is the same before and after): a million logarithms are left out.
  const levelOf = (start: number, end: number): number => scale.to(medianInPlace(finite.slice(start, end)));
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
  if (!(last > scale.above(best.level, settings.driftRatio))) return null;
  // On the way back: a third of the climb is regained within the last quarter.
  const highest = Math.max(...levels.slice(-5).map(({ level }) => level));
  if (highest - last > (highest - best.level) / 3) return null;
  // Onset: where the sum of the excess over the edge of the band is lowest, the usual estimate of a change point. The
  // summands are clipped so that one spike does not outweigh what follows.
  const edge = Math.max(scale.above(best.level, settings.bandRatio), best.level + tolerance(size));
  let sum = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let onset = n;
  for (let k = best.start; k < n; k++) {
    sum += Math.min(scale.to(finite[k]!) - edge, edge - best.level);
    if (sum <= lowest) {
      lowest = sum;
      onset = k + 1;
    }
  }
  if (onset >= n) return null;
  let peak = onset;
  for (let k = onset; k < n; k++) if (finite[k]! > finite[peak]!) peak = k;
  // Positions among the finite points, as positions among all of them.
  const index = (k: number): number => {
    if (n === values.length) return k;
    let seen = -1;
    return values.findIndex((value) => Number.isFinite(value) && ++seen === k);
  };
  return {
    class: last > scale.above(best.level, settings.driftFullRatio) ? 'full-divergence' : 'drift',
    form: 'climb',
    onset: index(onset),
    lastGood: onset > 0 ? index(onset - 1) : null,
    recovered: null,
    peak: index(peak),
    before: scale.from(best.level),
    after: scale.from(last),
  };
}
