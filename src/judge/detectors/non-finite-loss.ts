import { readerOf } from '../../model/column.ts';
import type { Finding } from '../../model/finding.ts';
import { countedPlain } from '../../model/format-number.ts';
import { incidentTitle } from '../../model/incident-words.ts';
import { countNonFiniteIn } from '../../model/order-statistics.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import { incidentsOf } from '../incidents/attempts.ts';
import { scalerSkips } from '../incidents/scaler.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const ofLoss =
  'look at the loss function and the batch (log of 0, division by 0, broken labels) and at the mixed-precision loss scale';
const ofRates = 'at the learning rate and at clipping';
const cause = `If it came without a jump, ${ofLoss}; if the loss had jumped before, ${ofRates}.`;
const lost = 'What follows the first non-finite loss is lost: go back to a checkpoint before it.';
const advice = `${lost} ${cause}`;
const adviceIfBack = `The loss came back, so the parameters stayed finite: the step was skipped or only the logged value was bad. ${cause}`;
const adviceIfSkipped = 'The loss scaler did its work: it skipped the step and lowered the scale.';

export const nonFiniteLoss = {
  id: 'non-finite-loss',
  title: incidentTitle('non-finite'),
  severity: 'error',
  thresholds: [],
  docs: {
    summary: 'A loss is NaN, +Infinity or -Infinity.',
    details: `Looks at every loss: total, tasks, evals. One that stays non-finite to the end of an attempt is an error, one that
comes back too: the step went into the weights, or what was logged is not what was trained. It is a note where a loss scaler skipped the step (the logged scale
falls there, at most five points in a row are not finite, and the loss goes on), and a warning in an eval loss. Names the step where an incident led there, if one did.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    const losses = run.series.filter(
      ({ role, lossLike }) =>
        role === 'loss' || role === 'task_loss' || role === 'eval_loss' || lossLike !== undefined,
    );
    if (losses.length === 0) return notApplicable('the log has no loss');
    const judgedLosses = [...(judged.loss === null ? [] : [judged.loss]), ...judged.taskLosses];
    const findings: Finding[] = [];
    for (const series of losses) {
      const found = nonFinitePoints(series);
      if (found.count === 0) continue;
      const bySkips = scalerSkips(run, series).size === found.count;
      const one = judgedLosses.find((candidate) => candidate.series === series);
      const led =
        one &&
        incidentsOf(one).find(
          ({ incident, found }) => incident.class === 'non-finite' && found.onset < found.peak,
        );
      const left = led?.incident.onsetStep ?? null;
      findings.push(
        findingAt(run, series, found.first, found.last, {
          id: 'non-finite-loss',
          severity: bySkips ? 'note' : series.role === 'eval_loss' ? 'warning' : 'error',
          message: `"${series.name}" is not finite at ${found.count} of ${countedPlain(series.value.length, 'point')}, ${rangeOf(run, series, found)} (${found.kinds}).${led ? ` It had left its usual range at ${run.stepUnit} ${left}.` : ''}${bySkips ? ' The loss scaler skipped these steps.' : ''}`,
          measured: quantity('non-finite points', found.count, 'points'),
          threshold: quantity('non-finite points', 0, 'points'),
          advice: bySkips ? adviceIfSkipped : adviceFor(found.stays, left, run.stepUnit, one !== undefined),
        }),
      );
    }
    return outcomeOf(findings);
  },
} as const satisfies Detector;

type NonFinite = ReturnType<typeof nonFinitePoints>;

/** From where to where the points lie. */
function rangeOf(run: Pick<Run, 'stepUnit'>, series: TimeSeries, { first, last, stays }: NonFinite): string {
  const from = `${run.stepUnit} ${series.step.at(first)}`;
  if (stays) return `from ${from} to the end`;
  return first === last ? `at ${from}` : `from ${from} to ${series.step.at(last)}`;
}

/**
 * @param stays whether the loss is not finite to the end of an attempt
 * @param left step at which the loss had left its usual range before; null where it came without a jump
 * @param isJudged whether it is known that there was no jump
 */
function adviceFor(stays: boolean, left: number | null, stepUnit: string, isJudged: boolean): string {
  if (!stays) return adviceIfBack;
  if (left !== null)
    return `What follows ${stepUnit} ${left} is lost: go back to a checkpoint before it. The loss had jumped before: look ${ofRates}.`;
  return isJudged ? `It came without a jump: ${ofLoss}. ${lost}` : advice;
}

/** Where a series is not finite: how often, first and last index, whether to the end of an attempt, and what it is. */
export function nonFinitePoints(series: TimeSeries) {
  const { value } = series;
  const ends = new Set([...series.attemptOffsets.slice(1), value.length].map((end) => end - 1));
  let first = -1;
  let last = -1;
  let stays = false;
  const { nan, posInf, negInf } = countNonFiniteIn(value);
  const at = readerOf(value);
  for (let i = 0; i < value.length && nan + posInf + negInf > 0; i++) {
    if (Number.isFinite(at(i))) continue;
    if (first < 0) first = i;
    last = i;
    if (ends.has(i)) stays = true;
  }
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
