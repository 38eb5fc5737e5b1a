import { medianOf } from '../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../model/run.ts';
import {
  counted,
  type Detector,
  findingAt,
  notApplicable,
  outcomeOf,
  quantity,
  seriesOf,
} from './detector.ts';

const advice =
  'The weights are NaN and the trainer hides it (the Hugging Face Trainer logs a NaN loss as 0.0 with `logging_nan_inf_filter`). Stop the run, go back to a checkpoint before the first zero, and lower the learning rate or fix the mixed precision there.';

/** Zeros in a row to the end that mean death where no gradient norm tells. */
const ZEROS = 10;
/** A loss that falls to zero by itself passes through small values; one above this share of its first level did not. */
const ABRUPT_SHARE = 0.05;

export const deadRun = {
  id: 'dead-run',
  title: 'The loss is exactly zero and the model is dead',
  severity: 'error',
  thresholds: [
    {
      name: 'zeros',
      value: ZEROS,
      unit: 'points',
      origin:
        'with a NaN gradient norm one zero is enough; without a norm ten in a row to the end are asked for',
    },
    {
      name: 'abruptShare',
      value: ABRUPT_SHARE,
      unit: 'share of the first level',
      origin: 'a loss that is learnt down to a printed 0.0000 passes through small values before',
    },
  ],
  docs: {
    summary: 'The loss is exactly 0.0 to the end while the gradient norm is NaN, or fell to 0.0 at once.',
    details: `Looks at the zeros at the end of each attempt of the loss. They count if a gradient norm logged there is NaN, or if
\`zeros\` of them follow a loss that was still above \`abruptShare\` of its first level. The verdict treats them as NaN.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    if (judged.loss === null) return notApplicable('the log has no loss');
    const { series } = judged.loss;
    const findings = series.attemptOffsets.flatMap((_, attempt) => {
      const dead = deadStretch(run, series, attempt);
      if (dead === null) return [];
      const { from, to, nanNorm } = dead;
      return findingAt(run, series, from, to, {
        id: 'dead-run',
        severity: 'error',
        message: `"${series.name}" is exactly 0 from ${run.stepUnit} ${series.step[from]} to the end (${counted(to - from + 1, 'point')})${nanNorm === null ? ', at once' : ` and "${nanNorm}" is NaN`}: the run is dead.`,
        measured: quantity('zeros to the end', to - from + 1, 'points'),
        threshold: quantity('zeros to the end', nanNorm === null ? ZEROS : 1, 'points'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/**
 * The zeros at the end of an attempt of a loss that stand for NaN, as indices into the whole series, with the name of the
 * gradient norm that is NaN there; null where there are none.
 */
export function deadStretch(run: Run, series: TimeSeries, attempt: number) {
  const offset = series.attemptOffsets[attempt] ?? 0;
  const { value, step } = attemptOf(series, attempt);
  let from = value.length;
  while (from > 0 && value[from - 1] === 0) from--;
  const zeros = value.length - from;
  if (zeros === 0) return null;
  const nanNorm = seriesOf(run, 'grad_norm').find((norms) => {
    const norm = attemptOf(norms, attempt);
    return norm.value.some((entry, i) => Number.isNaN(entry) && norm.step[i]! >= step[from]!);
  });
  const before = value.subarray(Math.max(0, from - 10), from);
  const abrupt =
    zeros >= ZEROS && medianOf(before) > ABRUPT_SHARE * medianOf(value.subarray(0, Math.min(10, from)));
  if (nanNorm === undefined && !abrupt) return null;
  return { from: offset + from, to: offset + value.length - 1, nanNorm: nanNorm?.name ?? null };
}
