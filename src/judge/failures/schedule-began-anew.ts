import { formatNumber } from '../../model/format-number.ts';
import { attemptOf, type Run } from '../../model/run.ts';
import type { KnownFailure } from './failure.ts';
import { type Points, rateEvidence } from './log-evidence.ts';

/** Points that a schedule has to have run again, times that its rates differ among them, and by which share a rate is the same. */
const [POINTS, VARIES, SAME] = [10, 1.5, 1e-4];
/** Share by which the rate has to differ from the one that the earlier attempt had at that step. */
const OTHER = 0.1;

export const scheduleBeganAnew: KnownFailure = {
  id: 'schedule-began-anew',
  title: 'The learning-rate schedule began anew at a resume',
  symptoms: [
    'resume',
    'warmup again',
    'warm-up again',
    'scheduler state',
    'lr after resume',
    'last_epoch',
    'schedule',
  ],
  docs: {
    summary: 'Training is resumed in the middle, and the rate has the values of the first steps again.',
    evidence: `An attempt that is not the first begins at a later step than the first one. Its first ${POINTS} logged rates or more are those of the first attempt, each to ${SAME} of it at the same distance from its beginning. They vary ${VARIES}-fold, and the first of them differs from the rate that the earlier attempt had at that step.`,
    notThis:
      'A restart that the schedule plans within an attempt; training that begins at step 0 again; a constant rate; a resume whose rate goes on where it was.',
    whatToDo:
      'Load the state of the scheduler with that of the optimizer, or give it the number of steps done. The rate of the first step after a resume, printed with the last one before it, confirms it.',
  },
  look({ run, onsetStep }) {
    const found = restartedIn(run, onsetStep);
    if (found === null) return null;
    const { rates, before } = found;
    const [step, rate] = [rates.step.at(0)!, rates.value.at(0)!];
    const statement = `the learning rate begins anew where training is resumed, at ${run.stepUnit} ${step}: it is ${formatNumber(rate)} there, as in the first ${run.stepUnit}, and was ${formatNumber(before)} at that ${run.stepUnit} before`;
    return {
      trigger: 'learning-rate',
      confidence: 'likely',
      lead: 'the schedule was not restored at the resume',
      step,
      statement: `${statement}; the rates after it are those of the first ${run.stepUnit}s, one by one`,
      evidence: [rateEvidence(statement, rate, step)],
      remedy: {
        action: 'restore-schedule',
        statement: `load the scheduler's state with the optimizer's, or give it the number of steps done; the rate printed at the first ${run.stepUnit} after a resume confirms it: it has to be near ${formatNumber(before)}`,
      },
    };
  },
};

/** The first attempt, up to that of the onset, whose rates are those of the first one; with the rate of its first step before. */
function restartedIn(
  run: Run,
  onsetStep: number | null,
): { readonly rates: Points; readonly before: number } | null {
  const series = run.series.find(({ role }) => role === 'learning_rate');
  if (series === undefined) return null;
  const first = attemptOf(series, 0);
  for (let attempt = 1; attempt < series.attemptOffsets.length; attempt++) {
    const rates = { ...attemptOf(series, attempt), name: series.name };
    const [begin, start] = [rates.step.at(0), first.step.at(0)];
    if (begin === undefined || start === undefined || begin <= start) continue;
    if (onsetStep !== null && begin > onsetStep) return null;
    const earlier = attemptOf(series, attempt - 1);
    const before = earlier.value.at(earlier.step.findLastIndex((one) => one <= begin));
    const isOther = before !== undefined && Math.abs(rates.value.at(0)! - before) > OTHER * before;
    if (isOther && isSameSchedule(first, rates)) return { rates, before };
  }
  return null;
}

/** Whether one attempt's rates, to its end or the other's, are those of another at the same distance from the beginning. */
function isSameSchedule(
  first: Pick<Points, 'step' | 'value'>,
  again: Pick<Points, 'step' | 'value'>,
): boolean {
  const count = Math.min(first.value.length, again.value.length);
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (let i = 0; i < count; i++) {
    const [a, b] = [first.value.at(i)!, again.value.at(i)!];
    const isAligned = first.step.at(i)! - first.step.at(0)! === again.step.at(i)! - again.step.at(0)!;
    if (!isAligned || !(Math.abs(a - b) <= SAME * Math.abs(a))) return false;
    least = Math.min(least, a);
    most = Math.max(most, a);
  }
  return count >= POINTS && most >= VARIES * least;
}
