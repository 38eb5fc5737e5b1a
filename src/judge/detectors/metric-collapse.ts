import { formatNumber } from '../../model/format-number.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { aucsOf, collapseOf } from '../incidents/signs.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'An AUC of 0.5 ranks at random: the model has forgotten everything. Go back to a checkpoint before the collapse.';

export const metricCollapse = {
  id: 'metric-collapse',
  title: 'The AUC fell to 0.5 and stayed there',
  severity: 'error',
  thresholds: verdictThresholds('chance', 'chancePoints', 'learnt'),
  docs: {
    summary: 'An AUC that had been learnt is at chance, to the end of the run.',
    details: `For every series whose name says AUC: the median of three points had reached \`learnt\`, and at least \`chancePoints\` points in a row to
the end of an attempt lie within \`chance\` of 0.5. The paper calls this the mark of full divergence, and so does the verdict, even where the loss
alone looks tame.`,
    advice,
    references: ['Tang et al., KDD 2023, arXiv 2302.09178, section 3: "AUC drops to 0.5"'],
  },
  detect(run, { judged, threshold }) {
    const series = aucsOf(run);
    if (series.length === 0) return notApplicable('the log has no AUC');
    const findings = series.flatMap((one) =>
      one.attemptOffsets.flatMap((_, attempt) => {
        const collapse = collapseOf(one, attempt, judged.settings);
        if (collapse === null) return [];
        const { from, to, best } = collapse;
        return findingAt(run, one, from, to, {
          id: 'metric-collapse',
          severity: 'error',
          message: `"${one.name}" is at chance from ${run.stepUnit} ${one.step.at(from)} to the end (${formatNumber(one.value.at(to)!)}); it had reached ${formatNumber(best)}.`,
          measured: quantity('distance from 0.5', Math.abs(one.value.at(to)! - 0.5), 'AUC'),
          threshold: quantity('distance from 0.5', threshold('chance'), 'AUC'),
          advice,
        });
      }),
    );
    return outcomeOf(findings);
  },
} as const satisfies Detector;
