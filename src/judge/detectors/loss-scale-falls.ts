import type { Finding } from '../../model/finding.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { COUNT } from '../../model/options.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { HIGH, LOST, lossScaleOf, POINTS, skipsEveryStepFrom } from '../incidents/scaler.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'A gradient is not finite at each of these steps, so the scaler skips them and no parameter moves: the loss stays where it is, and the run is dead. Stop it, go back to a checkpoint from before, and train in bfloat16 or float32, or find what overflows there (a batch, an exponential, a division).';

export const lossScaleFalls = {
  id: 'loss-scale-falls',
  title: 'The loss scaler skips every step',
  severity: 'error',
  thresholds: [
    {
      name: 'falls',
      value: 6,
      unit: 'points in a row',
      range: COUNT,
      origin:
        'a scaler finds its scale in up to five; the one of PyTorch halves it at each step that it skips',
    },
  ],
  docs: {
    summary:
      'The loss scale falls to the end of the log, or every gradient norm is infinite while the loss stays where it is.',
    details: `A loss scaler lowers its scale at each step whose gradient is not finite, and skips the step. Counts the points at the end of each attempt
at which the scale is below that of the point before (or 0); at least \`falls\` of them are a finding. So is a scale that was ${HIGH} or more and is below
${LOST} for ${POINTS} points to the end. Where no scale shows it, the gradient norm does: it is infinite or NaN at the last ${POINTS} points or more, and the
loss is finite and comes down no more. A scale that falls and then stays, as at the start of most runs, is not a finding. An attempt that another one follows is a note.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const scale = lossScaleOf(run);
    const norms = run.series.find(({ role }) => role === 'grad_norm');
    if (scale === undefined && norms === undefined)
      return notApplicable('the log has no loss scale and no gradient norm');
    const loss = judged.loss?.series;
    const findings = run.attempts.flatMap((_, attempt) => {
      const pointsOf = (series: TimeSeries | undefined) =>
        series === undefined ? null : attemptOf(series, attempt);
      const signs = { scale: pointsOf(scale), norms: pointsOf(norms), loss: pointsOf(loss) };
      const found = skipsEveryStepFrom(signs, threshold('falls'));
      if (found === null) return [];
      const series = found.sign === 'scale' ? scale! : norms!;
      const isLast = attempt === run.attempts.length - 1;
      return skippedFrom(run, series, attempt, found, isLast ? 'error' : 'note', threshold('falls'));
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;

function skippedFrom(
  run: Run,
  series: TimeSeries,
  attempt: number,
  { sign, from }: NonNullable<ReturnType<typeof skipsEveryStepFrom>>,
  severity: Finding['severity'],
  least: number,
): Finding {
  const { value, step } = attemptOf(series, attempt);
  const offset = series.attemptOffsets[attempt]!;
  const points = value.length - from;
  const since = `from ${run.stepUnit} ${step.at(from)} to the end`;
  const message =
    sign === 'scale'
      ? `"${series.name}" falls and does not come back, ${since} (${formatNumber(value.at(from - 1)!)} → ${formatNumber(value.at(-1)!)})`
      : `"${series.name}" is infinite or NaN at ${countedPlain(points, 'point')} in a row, ${since}, and the loss comes down no more`;
  const what = sign === 'scale' ? 'falls to the end' : 'points that are not finite, to the end';
  return findingAt(run, series, offset + from, offset + value.length - 1, {
    id: 'loss-scale-falls',
    severity,
    message: `${message}: the loss scaler skips these steps, and nothing is learned.`,
    measured: quantity(what, points, 'points in a row'),
    threshold: quantity(what, sign === 'scale' ? least : POINTS, 'points in a row'),
    advice,
  });
}
