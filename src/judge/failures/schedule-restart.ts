import { formatNumber } from '../../model/format-number.ts';
import { AS_BEFORE, HEIGHT, RISE } from '../incidents/schedule-restart.ts';
import type { KnownFailure } from './failure.ts';
import { rateEvidence } from './log-evidence.ts';

export const scheduleRestart: KnownFailure = {
  id: 'schedule-restart',
  title: 'The learning rate was restarted, and the loss is that of its height',
  symptoms: ['restart', 'warm restart', 'cosine', 'sgdr', 'cyclic', 'schedule', 'false alarm'],
  docs: {
    summary:
      'A schedule with restarts raises the rate, and the loss goes to where it was when the rate was that high before.',
    evidence: `In the logged rate: a fall step by step, then a rise by ${RISE} times or more to at least ${HEIGHT} of an earlier height. The loss after it is nowhere above ${AS_BEFORE} times what was usual when the rate was that high before, and comes back, or ends at what it was at the last rate. The verdict counts no incident then.`,
    notThis:
      'A loss that is far above its level at the same rate, or that stays up when the rate has come down: then the restart was not harmless, and the verdict says so.',
    whatToDo:
      'Nothing, where the restart was planned: the loss comes down again with the rate. If it was not planned, the schedule began anew at a resume.',
  },
  look({ run, judged, attempt, onset }) {
    // The judge left the rise out of the incidents: one that it did not leave out is not explained by the schedule.
    const restart = onset >= 0 ? undefined : judged?.decides?.attempts[attempt]?.planned?.at(-1);
    if (restart === undefined) return null;
    const { step, rate, times, usual, highest } = restart;
    const statement = `the learning rate was restarted at ${run.stepUnit} ${step}: it rises ${formatNumber(times, 'brief')}-fold to ${formatNumber(rate, 'brief')}, where it was before`;
    return {
      trigger: 'schedule',
      confidence: 'likely',
      lead: 'the schedule restarted, and nothing else happened',
      step,
      factor: times,
      statement: `${statement}; the loss is at most ${formatNumber(highest, 'brief')} after it, and was ${formatNumber(usual, 'brief')} when the rate was last that high`,
      evidence: [rateEvidence(statement, rate, step)],
      remedy: {
        action: 'none-needed',
        statement: 'nothing, if the restart was planned: the loss comes down again with the rate',
      },
    };
  },
};
