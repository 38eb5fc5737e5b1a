/**
 * An incident that begins with the first recorded steps, as where a resume lost the clipping: no earlier states show the
 * usual loss on reference batches. The log shows whether batches and rate are the earlier ones, and trainings from the first
 * state show whether shorter steps continue from it.
 */

import { raisedRate } from '../../judge/failures/rates.ts';
import { endLevel } from '../../judge/incidents/losses.ts';
import { isRaised, LEAST_STATES, usualRange } from '../../judge/incidents/unlike.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { ReplayArm } from '../../model/replay.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { HOLDS, HURT } from '../replay/level-limits.ts';
import { type Ended, outcomeOf } from '../replay/outcome.ts';
import type { References } from '../replay/reference.ts';
import type { Observed } from './observe.ts';

/** What is known of the run right before a capture. */
export interface Before {
  /** As logged, in the order of the log; at most the last twenty. */
  readonly loss: readonly number[];
  readonly learningRate: readonly number[];
  /** Clipping that was on and that the capture does not have; null where none is known. */
  readonly clipping: RuleChoice | null;
}

export const NOTHING_BEFORE: Before = { loss: [], learningRate: [], clipping: null };

/** Trainings with shorter steps from a state whose loss is not above the earlier one, and the unchanged run. */
export interface ShorterSteps {
  /** What made them shorter, and the same in words. */
  readonly by: RuleChoice | ReplayArm;
  readonly label: string;
  /** Loss on the reference batches at the first recorded state, at the end of this training, and at the recorded end. */
  readonly first: number;
  /** What it is compared with: that loss, or the median of the logged ones where that is higher. */
  readonly level: number;
  /** Whether that is the first of the run. */
  readonly ofRun: boolean;
  readonly end: number;
  readonly recordedEnd: number;
}

/** Whether no step was taken before the first recorded one. */
const beginsTheRun = ({ steps }: Observed): boolean => steps[0]! <= 1;

/** Whether a capture begins with the run, or losses and rate of its steps up to the onset are what was logged before the first of them. */
function goesOnAsBefore(
  { loss, learningRate }: Before,
  observed: Observed,
  { later }: References,
  onset: number,
): boolean {
  if (beginsTheRun(observed)) return true;
  const usual = usualRange(loss);
  if (usual === null || learningRate.length === 0) return false;
  const batches = later.filter(({ index }) => index <= onset).map((one) => one.loss);
  const rates = [...learningRate, ...observed.learningRate.slice(0, onset + 1)];
  return (
    ![observed.loss[0]!, ...batches].some((one) => isRaised(one, usual)) &&
    raisedRate(Float64Array.from(rates), rates.length - 1) === null
  );
}

/**
 * @param usual norm of the first recorded update: those after it may have grown already
 * @param tries trainings with shorter steps and the recorded batches, the one that says most first
 * @returns null where a level is known, something had changed, or none of them ends as the run was at its first recorded step
 */
export function shorterSteps(
  before: Before,
  observed: Observed,
  references: References,
  onset: number,
  usual: number,
  tries: readonly (Ended & Pick<ShorterSteps, 'by' | 'label'>)[],
): ShorterSteps | null {
  const first = references.loss[0]!;
  const recordedEnd = endLevel(references.loss);
  // One state of a noisy run may be a lucky one; its losses as logged are what was usual.
  const logged = before.loss.filter(Number.isFinite);
  const level =
    beginsTheRun(observed) || logged.length < LEAST_STATES ? first : Math.max(first, medianOf(logged));
  const harmed = !(recordedEnd <= HOLDS * level);
  if (references.level !== null || !harmed || !goesOnAsBefore(before, observed, references, onset))
    return null;
  const asBegun = { ...references, level };
  // A run that is hurt and not lost has to end as far above the try as one that is lost ends above its level.
  const held = tries.find(
    (one) =>
      outcomeOf(one, asBegun, usual, onset) === 'holds' &&
      !(recordedEnd <= HURT * Math.min(level, endLevel(one.referenceLoss))),
  );
  return held === undefined
    ? null
    : {
        by: held.by,
        label: held.label,
        first,
        level,
        ofRun: beginsTheRun(observed),
        end: endLevel(held.referenceLoss),
        recordedEnd,
      };
}
