/**
 * Verdicts on rules: from the losses of a closed loop, or as an estimate from the updates at the incident.
 *
 * The band of a series: median and robust scale (1.4826·MAD) of the log of the loss over the points before; in the band
 * is whatever is not above the median by more than 6 scales and 5 %. An incident begins where the loss is more than 8
 * scales and 25 % above the median, or not finite; its onset is the first step outside of the band on the way there.
 * Losses that can be ≤ 0 are taken as they are.
 */
import { formatNumber } from '../model/format-number.ts';
import { medianOf } from '../model/order-statistics.ts';
import type { ReplayVerdict } from '../model/replay.ts';

/** Least rise of the log of the loss, or of the loss relative to the median, that leaves the band or is an incident. */
const FLOOR = { band: 0.05, incident: 0.25 } as const;
const SCALES = { band: 6, incident: 8 } as const;

export interface LossBand {
  readonly median: number;
  /** Largest loss in the band, and the loss above which an incident begins. */
  readonly high: number;
  readonly incidentAbove: number;
  readonly points: number;
}

/** The band that finite losses before a point make. */
export function bandOf(before: readonly number[]): LossBand {
  const finite = before.filter(Number.isFinite);
  const logs = finite.every((loss) => loss > 0);
  const values = logs ? finite.map(Math.log) : finite;
  const center = medianOf(values);
  const scale = 1.4826 * medianOf(values.map((x) => Math.abs(x - center)));
  const rise = (scales: number, floor: number): number =>
    logs
      ? Math.exp(center + Math.max(scales * scale, Math.log(1 + floor)))
      : center + Math.max(scales * scale, floor * Math.abs(center));
  return {
    median: logs ? Math.exp(center) : center,
    high: rise(SCALES.band, FLOOR.band),
    incidentAbove: rise(SCALES.incident, FLOOR.incident),
    points: finite.length,
  };
}

export interface LossIncident {
  /** Position of the onset in the losses; `history` points do not count. */
  readonly onset: number;
  readonly band: LossBand;
}

/**
 * The first incident of `losses`, with the band from `history` and the losses before it (the last 50 points, or 5 % of
 * all where that is more, at most 1,000). null where there is none, or where there are too few points before to tell.
 */
export function findIncident(
  losses: readonly number[],
  history: readonly number[] = [],
): LossIncident | null {
  const all = [...history, ...losses];
  const window = Math.min(1000, Math.max(50, Math.round(0.05 * all.length)));
  const least = Math.min(20, Math.max(3, Math.floor(all.length / 8)));
  for (let i = history.length; i < all.length; i++) {
    const before = all.slice(Math.max(0, i - window), i).filter(Number.isFinite);
    if (before.length < least) continue;
    const band = bandOf(before);
    if (all[i]! <= band.incidentAbove) continue;
    let onset = i;
    while (onset > history.length && !(all[onset - 1]! <= band.high)) onset--;
    // The way up does not belong to what was before.
    const calm = all.slice(Math.max(0, onset - window), onset);
    return { onset: onset - history.length, band: calm.length >= least ? bandOf(calm) : band };
  }
  return null;
}

export interface Judgement {
  readonly verdict: ReplayVerdict;
  readonly confidence: 'exact' | 'estimate';
  readonly why: string;
  /** Largest loss relative to the median before. */
  readonly peak?: number;
}

/** Points at the end whose median decides whether a run came back. */
const LAST = 10;
/** Steps that a capture must go on for after the onset. */
const AFTER = 20;

/** The losses whose median decides whether a run came back. */
export const lastLosses = (losses: readonly number[]): readonly number[] => losses.slice(-LAST);

const endsIn = (losses: readonly number[], band: LossBand): boolean => {
  const last = lastLosses(losses);
  return last.every(Number.isFinite) && medianOf(last) <= band.high;
};

/** The band before the first incident of a run; of all its losses where there is none. */
export const bandOfRun = (losses: readonly number[], history: readonly number[]): LossBand =>
  findIncident(losses, history)?.band ?? bandOf([...history, ...losses]);

/** First position from which on no loss is in the band. */
export const leftForGood = (losses: readonly number[], band: LossBand): number => {
  let i = losses.length;
  while (i > 0 && !(losses[i - 1]! <= band.high)) i--;
  return i;
};

/**
 * Verdict of a closed loop.
 *
 * @param losses of the run under the rule, one for each step of the capture; NaN after a non-finite state
 * @param baseline of the run without the rule
 * @param history losses before the first recorded step
 */
export function judgeClosedLoop(
  losses: readonly number[],
  baseline: readonly number[],
  steps: readonly number[],
  history: readonly number[] = [],
): Judgement {
  const exact = (verdict: ReplayVerdict, why: string, peak?: number): Judgement => ({
    verdict,
    confidence: 'exact',
    why,
    ...(peak === undefined ? {} : { peak }),
  });
  const incident = findIncident(baseline, history);
  const own = findIncident(losses, history);
  const band = bandOfRun(baseline, history);
  const largest = losses.some((loss) => !Number.isFinite(loss))
    ? Number.POSITIVE_INFINITY
    : Math.max(...losses);
  const peak = largest / band.median;
  const back = endsIn(losses, band);
  if (incident === null)
    return back
      ? exact('not-needed', 'the run without the rule has no incident', peak)
      : exact(
          'harmful',
          'the run without the rule has no incident; this one leaves the band and stays out',
          peak,
        );
  const onset = steps[incident.onset]!;
  if (endsIn(baseline, band)) {
    if (!back)
      return exact(
        'harmful',
        `the run without the rule comes back from step ${onset}; this one does not`,
        peak,
      );
    return own === null
      ? exact('prevented', `the incident at step ${onset} does not happen`, peak)
      : exact(
          'not-prevented',
          `it has an incident too, at step ${steps[own.onset]}, and comes back as without the rule`,
          peak,
        );
  }
  // What has become non-finite does not come back, however long the capture goes on.
  if (!Number.isFinite(losses.at(-1)!))
    return exact('not-prevented', `the loss ends as ${losses.at(-1)}`, peak);
  const after = losses.length - incident.onset - 1;
  if (after < AFTER)
    return exact(
      'cannot-tell',
      `the capture goes on for ${after} steps after the onset; ${AFTER} are needed`,
      peak,
    );
  if (back)
    return exact(
      'prevented',
      `the last ${LAST} losses are back in the band; without the rule they are not`,
      peak,
    );
  const later = leftForGood(losses, band) - leftForGood(baseline, band);
  return later >= LAST
    ? exact('delayed', `it leaves the band for good ${later} steps later than without the rule`, peak)
    : exact('not-prevented', `it leaves the band for good at step ${steps[leftForGood(losses, band)]}`, peak);
}

/** Updates on the way to the onset that are larger than usual. */
export interface IncidentUpdates {
  /** Positions, first and last. */
  readonly first: number;
  readonly last: number;
  /** Median update norm of the steps before. */
  readonly usual: number;
}

/** How far before the onset an update may have caused it. */
const LOOK_BACK = 10;

/**
 * The incident's updates: from the first of the ten steps up to the onset whose unclipped update is more than twice the
 * median before, to the onset. null where no update grew, or fewer than three steps lie before.
 */
export function incidentUpdates(unclipped: readonly number[], onset: number): IncidentUpdates | null {
  for (let i = Math.max(0, onset - LOOK_BACK); i <= onset; i++) {
    const before = unclipped.slice(0, i);
    if (before.filter(Number.isFinite).length < 3) continue;
    const usual = medianOf(before);
    if (!(unclipped[i]! <= 2 * usual)) return { first: i, last: onset, usual };
  }
  return null;
}

export interface EstimateInput {
  readonly steps: readonly number[];
  /** Why the losses cannot tell whether there was an incident; null where they can. */
  readonly unknown?: string | null;
  readonly incident: LossIncident | null;
  /** Position of the first step that the rule changes; null if none. */
  readonly firstChanged: number | null;
  readonly updateNorm: readonly number[];
  /** Norm of the unclipped update at the recorded states. */
  readonly unclipped: readonly number[];
  readonly learningRateMultiplier: number;
}

/** Verdict of as-recorded and open-loop: exact only where the rule had changed nothing. */
export function judgeEstimate(input: EstimateInput): Judgement {
  const { steps, incident, firstChanged, updateNorm, unclipped } = input;
  const estimate = (verdict: ReplayVerdict, why: string): Judgement => ({
    verdict,
    confidence: 'estimate',
    why,
  });
  if (input.learningRateMultiplier !== 1)
    return estimate('cannot-tell', 'the recorded gradients belong to the recorded learning rate');
  if (incident === null && input.unknown) return estimate('cannot-tell', input.unknown);
  if (incident === null)
    return { verdict: 'not-needed', confidence: 'exact', why: 'the recorded losses have no incident' };
  const { onset } = incident;
  const at = `step ${steps[onset]}`;
  if (firstChanged === null || firstChanged > onset)
    return {
      verdict: 'not-prevented',
      confidence: 'exact',
      why:
        firstChanged === null
          ? `it changes no step, so the loss leaves its band at ${at} all the same`
          : `it first changes step ${steps[firstChanged]}, after the loss has left its band at ${at}; whether the run comes back under it only a closed loop can tell`,
    };
  const broken = unclipped.findIndex((size, i) => i <= onset && !Number.isFinite(size));
  if (broken >= 0 && !Number.isFinite(updateNorm[broken]!))
    return firstChanged >= broken
      ? {
          verdict: 'not-prevented',
          confidence: 'exact',
          why: `the gradient of step ${steps[broken]} is not finite, and scaling does not cure that`,
        }
      : estimate(
          'cannot-tell',
          `the gradient of step ${steps[broken]} is not finite; under the rule it might have been another`,
        );
  const updates = incidentUpdates(unclipped, onset);
  if (updates === null)
    return estimate(
      'cannot-tell',
      `no update on the way to ${at} is larger than twice the usual: the steps do not show the cause`,
    );
  const limit = 2 * updates.usual;
  let largest = 0;
  for (let i = updates.first; i <= updates.last; i++)
    if (!(updateNorm[i]! <= largest)) largest = updateNorm[i]!;
  const times = formatNumber(largest / updates.usual, 'rough');
  const range =
    updates.first === updates.last ? at : `steps ${steps[updates.first]} to ${steps[updates.last]}`;
  return largest <= limit
    ? estimate('prevented', `it holds the updates of ${range} at ${times} times the usual size`)
    : estimate(
        'cannot-tell',
        `it acts, but the updates of ${range} still reach ${times} times the usual size`,
      );
}
