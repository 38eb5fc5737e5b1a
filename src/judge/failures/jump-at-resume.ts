import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { attemptOf } from '../../model/run.ts';
import { isRaised, USUAL, usualRange } from '../incidents/unlike.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, levelBefore, levelFrom, type Points } from './log-evidence.ts';

/** Logged points after a resume in which a loss that leaves its range is laid to it. */
const WINDOW = 10;
const ORDINALS = ['1st', '2nd', '3rd', '4th', '5th', '6th', '7th', '8th', '9th', '10th'] as const;
/** Steps that were trained twice, at least, and how many times their first level the second one has to be. */
const [TWICE, HIGHER] = [20, 1.25];

export const jumpAtResume: KnownFailure = {
  id: 'jump-at-resume',
  title: 'The loss jumps where training was resumed',
  symptoms: [
    'resume',
    'restart',
    'checkpoint',
    'optimizer state',
    'preempted',
    'loss jump after resume',
    'spike after resume',
  ],
  docs: {
    summary:
      'The loss leaves its range within ten logged points of a resume, or is higher at steps that were trained twice.',
    evidence: `An attempt that is not the first begins at most ten logged points before the onset, or the text says there that training is resumed from a checkpoint. Or ${TWICE} steps or more were trained twice, and their second level is ${HIGHER} times the first one or more.`,
    notThis:
      'A resume after which the loss goes on where it was, or an attempt that begins at the first step again: that is another training.',
    whatToDo:
      'The first loss after the resume says what is wrong. Where it is as before and the next ones rise, the weights are right and the steps are not: the optimizer state or the learning rate was not loaded. Where it is high at once, other weights were loaded, or the data or the mode of the model is another. Print the rate, the number of optimizer steps and the index of the batch before and after the resume to confirm it.',
  },
  look(log) {
    const { run, attempt, onsetStep, loss } = log;
    if (loss === null) return null;
    if (onsetStep === null) return trainedTwice(log);
    const start = resumeBefore(log, onsetStep);
    if (start === null) return null;
    const points = loss.step.filter((step) => step >= start.step && step <= onsetStep).length;
    if (points > WINDOW) return null;
    const fact = `training was resumed at ${run.stepUnit} ${start.step}, and the ${ORDINALS[Math.max(0, points - 1)]} loss after that is out of the usual range`;
    const usual = start.told ? firstIsAsBefore(loss, start.step) : firstIsUsual(log, attempt);
    return resumeFailure(log, start.step, fact, usual, points);
  },
};

/**
 * The last resume up to a step, in the attempt of the incident; `told` where the text alone says so. Null of an attempt that begins anew,
 * which is another training.
 */
function resumeBefore(
  { run, attempt, judged }: LogEvidence,
  onsetStep: number,
): { step: number; told: boolean } | null {
  const start = run.attempts[attempt];
  if (start === undefined) return null;
  const told = run.job?.resumes.findLast(({ step }) => step > start.firstStep && step <= onsetStep);
  if (told !== undefined) return { step: told.step, told: true };
  const beginsAnew = judged?.decides?.histories[attempt]?.length === 0;
  return start.index === 0 || beginsAnew ? null : { step: start.firstStep, told: false };
}

/** Whether the first loss from a step on is in the range of those before it, in one attempt. */
function firstIsAsBefore({ step, value }: Points, from: number): boolean | null {
  const at = step.findIndex((one) => one >= from);
  return isAsBefore(value.subarray(0, at), value.at(at)!);
}

/** Whether a loss is in the range of the last ones before it; null where that is not known. */
function isAsBefore(before: Column, loss: number): boolean | null {
  const usual = usualRange(before.subarray(Math.max(0, before.length - USUAL)));
  return usual === null ? null : !isRaised(loss, usual);
}

/** Whether the first loss after a resume is in the range of those before it; null where none is known. */
function firstIsUsual({ run, judged, loss }: LogEvidence, attempt: number): boolean | null {
  const series = judged?.decides?.series;
  const first = loss?.value.at(0);
  if (series === undefined || attempt === 0 || first === undefined) return null;
  const before = attemptOf(series, attempt - 1);
  const until = before.step.findLastIndex((step) => step < run.attempts[attempt]!.firstStep) + 1;
  return isAsBefore(before.value.subarray(0, until), first);
}

function resumeFailure(
  { run }: LogEvidence,
  step: number,
  fact: string,
  usual: boolean | null,
  points: number,
): FoundFailure {
  const told =
    usual === true && points > 1
      ? 'the first loss after it is as before, so the weights are right and the steps are not'
      : usual === false
        ? 'the first loss after it is high at once: the weights, the data or the mode of the model may be others, too'
        : 'the log does not show the first loss before a step was taken';
  return {
    trigger: 'optimizer-state',
    confidence: 'likely',
    step,
    lead: 'the optimizer state or the learning rate was not restored',
    statement: `${fact}; ${told}`,
    evidence: [
      {
        id: 'resume',
        statement: fact,
        value: step,
        unit: run.stepUnit,
        usual: null,
        at: { step, batchStep: null },
      },
    ],
    remedy: {
      action: 'restore-optimizer-state',
      statement: `resume with the optimizer state, the schedule and the position in the data of before; the rate and the number of optimizer steps, printed before and after the resume, confirm it`,
    },
  };
}

/** Steps that were trained twice and are worse the second time, in a log without an incident. */
function trainedTwice(log: LogEvidence): FoundFailure | null {
  const { run, attempt, loss } = log;
  const series = log.judged?.decides?.series;
  if (series === undefined || attempt === 0) return null;
  const before = attemptOf(series, attempt - 1);
  const first = run.attempts[attempt]!.firstStep;
  const from = before.step.findIndex((step) => step >= first);
  const last = before.step.at(-1);
  // A beginning anew is another training.
  if (from < Math.max(TWICE, before.step.length / 10) || last === undefined) return null;
  const until = loss!.step.findLastIndex((step) => step <= last) + 1;
  const [earlier, later] = [before.value.subarray(from), loss!.value.subarray(0, until)];
  if (earlier.length < TWICE || later.length < TWICE) return null;
  const [a, b] = [levelFrom(earlier, 0, earlier.length), levelFrom(later, 0, later.length)];
  const after = levelBefore(loss!.value, loss!.value.length);
  if (!(a > 0 && b >= HIGHER * a && after >= HIGHER * a)) return null;
  const fact = `${run.stepUnit}s ${first} to ${last} were trained twice, and the loss is ${formatNumber(b)} the second time where it was ${formatNumber(a)}; it ends at ${formatNumber(after)}`;
  return resumeFailure(log, first, fact, firstIsUsual(log, attempt), later.length);
}
