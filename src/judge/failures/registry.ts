/** The known failures, the more specific first: the first one that the log shows is the cause that is reported. */
import type { Run } from '../../model/run.ts';
import type { JudgedRun } from '../incidents/verdict.ts';
import { abruptFall } from './abrupt-fall.ts';
import { badBatch } from './bad-batch.ts';
import { blowUp } from './blow-up.ts';
import { deadFromTheStart } from './dead-from-the-start.ts';
import { evaluationAlone } from './evaluation-alone.ts';
import { evaluationJumps } from './evaluation-jumps.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { firstStepsTooLong } from './first-steps-too-long.ts';
import { gradientNormFactor } from './gradient-norm-factor.ts';
import { gradientNotFinite } from './gradient-not-finite.ts';
import { growsWithoutEnd } from './grows-without-end.ts';
import { guardActed } from './guard-acted.ts';
import { jumpAtResume } from './jump-at-resume.ts';
import { logEvidence } from './log-evidence.ts';
import { lossTimesK } from './loss-times-k.ts';
import { nanFromTheStart } from './nan-from-the-start.ts';
import { openCause } from './open-cause.ts';
import { overFitting } from './over-fitting.ts';
import { brokeInWarmUp, raisedRateFailure } from './raised-rate.ts';
import { rateBlip } from './rate-blip.ts';
import { rateZero } from './rate-zero.ts';
import { sawTooth } from './saw-tooth.ts';
import { scalerSkipsEveryStep } from './scaler-skips-every-step.ts';
import { scheduleBeganAnew } from './schedule-began-anew.ts';
import { scheduleRestart } from './schedule-restart.ts';
import { trainingSlowed } from './training-slowed.ts';
import { trainingStoodStill } from './training-stood-still.ts';
import { unlikeBatches } from './unlike-batches.ts';
import { untrainedAtResume } from './untrained-at-resume.ts';

export const KNOWN_FAILURES: readonly KnownFailure[] = [
  scalerSkipsEveryStep,
  deadFromTheStart,
  scheduleBeganAnew,
  sawTooth,
  raisedRateFailure,
  gradientNotFinite,
  untrainedAtResume,
  jumpAtResume,
  abruptFall,
  lossTimesK,
  gradientNormFactor,
  badBatch,
  blowUp,
  nanFromTheStart,
  unlikeBatches,
  brokeInWarmUp,
  growsWithoutEnd,
  rateZero,
  rateBlip,
  evaluationJumps,
  evaluationAlone,
  overFitting,
  trainingStoodStill,
  trainingSlowed,
  firstStepsTooLong,
  guardActed,
  scheduleRestart,
  openCause,
];

/** A failure that was found, with the name of its page. */
export type NamedFailure = FoundFailure & { readonly id: string };

/**
 * The first known failure that a log shows; `cause-not-shown` where it shows an incident and none of the others.
 *
 * @param onsetStep of the leading incident; null without one
 * @param judged null where only the onset is known
 * @returns null where the log shows neither an incident nor a failure
 */
export function failureOf(run: Run, onsetStep: number | null, judged: JudgedRun | null): NamedFailure | null {
  const log = logEvidence(run, onsetStep, judged);
  for (const known of KNOWN_FAILURES) {
    const found = known.look(log);
    if (found !== null) return { ...found, id: known.id };
  }
  return null;
}
