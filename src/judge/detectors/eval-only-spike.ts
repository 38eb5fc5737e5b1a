import { formatNumber } from '../../model/format-number.ts';
import { attemptOf, type TimeSeries } from '../../model/run.ts';
import { incidentsOf, judgeSeries } from '../incidents/attempts.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import {
  type Detector,
  findingAt,
  firstOf,
  notApplicable,
  outcomeOf,
  quantity,
  seriesOf,
} from './detector.ts';

const advice =
  'The training loss does not show it: look at what only the evaluation uses (batch-norm statistics, averaged weights, the eval data, dropout switches).';

export const evalOnlySpike = {
  id: 'eval-only-spike',
  title: 'The eval loss spikes and the training loss does not',
  severity: 'note',
  thresholds: verdictThresholds('incidentRatio'),
  docs: {
    summary: 'An eval loss jumps far above its level while the training loss does not.',
    details: `Every eval loss against its own best level: above it by more than its noise and \`incidentRatio\` times as high, with no incident of the
training loss since the evaluation before. A "training" loss that is logged at the evaluations only is an evaluation itself and excuses nothing.
In one public run with large batch-norm weights the eval loss reached 1e16 and came back.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const evals = seriesOf(run, 'eval_loss');
    if (evals.length === 0) return notApplicable('the log has no eval loss');
    const training = judged.loss !== null && judged.loss.series.role !== 'eval_loss' ? judged.loss : null;
    const spikes = evals.flatMap((series) => {
      const excuses = training !== null && !sameSteps(training.series, series) ? incidentsOf(training) : [];
      return incidentsOf(judgeSeries(run, series, judged.settings)).flatMap(
        ({ found, attempt, incident }) => {
          if (found.form !== 'jump' || !Number.isFinite(incident.peak)) return [];
          const offset = series.attemptOffsets[attempt] ?? 0;
          const end = (found.recovered ?? attemptOf(series, attempt).value.length) - 1;
          const excused = excuses.some(
            (other) =>
              other.attempt === attempt &&
              other.incident.onsetStep <= series.step.at(offset + end)! &&
              (other.incident.recoveredStep ?? Infinity) >= (incident.lastGoodStep ?? -Infinity),
          );
          if (excused) return [];
          return { series, from: offset + found.onset, to: offset + end, found, incident };
        },
      );
    });
    return outcomeOf(
      firstOf(spikes, ({ series, from, to, found, incident }) =>
        findingAt(run, series, from, to, {
          id: 'eval-only-spike',
          severity: 'note',
          message: `"${series.name}" spikes to ${formatNumber(incident.peak)} at ${run.stepUnit} ${incident.peakStep} from a median of ${formatNumber(found.before)}.`,
          measured: found.byRatio
            ? quantity('peak over the median before', found.size, 'ratio')
            : quantity('peak', incident.peak, 'loss'),
          threshold: found.byRatio
            ? quantity('jump that starts an incident', threshold('incidentRatio'), 'ratio')
            : quantity('upper edge of the band before', found.high, 'loss'),
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;

const sameSteps = (a: TimeSeries, b: TimeSeries): boolean =>
  a.step.length === b.step.length && a.step.every((step, i) => step === b.step.at(i));
