import { formatNumber } from '../../model/format-number.ts';
import { COUNT, POSITIVE } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { incidentsOf } from '../incidents/attempts.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'After such a jump training goes on without learning: more steps will not help. Go back to a checkpoint before the jump.';

export const plateauAfterJump = {
  id: 'plateau-after-jump',
  title: 'After a jump the loss stays flat at its new level',
  severity: 'note',
  thresholds: [
    {
      name: 'points',
      value: 20,
      unit: 'points',
      range: COUNT,
      origin: 'two halves of ten points have medians that can be compared',
    },
    {
      name: 'change',
      value: 0.05,
      unit: 'share of the level',
      range: POSITIVE,
      origin: 'the floor of the band: a level that moves by less between the halves is flat',
    },
  ],
  docs: {
    summary: 'The loss jumped, did not come back, and no longer improves.',
    details: `For every incident that did not recover: the points of its last three quarters, at least \`points\`, in two halves. If their medians differ by less than \`change\`
the model no longer learns. In the paper's full divergences the gradient norm is small then: that is death, not recovery.`,
    advice,
    references: ['Tang et al., KDD 2023, arXiv 2302.09178, figure 4'],
  },
  detect(run, { judged, threshold }) {
    if (judged.loss === null) return notApplicable('the log has no loss');
    const { series } = judged.loss;
    const findings = incidentsOf(judged.loss).flatMap(({ found, attempt, incident }) => {
      if (found.recovered !== null || found.form !== 'jump') return [];
      const { value } = attemptOf(series, attempt);
      const from = found.onset + Math.ceil((value.length - found.onset) / 4);
      const middle = (from + value.length) >> 1;
      const first = medianOf(value.subarray(from, middle));
      const second = medianOf(value.subarray(middle));
      const change = Math.abs(second - first) / Math.abs(first);
      if (value.length - from < threshold('points') || !(change < threshold('change'))) return [];
      if (!(second > found.before)) return [];
      const offset = series.attemptOffsets[attempt] ?? 0;
      return findingAt(run, series, offset + found.onset, offset + value.length - 1, {
        id: 'plateau-after-jump',
        severity: 'note',
        message: `"${series.name}" has stayed near ${formatNumber(second)} since it jumped from ${formatNumber(found.before)} at ${run.stepUnit} ${incident.onsetStep}.`,
        measured: quantity('change between the halves of the plateau', change, 'share of the level'),
        threshold: quantity(
          'change between the halves of the plateau',
          threshold('change'),
          'share of the level',
        ),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
