import { formatNumber } from '../../model/format-number.ts';
import { attemptOf, type TimeSeries } from '../../model/run.ts';
import { isRaised, usualRange } from '../incidents/unlike.ts';
import type { KnownFailure } from './failure.ts';
import { lastBefore, levelBefore, levelFrom } from './log-evidence.ts';

/** Points of a level, shares of the run's first level that the resume begins at, and times the level before the resume. */
const [POINTS, [LEAST, MOST], HIGHER] = [5, [0.8, 1.25], 1.25];
/** Share of the steps so far that a resume lies behind at least: earlier it is a beginning anew, which is another training. */
const BEHIND = 0.1;

export const untrainedAtResume: KnownFailure = {
  id: 'untrained-at-resume',
  title: 'Training was resumed, and the loss is again that of a net that has learnt nothing',
  symptoms: [
    'resume',
    'checkpoint',
    'weights not loaded',
    'load_state_dict',
    'strict=False',
    'starts from scratch',
    'loss starts over',
  ],
  docs: {
    summary: 'The steps go on from a checkpoint, and the loss begins where the run began.',
    evidence: `An attempt begins behind the first ${Math.round(100 * BEHIND)} % of the steps so far. The median of its first ${POINTS} losses is ${LEAST} to ${MOST} times that of the first ${POINTS} losses of the run, and at least ${HIGHER} times the level before. Its first loss is out of the range there.`,
    notThis:
      'A resume after which the loss goes on where it was. An attempt that begins at the first step again, which is another training. A loss that jumps at a resume to another level (`jump-at-resume`).',
    whatToDo:
      'Evaluate the checkpoint alone: a loss as before the resume says that it holds the weights, and that they were not loaded (`load_state_dict(…, strict=False)` with other names, a model that is built or wrapped after loading, another path). Then resume from it again. A training of its own needs a log of its own.',
  },
  look({ run, judged, onsetStep }) {
    const series = judged?.decides?.series;
    if (series === undefined || onsetStep !== null) return null;
    const found = run.attempts.map(({ index }) => beginningAgain(series, index)).find((one) => one !== null);
    if (found == null) return null;
    const { step, begin, before, initial } = found;
    const statement = `the run was at ${formatNumber(before)} before ${run.stepUnit} ${step} and goes on from there at ${formatNumber(begin)}, about as it began (${formatNumber(initial)})`;
    return {
      trigger: 'none-found',
      confidence: null,
      step,
      statement: `${statement}; either the weights of the checkpoint were not loaded, or it is another training; the log does not show which`,
      evidence: [
        { id: 'resume', statement, value: begin, unit: 'loss', usual: null, at: { step, batchStep: null } },
      ],
      remedy: {
        action: 'reload-weights',
        statement:
          'evaluate the checkpoint alone: a loss as before the resume says that it holds the weights, and that they were not loaded (`strict=False` with other names, a model that is built after loading); then resume from it again',
      },
    };
  },
};

/** The levels of an attempt that begins at the level of the run's beginning; null where it does not. */
function beginningAgain(
  series: TimeSeries,
  attempt: number,
): { step: number; begin: number; before: number; initial: number } | null {
  if (attempt === 0) return null;
  const [first, earlier, own] = [0, attempt - 1, attempt].map((index) => attemptOf(series, index));
  const step = own!.step.at(0);
  const last = earlier!.step.at(-1);
  const start = earlier!.step.at(0);
  if (step === undefined || last === undefined || !(step - start! > BEHIND * (last - start!))) return null;
  const until = lastBefore(earlier!, step) + 1;
  const begin = levelFrom(own!.value, 0, POINTS);
  const initial = levelFrom(first!.value, 0, POINTS);
  const before = levelBefore(earlier!.value, until, POINTS);
  const usual = usualRange(earlier!.value.subarray(Math.max(0, until - 2 * POINTS), until));
  const isAgain = initial > 0 && begin >= LEAST * initial && begin <= MOST * initial;
  const isHigher = before > 0 && begin >= HIGHER * before;
  return isAgain && isHigher && usual !== null && isRaised(own!.value.at(0)!, usual)
    ? { step, begin, before, initial }
    : null;
}
