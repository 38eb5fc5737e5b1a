import { formatNumber } from '../../model/format-number.ts';
import { POSITIVE, RATIO } from '../../model/options.ts';
import { attemptOf } from '../../model/run.ts';
import { exceedances } from '../incidents/bands.ts';
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
  'A loss that spikes together with its gradient norm is a step that the optimizer will feel: look at the batch of that step, and clip the update if it happens again.';

export const coSpike = {
  id: 'co-spike',
  title: 'Loss and gradient norm spike at the same step',
  severity: 'note',
  thresholds: [
    {
      name: 'scales',
      value: 6,
      unit: 'scales',
      range: POSITIVE,
      origin: 'a calibrated rule found in the wild: both above z = 6; six healthy public runs peaked at 4.5',
    },
    {
      name: 'ratio',
      value: 1.05,
      unit: 'ratio to the median',
      range: RATIO,
      origin: 'the floor of the band: a quiet loss that moves by less is fine',
    },
  ],
  docs: {
    summary: 'At one step both the loss and the gradient norm are far above their medians.',
    details: `Both series against the median and robust scale of the window before: the loss a spike or on the way up into an incident, the gradient norm more
than \`scales\` scales and \`ratio\` above, at the same logged step. Noise in either alone is usual; together they rarely are noise.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const norms = seriesOf(run, 'grad_norm');
    if (judged.loss === null || norms.length === 0) return notApplicable('needs a loss and a gradient norm');
    const { series } = judged.loss;
    const pairs = series.attemptOffsets.flatMap((offset, attempt) => {
      const loss = attemptOf(series, attempt);
      const { spikes, incidents } = judged.loss!.attempts[attempt]!;
      const above = new Map(spikes.map(({ index, scales }) => [loss.step.at(index)!, { index, scales }]));
      // Of an incident the way up: what follows is its consequence.
      for (const { onset, peak, form } of incidents)
        for (let i = onset; i <= peak && form === 'jump'; i++)
          if (Number.isFinite(loss.value.at(i)!))
            above.set(loss.step.at(i)!, { index: i, scales: Number.POSITIVE_INFINITY });
      if (above.size === 0) return [];
      return norms.flatMap((norm) => {
        const { value, step } = attemptOf(norm, attempt);
        return exceedances(value, threshold('scales'), threshold('ratio')).flatMap((gradient) => {
          const together = above.get(step.at(gradient.index)!);
          if (together === undefined) return [];
          const at = offset + together.index;
          return { at, norm: norm.name, height: value.at(gradient.index)!, scales: gradient.scales };
        });
      });
    });
    return outcomeOf(
      firstOf(pairs, ({ at, norm, height, scales }) =>
        findingAt(run, series, at, at, {
          id: 'co-spike',
          severity: 'note',
          message: `"${series.name}" (${formatNumber(series.value.at(at)!)}) and "${norm}" (${formatNumber(height)}) spike together at ${run.stepUnit} ${series.step.at(at)}.`,
          measured: quantity('distance of the gradient norm from its median', scales, 'scales'),
          threshold: quantity('distance from the median', threshold('scales'), 'scales'),
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;
