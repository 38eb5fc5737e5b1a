import { formatNumber } from '../../model/format-number.ts';
import { RATIO } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice = 'Keep the checkpoint of the best evaluation; regularise, stop earlier, or get more data.';

export const overfit = {
  id: 'overfit',
  title: 'The eval loss rises while the training loss falls',
  severity: 'note',
  thresholds: [
    {
      name: 'ratio',
      value: 1.1,
      unit: 'ratio to the own minimum',
      range: RATIO,
      origin: 'evals of healthy public runs end within 3 % of their best',
    },
    {
      name: 'points',
      value: 8,
      unit: 'points',
      range: { min: 3, max: Number.POSITIVE_INFINITY, integer: true },
      origin: 'medians of three at the best and at the end, and some between',
    },
  ],
  docs: {
    summary:
      'Since its best evaluation the eval loss has risen by more than a tenth, and the training loss went on falling.',
    details: `The eval loss, of \`points\` evaluations and more, is smoothed by running medians of three. If it ends above \`ratio\` times its minimum, and the training loss ends lower than it was
at that minimum, the model learns the training set and nothing else.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const evals = seriesOf(run, 'eval_loss').filter(({ lossLike }) => lossLike === undefined);
    const loss = judged.loss?.series;
    if (evals.length === 0 || loss === undefined || loss.role === 'eval_loss')
      return notApplicable('needs a training loss and an eval loss');
    const attempt = run.attempts.length - 1;
    const training = attemptOf(loss, attempt);
    const findings = evals.flatMap((series) => {
      const { value, step } = attemptOf(series, attempt);
      if (value.length < threshold('points')) return [];
      const smooth = (i: number): number => medianOf(value.subarray(Math.max(0, i - 2), i + 1));
      let best = 2;
      for (let i = 3; i < value.length; i++) if (smooth(i) < smooth(best)) best = i;
      const ratio = smooth(value.length - 1) / smooth(best);
      if (!(ratio > threshold('ratio')) || !(smooth(best) > 0)) return [];
      const levelUntil = (limit: number): number => {
        const end = training.step.findLastIndex((at) => at <= limit) + 1;
        return medianOf(
          training.value.subarray(
            Math.max(0, end - Math.max(3, Math.floor(training.value.length / 20))),
            end,
          ),
        );
      };
      if (!(levelUntil(Infinity) < levelUntil(step.at(best)!))) return [];
      const offset = series.attemptOffsets[attempt] ?? 0;
      return findingAt(run, series, offset + best, offset + value.length - 1, {
        id: 'overfit',
        severity: 'note',
        message: `"${series.name}" has risen from ${formatNumber(smooth(best))} at ${run.stepUnit} ${step.at(best)} to ${formatNumber(smooth(value.length - 1))} while "${loss.name}" went on falling.`,
        measured: quantity('end over the best', ratio, 'ratio'),
        threshold: quantity('end over the best', threshold('ratio'), 'ratio'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
