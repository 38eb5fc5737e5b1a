import { arrayOf } from '../../model/column.ts';
import { durationText } from '../../model/duration.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { withTimes } from '../../model/printed-times.ts';
import { attemptOf, type TimeSeries } from '../../model/run.ts';
import { pausesOf } from '../../read/job/job-story.ts';
import type { KnownFailure } from './failure.ts';

/** Seconds since 1970: a clock below that counts from the start of the process. */
const YEAR_2000 = 946_684_800;

export const trainingStoodStill: KnownFailure = {
  id: 'training-stood-still',
  title: 'The training stood still and went on',
  symptoms: [
    'stall',
    'hang',
    'hung',
    'freeze',
    'frozen process',
    'stuck process',
    'no output',
    'gap',
    'pause',
    'suspended',
  ],
  docs: {
    summary: 'Between two records of one attempt passes far more time than usual, and the training goes on.',
    evidence:
      'A pause between two logged points of an attempt of ten minutes or more, and of 20 times the usual distance of two points or more. More than five such pauses are how this training runs (long evaluations), and no stall.',
    notThis:
      'The time between a crash and a resume: that is the queue. A pause in which the log prints other lines: an evaluation, a checkpoint. A training that is slower at every step (`training-slowed`).',
    whatToDo:
      'Compare the time with the log of the scheduler (a suspended job), of the storage and of the other ranks. `clippy-diag watch --stall 10m` reports the next one while it lasts; `py-spy dump --pid PID` then shows where the process waits.',
  },
  look({ run, judged, onsetStep, attempt }) {
    const series = judged?.decides?.series;
    if (series === undefined || onsetStep !== null) return null;
    const points = { ...series, ...attemptOf(withTimes(run, series), attempt) };
    const gap = [...pausesOf(points)]
      .filter(({ fromStep }) => isSilent(points, fromStep))
      .sort((a, b) => b.seconds - a.seconds)[0];
    if (gap === undefined) return null;
    const { fromStep: step, seconds } = gap;
    const long = durationText(1000 * seconds);
    const clock = clockText(points, step) ?? 'that time';
    const statement = `nothing is logged for ${long} after ${run.stepUnit} ${formatNumber(step)}`;
    return {
      trigger: 'none-found',
      confidence: null,
      step,
      statement: `${statement}, and then the training goes on as before; the log does not show what it waited for`,
      evidence: [
        {
          id: 'throughput',
          statement,
          value: seconds,
          unit: 's',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'none-needed',
        statement: `compare ${clock} with the logs of the scheduler (a suspended job), the storage and the other ranks; \`clippy-diag watch --stall 10m\` reports the next one while it lasts, and \`py-spy dump --pid PID\` shows where the process waits`,
      },
    };
  },
};

/** When a pause began, as the log's clock has it; null where that is no time of day. */
function clockText(
  { step, wallTime }: Pick<TimeSeries, 'step' | 'wallTime'>,
  fromStep: number,
): string | null {
  const began = wallTime?.at(arrayOf(step).lastIndexOf(fromStep));
  if (began === undefined || !(began > YEAR_2000)) return null;
  return `${new Date(1000 * began).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** Whether no more lines than usual lie between a point and the next one: what is printed meanwhile says what it waits for. */
function isSilent({ line, step }: Pick<TimeSeries, 'line' | 'step'>, fromStep: number): boolean {
  if (line === undefined) return true;
  const at = arrayOf(step).lastIndexOf(fromStep);
  const between = line.subarray(1).map((one, k) => one - line.at(k)!);
  return between.at(at)! <= medianOf(between);
}
