import { countedPlain } from '../../model/format-number.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { deadStretch } from '../incidents/signs.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'The weights are NaN and the trainer hides it (the Hugging Face Trainer logs a NaN loss as 0.0 with `logging_nan_inf_filter`), or every row is masked out of the loss. Stop the run, go back to a checkpoint before the first zero, and lower the learning rate or fix the mixed precision there.';

export const deadRun = {
  id: 'dead-run',
  title: 'The loss is exactly zero and the model is dead',
  severity: 'error',
  thresholds: verdictThresholds('zeros', 'abruptShare'),
  docs: {
    summary: 'The loss is exactly 0.0 to the end while the gradient norm is NaN, or fell to 0.0 at once.',
    details: `Looks at the zeros at the end of each attempt of the loss. They count if a gradient norm logged there is NaN, or if
\`zeros\` of them follow a loss that was still above \`abruptShare\` of its first level. The verdict treats them as NaN.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    if (judged.loss === null) return notApplicable('the log has no loss');
    const { series } = judged.loss;
    const findings = series.attemptOffsets.flatMap((_, attempt) => {
      const dead = deadStretch(run, series, attempt, judged.settings);
      if (dead === null) return [];
      const { from, to, nanNorm } = dead;
      return findingAt(run, series, from, to, {
        id: 'dead-run',
        severity: 'error',
        message: `"${series.name}" is exactly 0 from ${run.stepUnit} ${series.step.at(from)} to the end (${countedPlain(to - from + 1, 'point')})${nanNorm === null ? ', at once: NaN printed as 0, or a loss that counts no row' : ` and "${nanNorm}" is NaN: the run is dead`}.`,
        measured: quantity('zeros to the end', to - from + 1, 'points'),
        threshold: quantity('zeros to the end', nanNorm === null ? threshold('zeros') : 1, 'points'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
