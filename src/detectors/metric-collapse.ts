import { medianOf } from '../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../model/run.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';
import { figure } from './verdict.ts';

const advice =
  'An AUC of 0.5 ranks at random: the model has forgotten everything. Go back to a checkpoint before the collapse.';

/** Half-width of what counts as 0.5. */
const CHANCE = 0.02;
/** What the AUC must have reached before. */
const LEARNT = 0.6;
/** Points in a row to the end. */
const POINTS = 3;

export const metricCollapse = {
  id: 'metric-collapse',
  title: 'The AUC fell to 0.5 and stayed there',
  severity: 'error',
  thresholds: [
    {
      name: 'chance',
      value: CHANCE,
      unit: 'AUC',
      origin: 'an AUC over 1,000 pairs of random scores is within 0.02 of 0.5',
    },
    {
      name: 'learnt',
      value: LEARNT,
      unit: 'AUC',
      origin: 'a model that never ranked better has not lost anything',
    },
    { name: 'points', value: POINTS, unit: 'points', origin: 'one bad evaluation is none' },
  ],
  docs: {
    summary: 'An AUC that had been learnt is at chance, to the end of the run.',
    details: `For every series whose name says AUC: the median of three points had reached \`learnt\`, and at least \`points\` points in a row to
the end of an attempt lie within \`chance\` of 0.5. The paper calls this the mark of full divergence, and so does the verdict, even where the loss
alone looks tame.`,
    advice,
    references: ['Tang et al., KDD 2023, arXiv 2302.09178, section 3: "AUC drops to 0.5"'],
  },
  detect(run) {
    const series = aucsOf(run);
    if (series.length === 0) return notApplicable('the log has no AUC');
    const findings = series.flatMap((one) =>
      one.attemptOffsets.flatMap((_, attempt) => {
        const collapse = collapseOf(one, attempt);
        if (collapse === null) return [];
        const { from, to, best } = collapse;
        return findingAt(run, one, from, to, {
          id: 'metric-collapse',
          severity: 'error',
          message: `"${one.name}" is at chance from ${run.stepUnit} ${one.step[from]} to the end (${figure(one.value[to]!)}); it had reached ${figure(best)}.`,
          measured: quantity('distance from 0.5', Math.abs(one.value[to]! - 0.5), 'AUC'),
          threshold: quantity('distance from 0.5', CHANCE, 'AUC'),
          advice,
        });
      }),
    );
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/** The series of a run whose names say that they are areas under a ROC curve. */
export const aucsOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(
    ({ role, name }) => role === 'metric' && /(^|[^a-z])(roc[-_ ]?)?au(ro)?c(?!pr)([^a-z]|$)/i.test(name),
  );

/** The stretch at chance to the end of an attempt, as indices into the whole series; null where there is none. */
export function collapseOf(series: TimeSeries, attempt: number) {
  const { value } = attemptOf(series, attempt);
  let from = value.length;
  while (from > 0 && Math.abs(value[from - 1]! - 0.5) <= CHANCE) from--;
  if (value.length - from < POINTS) return null;
  let best = Number.NEGATIVE_INFINITY;
  for (let i = 0; i + 3 <= from; i++) best = Math.max(best, medianOf(value.subarray(i, i + 3)));
  if (!(best >= LEARNT)) return null;
  const offset = series.attemptOffsets[attempt] ?? 0;
  return { from: offset + from, to: offset + value.length - 1, best };
}
