import { formatNumber } from '../../model/format-number.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, levelBefore, type Points } from './log-evidence.ts';

/** Times its lowest value since its last height that a rate rises at a restart. */
const RISE = 3;
/** Share of an earlier height that a restarted rate comes back to: some schedules lower each height. */
const HEIGHT = 0.4;
/** A loss of up to so many times that of the same rate before is what is usual at that rate. */
const AS_BEFORE = 1.5;
/** Points at which a rate comes down before a restart: a rate that was lowered by hand falls at one. */
const FALLS = 5;
/** Points that a level is of. */
const LEVEL = 20;

export const scheduleRestart: KnownFailure = {
  id: 'schedule-restart',
  title: 'The learning rate was restarted, and the loss is that of its height',
  symptoms: ['restart', 'warm restart', 'cosine', 'sgdr', 'cyclic', 'schedule', 'false alarm'],
  docs: {
    summary:
      'A schedule with restarts raises the rate, and the loss goes to where it was when the rate was that high before.',
    evidence: `In the logged rate: a fall step by step, then a rise by ${RISE} times or more to at least ${HEIGHT} of an earlier height. The loss after it is at most ${AS_BEFORE} times its level when the rate was last that high.`,
    notThis:
      'A loss that is far above its level at the same rate: then the restart was not harmless (`rate-raised`).',
    whatToDo:
      'Nothing, where the restart was planned: the loss comes down again with the rate. If it was not planned, the schedule began anew at a resume.',
  },
  look(log) {
    const { run, loss, rates, onset } = log;
    if (loss === null || rates === null || onset < 0) return null;
    const restart = restartBefore(rates, loss.step.at(onset)!);
    if (restart === null) return null;
    const then = levelAt(log, restart.rate);
    const after = loss.value.subarray(onset).filter(Number.isFinite);
    const highest = levelBefore(after, after.length, after.length);
    if (after.length < loss.value.length - onset || !(highest <= AS_BEFORE * then)) return null;
    const statement = `the learning rate was restarted at ${run.stepUnit} ${restart.step}: it rises ${formatNumber(restart.times, 'brief')}-fold to ${formatNumber(restart.rate, 'brief')}, where it was before`;
    return {
      trigger: 'schedule',
      confidence: 'likely',
      lead: 'the schedule restarted, and nothing else happened',
      step: restart.step,
      factor: restart.times,
      statement: `${statement}; the loss is ${formatNumber(highest, 'brief')}, and was ${formatNumber(then, 'brief')} when the rate was last that high`,
      evidence: [
        {
          id: 'learning-rate',
          statement,
          value: restart.rate,
          unit: 'learning rate',
          usual: null,
          at: { step: restart.step, batchStep: null },
        },
      ],
      remedy: {
        action: 'none-needed',
        statement: 'nothing, if the restart was planned: the loss comes down again with the rate',
      },
    };
  },
};

interface Restart {
  readonly step: number;
  readonly rate: number;
  readonly times: number;
}

/** The last restart up to a step: where the rate is back at about the height that it had come down from, point by point. */
function restartBefore({ step, value }: Points, until: number): Restart | null {
  let [height, lowest, falls] = [0, Number.POSITIVE_INFINITY, 0];
  let found: Restart | null = null;
  for (let i = 0; i < value.length && step.at(i)! <= until; i++) {
    const rate = value.at(i)!;
    const cameDown = falls >= FALLS && height > RISE * lowest;
    if (cameDown && rate > RISE * lowest && rate >= HEIGHT * height && rate <= AS_BEFORE * height) {
      found = { step: step.at(i)!, rate, times: rate / lowest };
      [height, lowest, falls] = [rate, rate, 0];
    } else if (rate > height) [height, lowest, falls] = [rate, rate, 0];
    else if (rate < lowest) {
      lowest = rate;
      falls++;
    }
  }
  return found;
}

/** Level of the loss at the first point of the log at which the rate was as high as at the restart, after it had learnt. */
function levelAt({ loss, rates }: LogEvidence, rate: number): number {
  const { step, value } = rates!;
  // The last point of the first cycle at which the rate was still about that high: by then the loss had come down from its start.
  let last = -1;
  for (let i = 0; i < value.length; i++) {
    if (value.at(i)! >= 0.7 * rate) last = i;
    else if (last >= 0) break;
  }
  if (last < 0) return Number.NaN;
  const until = loss!.step.findLastIndex((one) => one <= step.at(last)!);
  return levelBefore(loss!.value, until + 1, LEVEL);
}
