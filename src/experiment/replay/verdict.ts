/** Verdicts on rules: from the losses of a closed loop, or as an estimate from the updates at the incident. */
import {
  earlierOf,
  endBeside,
  endLevel,
  judgeLosses,
  LAST_LOSSES,
  leftForGood,
  peakOf,
} from '../../judge/incidents/losses.ts';
import { isRaised, USUAL, usualRange } from '../../judge/incidents/unlike.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { ReplayVerdict } from '../../model/replay.ts';
import { HOLDS, HURT, timesLevel } from './level-limits.ts';
import {
  type Ended,
  type EndOutcome,
  harmFrom,
  healthyBeside,
  isFrozen,
  LEAST_AFTER,
  outcomeOf,
  type Shift,
  SLOWER,
} from './outcome.ts';
import type { References } from './reference.ts';

export interface Judgement {
  readonly verdict: ReplayVerdict;
  readonly confidence: 'exact' | 'estimate';
  readonly why: string;
  /** Largest loss from the incident on, relative to the median before it. */
  readonly peak?: number;
}

/** Steps that a capture must go on for after the onset. */
const AFTER = 20;
/**
 * Times the level before up to which a rule is said to prevent: of the rules between it and {@link HOLDS}, half were hurt on 256
 * other rows (bench/causes, the half that is tuned on: 2 of 4, where of those below it 1 of 133 was).
 */
const SURE = 1.2;
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
    ? exact('delayed', `it leaves the band permanently ${later} steps later than without the rule`)
    : exact('not-prevented', `it leaves the band permanently at step ${steps[position]}`);
}

/** A training by its own losses and those on reference batches. */
type Trained = Ended & { readonly loss: readonly number[] };

export interface ReferenceInput {
  readonly trace: Trained;
  /** The run under the recorded clipping. */
  readonly baseline: Trained;
  readonly references: References;
  /** Position of the onset of the recorded incident. */
  readonly onset: number;
  readonly steps: readonly number[];
  /** Losses before the first recorded step. */
  readonly history: readonly number[];
  /** Every other training from the same state. */
  readonly others?: readonly Ended[];
  /** What the reference batches are, in words, where trainings showed that the run is harmed on them; else from before the incident. */
  readonly batches?: string;
}

/**
 * Verdict of a closed loop by its loss on reference batches: the loss on a bad batch says nothing of the weights. Where the run
 * without the rule is unharmed there, its own losses decide, as {@link judgeClosedLoop} has it. Where the level before is not
 * known they do too, but nothing is said to prevent.
 */
export function judgeByReference(input: ReferenceInput): Judgement {
  const { trace, baseline, references: known, onset, steps, history, others = [] } = input;
  const batches = input.batches ?? 'batches from before the incident';
  const own = judgeClosedLoop(trace.loss, baseline.loss, steps, history);
  const from = harmFrom(known, onset);
  const { level, usual, shift } = healthyBeside(baseline, others, known, baseline.updateNorm, from);
  const references = { ...known, level };
  const without = outcomeOf(baseline, references, usual, from, shift);
  const exact = (verdict: ReplayVerdict, why: string): Judgement => ({
    ...own,
    verdict,
    confidence: 'exact',
    why,
  });
  // Losses that are high from the first recorded step on have no rise: what a training shows there is harm all the same.
  const isHarmed = input.batches !== undefined && (without === 'lost' || without === 'hurt');
  if (own.verdict === 'not-needed' && !isHarmed) return own;
  // Ten losses in the band of a few steps before say nothing of the weights.
  if (level === null)
    return own.verdict === 'prevented'
      ? exact(
          'cannot-tell',
          `what is usual on batches from before the incident is not known; by its own losses ${own.why}`,
        )
      : own;
  const outcome = outcomeOf(trace, references, usual, from, shift);
  if (shift !== null)
    return { ...own, confidence: 'exact', ...judgeAfterShift(input, shift, without, outcome) };
  const final = formatNumber(endLevel(trace.referenceLoss));
  const ends = `on ${batches} it ends at ${final}, where ${formatNumber(level)} was usual`;
  if (outcome === 'slower' && own.verdict !== 'not-prevented')
    return exact('cannot-tell', `${SLOWER}; ${ends}`);
  if (without === 'holds') return judgeByItself(input, own, outcome, from, ends);
  const isBack = outcome === null && own.verdict === 'prevented';
  if (outcome === 'frozen' || (isBack && isFrozen(trace, references.unlike, usual, from)))
    return exact('cannot-tell', `its updates are too small for it to learn on: it stays where it was`);
  // The weights and the losses both far from what was usual say enough; its own last losses in the band, after fewer steps, do not.
  if (
    outcome === null &&
    own.verdict === 'not-prevented' &&
    endLevel(trace.referenceLoss) > timesLevel(HURT, level)
  )
    return exact('not-prevented', ends);
  if (outcome === null)
    return exact(
      'cannot-tell',
      `fewer than ${LEAST_AFTER} clean steps were recorded after step ${steps[from]}: whether it holds does not show`,
    );
  if (outcome === 'holds' && endLevel(trace.referenceLoss) > timesLevel(SURE, level))
    return exact('cannot-tell', `${ends}: so close to ${HOLDS} times that, other batches may say otherwise`);
  if (outcome === 'holds') return exact('prevented', `${ends}; without the rule ${endOf(baseline)}`);
  const held = { median: level, high: timesLevel(HOLDS, level) };
  const later = leftForGood(trace.referenceLoss, held) - leftForGood(baseline.referenceLoss, held);
  return later >= DELAY
    ? exact('delayed', `${ends}: it is harmed ${later} steps later than without the rule`)
    : exact('not-prevented', ends);
}

/** Verdict where the run without the rule comes back by itself: the incident has to be gone, and the rule's own end has to hold. */
function judgeByItself(
  { trace, baseline, steps, history }: ReferenceInput,
  own: Judgement,
  outcome: EndOutcome | null,
  from: number,
  ends: string,
): Judgement {
  const exact = (verdict: ReplayVerdict, why: string): Judgement => ({
    ...own,
    verdict,
    confidence: 'exact',
    why,
  });
  if (outcome === 'hurt' || outcome === 'lost')
    return exact('harmful', `the run without the rule comes back; under it, ${ends}`);
  if (own.verdict === 'prevented' && outcome !== 'holds')
    return exact('cannot-tell', `${own.why}, and whether it learns on does not show: ${ends}`);
  const high = usualRange([...history, ...baseline.loss.slice(0, from)].slice(-USUAL));
  const left = trace.loss.findIndex((loss, i) => i >= from && isRaised(loss, high));
  if (own.verdict === 'prevented' && left >= 0)
    return exact(
      'cannot-tell',
      `${own.why} as the judge of runs sees it, but the loss is ${formatNumber(trace.loss[left]!)} at step ${steps[left]}, where up to ${formatNumber(high![1])} was usual`,
    );
  return own.verdict === 'harmful' && outcome === 'holds'
    ? exact('not-prevented', `the losses leave their band as without the rule, and ${ends}`)
    : own;
}

/** Verdict where the data changed to the end: on the new data and on batches from before, against the training that ends lowest on the new. */
function judgeAfterShift(
  { trace, baseline }: ReferenceInput,
  shift: Shift,
  without: EndOutcome | null,
  outcome: EndOutcome | null,
): Pick<Judgement, 'verdict' | 'why'> {
  const ends = shiftWords(trace, shift);
  const plain = shiftWords(baseline, shift);
  if (without === 'holds')
    return outcome === 'hurt' || outcome === 'lost'
      ? { verdict: 'harmful', why: `the run without the rule learns the new data; under it, ${ends}` }
      : { verdict: 'not-needed', why: `the run without the rule learns the new data: ${plain}` };
  if (without === null)
    return {
      verdict: 'cannot-tell',
      why: `without the rule, ${plain}: that may be harm, or how fast a net follows new data`,
    };
  if (outcome === null || outcome === 'slower' || outcome === 'frozen')
    return { verdict: 'cannot-tell', why: `${ends}: that may be harm, or how fast a net follows new data` };
  if (outcome !== 'holds') return { verdict: 'not-prevented', why: ends };
  const sure =
    endLevel(trace.loss) <= timesLevel(SURE, shift.onNew) &&
    endLevel(trace.referenceLoss) <= timesLevel(SURE, shift.onOld);
  return sure
    ? { verdict: 'prevented', why: `${ends}; without the rule, ${plain}` }
    : {
        verdict: 'cannot-tell',
        why: `${ends}: so close to ${HOLDS} times that, other batches may say otherwise`,
      };
}

/** How a training ends on the new data and on batches from before, next to the best. */
function shiftWords({ loss, referenceLoss }: Trained, { onNew, onOld }: Shift): string {
  return `on the new data it ends at ${formatNumber(endLevel(loss))}, where the best training ends at ${formatNumber(onNew)}, and on batches from before at ${formatNumber(endLevel(referenceLoss))}, where up to ${formatNumber(onOld)} is as well`;
}

/** How a run ends on the reference batches, in words. */
function endOf({ referenceLoss }: Ended): string {
  const final = endLevel(referenceLoss);
  return Number.isNaN(final) ? 'the loss there is NaN' : `it ends at ${formatNumber(final)}`;
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
  /** Norm of the update relative to the unclipped one at each recorded state; left out where it was not measured. */
  readonly kept?: readonly number[];
  /** Recorded losses; NaN where none was recorded. */
  readonly losses?: readonly number[];
  /** The first snapshot that the rebuilt run misses, and the last one before it, by their steps: from the latter on the updates may be others. */
  readonly missed?: { readonly lastAgreed: number; readonly step: number } | null;
}

/**
 * Share that a rule has to leave of the updates before the incident, in their median: one that leaves less makes another run of
 * it, whose incident the recorded steps do not tell of (bench/causes, the half that is tuned on: of 44 estimates 7 were wrong, all
 * below 0.8; of those above 0.9 none of 5 was).
 */
const KEPT = 0.9;
/** Share of the peak that may be there before any unusual update was taken: what is there by then, no update made. */
const SHARE_BEFORE = 0.25;

/**
 * How much of the peak is there at the step of the first unusual update, whose loss was computed before it: 0 none, 1 all.
 *
 * @returns null where losses are not known
 */
export function shareBefore(losses: readonly number[], first: number, onset: number): number | null {
  const before = losses.slice(Math.max(0, onset - USUAL), onset).filter(Number.isFinite);
  const peak = Math.max(
    ...losses.slice(onset).map((loss) => (Number.isNaN(loss) ? Number.POSITIVE_INFINITY : loss)),
  );
  if (before.length === 0 || !Number.isFinite(losses[first]!)) return null;
  const usual = medianOf(before);
  if (peak === Number.POSITIVE_INFINITY) return 0;
  return peak <= usual ? null : Math.min(1, Math.max(0, (losses[first]! - usual) / (peak - usual)));
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
  const share = input.losses === undefined ? null : shareBefore(input.losses, updates.first, onset);
  if (share !== null && share > SHARE_BEFORE)
    return estimate(
      'cannot-tell',
      `${formatNumber(100 * share, 'rough')} % of the peak are there before the first unusual update, at step ${steps[updates.first]}: no rule takes that away, and what comes after it only a closed loop can tell`,
    );
  const kept = medianOf((input.kept ?? []).slice(Math.max(0, updates.first - 20), updates.first));
  if (kept < KEPT)
    return estimate(
      'cannot-tell',
      `it takes more than a tenth off the usual updates before ${at} too: the run under it would have been another, and only a closed loop can tell`,
    );
  const limit = 2 * updates.usual;
  let largest = 0;
  for (let i = updates.first; i <= updates.last; i++)
    if (!(updateNorm[i]! <= largest)) largest = updateNorm[i]!;
  const times = formatNumber(largest / updates.usual, 'rough');
  const range =
    updates.first === updates.last ? at : `steps ${steps[updates.first]} to ${steps[updates.last]}`;
  if (!(largest <= limit))
    return estimate(
      'cannot-tell',
      `it acts, but the updates of ${range} still reach ${times} times the usual size`,
    );
  const { missed = null } = input;
  if (missed !== null && steps[updates.last]! >= missed.lastAgreed)
    return estimate(
      'cannot-tell',
      `it holds the updates of ${range} as they are rebuilt, but from step ${missed.lastAgreed} on they may not be those of the run: they miss its snapshot before step ${missed.step}`,
    );
  return estimate('prevented', `it holds the updates of ${range} at ${times} times the usual size`);
}
