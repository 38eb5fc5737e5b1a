import { incidentsOf } from '../incidents/attempts.ts';
import type { Finding } from '../model/finding.ts';
import { countNonFinite } from '../model/order-statistics.ts';
import type { TimeSeries } from '../model/run.ts';
import {
  counted,
  type Detector,
  findingAt,
  notApplicable,
  outcomeOf,
  quantity,
  seriesOf,
} from './detector.ts';

const cause =
  'If it came without a jump, look at the batch (log of 0, division by 0, broken labels) and at the mixed-precision loss scale; if the loss had jumped before, at the learning rate and at clipping.';
const advice = `Nothing after the first non-finite loss is training: go back to a checkpoint before it. ${cause}`;
const adviceIfBack = `The loss came back, so the parameters stayed finite: the step was skipped or only the logged value was bad. ${cause}`;

export const nonFiniteLoss = {
  id: 'non-finite-loss',
  title: 'The loss is NaN or infinite',
  severity: 'error',
  thresholds: [],
  docs: {
    summary: 'A loss is NaN, +Infinity or -Infinity.',
    details: `Looks at every loss: total, tasks, evals. One that stays non-finite to the end of an attempt is an error, one that
comes back, and an eval loss, a warning. Names the step where an incident led there, if one did.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    const losses = seriesOf(run, 'loss', 'task_loss', 'eval_loss');
    if (losses.length === 0) return notApplicable('the log has no loss');
    const judgedLosses = [...(judged.loss === null ? [] : [judged.loss]), ...judged.taskLosses];
    const findings: Finding[] = [];
    for (const series of losses) {
      const found = nonFinitePoints(series);
      if (found.count === 0) continue;
      const stays = found.stays && series.role !== 'eval_loss';
      const one = judgedLosses.find((candidate) => candidate.series === series);
      const led =
        one &&
        incidentsOf(one).find(
          ({ incident, found }) => incident.class === 'non-finite' && found.onset < found.peak,
        );
      const from = `${run.stepUnit} ${series.step[found.first]}`;
      const range = found.stays
        ? `from ${from} to the end`
        : found.first === found.last
          ? `at ${from}`
          : `from ${from} to ${series.step[found.last]}`;
      findings.push(
        findingAt(run, series, found.first, found.last, {
          id: 'non-finite-loss',
          severity: stays ? 'error' : 'warning',
          message: `"${series.name}" is not finite at ${found.count} of ${counted(series.value.length, 'point')}, ${range} (${found.kinds}).${led ? ` It had left its band at ${run.stepUnit} ${led.incident.onsetStep}.` : ''}`,
          measured: quantity('non-finite points', found.count, 'points'),
          threshold: quantity('non-finite points', 0, 'points'),
          advice: found.stays ? advice : adviceIfBack,
        }),
      );
    }
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/** Where a series is not finite: how often, first and last index, whether to the end of an attempt, and what it is. */
export function nonFinitePoints(series: TimeSeries) {
  const { value } = series;
  const ends = new Set([...series.attemptOffsets.slice(1), value.length].map((end) => end - 1));
  let first = -1;
  let last = -1;
  let stays = false;
  for (let i = 0; i < value.length; i++) {
    if (Number.isFinite(value[i]!)) continue;
    if (first < 0) first = i;
    last = i;
    if (ends.has(i)) stays = true;
  }
  const { nan, posInf, negInf } = countNonFinite(value);
  const kinds = [
    nan > 0 ? `${nan} NaN` : '',
    posInf > 0 ? `${posInf} +Infinity` : '',
    negInf > 0 ? `${negInf} -Infinity` : '',
  ];
  return {
    count: nan + posInf + negInf,
    first,
    last,
    stays,
    kinds: kinds.filter((kind) => kind !== '').join(', '),
  };
}
