import type { Finding } from '../../model/finding.ts';
import { countedPlain } from '../../model/format-number.ts';
import { scalerSkips } from '../incidents/scaler.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';
import { nonFinitePoints } from './non-finite-loss.ts';

const advice =
  'With mixed precision an infinite norm now and then is the loss scaler at work and the step is skipped; check that it is. Otherwise the backward pass overflows: clip the gradient, look for log(0) or division by 0, and do not clip by a norm that is infinite (TensorFlow turns every gradient into NaN then).';

export const nonFiniteGradientNorm = {
  id: 'non-finite-gradient-norm',
  title: 'The gradient norm is NaN or infinite',
  severity: 'warning',
  thresholds: [],
  docs: {
    summary: 'A logged gradient norm is NaN or infinite, whether or not the loss is.',
    details: `Counts the non-finite points of every gradient norm and says whether the loss stays finite. In one public speech run the norm
was infinite 28 times, at first thousands of steps before anything showed in the loss. A note where a loss scaler skipped the steps: the logged scale falls
at each, at most five points in a row are not finite, and finite ones follow.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    const norms = seriesOf(run, 'grad_norm');
    if (norms.length === 0) return notApplicable('the log has no gradient norm');
    const findings: Finding[] = [];
    const lossFinite = judged.loss?.attempts.every(({ nonFinite }) => nonFinite === 0);
    for (const series of norms) {
      const found = nonFinitePoints(series);
      if (found.count === 0) continue;
      const loss =
        lossFinite === undefined
          ? ''
          : lossFinite
            ? ' The loss stays finite.'
            : ' The loss is not finite either.';
      const skipped = scalerSkips(run, series).size === found.count;
      const [first, last] = [series.step.at(found.first), series.step.at(found.last)];
      const span =
        first === last ? `at ${run.stepUnit} ${first}` : `between ${run.stepUnit} ${first} and ${last}`;
      findings.push(
        findingAt(run, series, found.first, found.last, {
          id: 'non-finite-gradient-norm',
          severity: skipped ? 'note' : 'warning',
          message: `"${series.name}" is not finite at ${found.count} of ${countedPlain(series.value.length, 'point')} ${span} (${found.kinds}).${loss}${skipped ? ' The loss scaler skipped these steps.' : ''}`,
          measured: quantity('non-finite points', found.count, 'points'),
          threshold: quantity('non-finite points', 0, 'points'),
          advice,
        }),
      );
    }
    return outcomeOf(findings);
  },
} as const satisfies Detector;
