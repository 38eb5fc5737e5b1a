/** Verdicts on rules: from the losses of a closed loop, or as an estimate from the updates at the incident. */
import {
  earlierOf,
  endBeside,
  endLevel,
  judgeLosses,
  LAST_LOSSES,
  leftForGood,
  peakOf,
} from '../incidents/losses.ts';
import { formatNumber } from '../model/format-number.ts';
import { medianOf } from '../model/order-statistics.ts';
import type { ReplayVerdict } from '../model/replay.ts';

export interface Judgement {
  readonly verdict: ReplayVerdict;
  readonly confidence: 'exact' | 'estimate';
  readonly why: string;
  /** Largest loss from the incident on, relative to the median before it. */
  readonly peak?: number;
}

/** Steps that a capture must go on for after the onset. */
const AFTER = 20;
/** Steps by which a rule must put the end off for it to count as delayed. */
const DELAY = 10;

/**
 * Verdict of a closed loop: exact, for it is what happened.
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
  const judged = judgeLosses(losses, history);
  const without = judgeLosses(baseline, history);
  const own = judged.incident;
  const { incident } = without;
  const { band } = incident === null ? judged : without;
  const peak = peakOf(losses, earlierOf(own, incident), band);
  const exact = (verdict: ReplayVerdict, why: string): Judgement => ({
    verdict,
    confidence: 'exact',
    why,
    ...(peak === null ? {} : { peak }),
  });
  if (without.began)
    return exact(
      'cannot-tell',
      'the run without the rule begins within an incident, so what leads there was not recorded',
    );
  if (incident === null) {
    if (own === null) return exact('not-needed', 'the run without the rule has no incident');
    const at = `the run without the rule has no incident; this one has, at step ${steps[own.onset]},`;
    return endBeside(losses, judged, band) === 'in-band'
      ? exact('not-needed', `${at} and comes back`)
      : exact('harmful', `${at} and stays out of its band`);
  }
  const onset = steps[incident.onset]!;
  const end = endBeside(losses, judged, band);
  const slower = `it ends at ${formatNumber(endLevel(losses))}, above the band (up to ${formatNumber(band.high)}), and never came down to it: it learns more slowly, and what it does down there was not seen`;
  if (endBeside(baseline, without, band) === 'in-band') {
    if (end === 'out')
      return exact('harmful', `the run without the rule comes back from step ${onset}; this one does not`);
    if (own !== null)
      return exact(
        'not-prevented',
        `it has an incident too, at step ${steps[own.onset]}, and comes back as without the rule`,
      );
    return end === 'slower'
      ? exact('cannot-tell', slower)
      : exact('prevented', `the incident at step ${onset} does not happen`);
  }
  // What has become non-finite does not come back, however long the capture goes on.
  if (!Number.isFinite(losses.at(-1)!)) return exact('not-prevented', `the loss ends as ${losses.at(-1)}`);
  const left = losses.length - incident.onset - 1;
  if (left < AFTER)
    return exact('cannot-tell', `the capture goes on for ${left} steps after the onset; ${AFTER} are needed`);
  if (end === 'in-band')
    return exact(
      'prevented',
      `the last ${LAST_LOSSES} losses are back in the band; without the rule they are not`,
    );
  if (end === 'slower') return exact('cannot-tell', slower);
  const position = leftForGood(losses, band);
  const later = position - leftForGood(baseline, band);
  return later >= DELAY
    ? exact('delayed', `it leaves the band for good ${later} steps later than without the rule`)
    : exact('not-prevented', `it leaves the band for good at step ${steps[position]}`);
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
  /** Position of the onset of the incident; null where there is none. */
  readonly onset: number | null;
  /** Position of the first step that the rule changes; null if none. */
  readonly firstChanged: number | null;
  readonly updateNorm: readonly number[];
  /** Norm of the unclipped update at the recorded states. */
  readonly unclipped: readonly number[];
  readonly learningRateMultiplier: number;
}

/** Verdict of as-recorded and open-loop: exact only where the rule had changed nothing. */
export function judgeEstimate(input: EstimateInput): Judgement {
  const { steps, onset, firstChanged, updateNorm, unclipped } = input;
  const estimate = (verdict: ReplayVerdict, why: string): Judgement => ({
    verdict,
    confidence: 'estimate',
    why,
  });
  if (input.learningRateMultiplier !== 1)
    return estimate('cannot-tell', 'the recorded gradients belong to the recorded learning rate');
  if (onset === null && input.unknown) return estimate('cannot-tell', input.unknown);
  if (onset === null)
    return { verdict: 'not-needed', confidence: 'exact', why: 'the recorded losses have no incident' };
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
