import { formatNumber } from '../../model/format-number.ts';
import { COUNT, POSITIVE, RATIO } from '../../model/options.ts';
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
import { ANSWERS_WITHIN } from './loss-reaction.ts';

const advice =
  'The step was too long before the loss showed it: clip the update or the gradient, and look at the batch of the step of the update, not at that of the loss.';

export const updateNormSpike = {
  id: 'update-norm-spike',
  title: 'The update norm spikes shortly before the loss does',
  severity: 'note',
  reads: 'update_norm',
  thresholds: [
    {
      name: 'scales',
      value: 6,
      unit: 'scales',
      range: POSITIVE,
      origin: 'as for a loss and a gradient norm that spike together: the two confirm each other',
    },
    {
      name: 'ratio',
      value: 2,
      unit: 'ratio to the median',
      range: RATIO,
      origin:
        'in calm steps of 67 recorded runs of bench/causes (seven optimizers) 11 of 1,491 updates (0.7 %) are twice their median; the scales and a loss that follows have to agree',
    },
    {
      name: 'points',
      value: ANSWERS_WITHIN,
      unit: 'logged points of the update norm',
      range: COUNT,
      origin: 'arXiv 2304.13013 finds loss spikes one to eight steps after the spike of the update',
    },
  ],
  docs: {
    summary:
      'An update norm is far above the median of those before, and the loss spikes within the next points.',
    details: `Band as for the gradient norm, of the log of the update norm: more than \`scales\` robust scales **and** \`ratio\` times above the median of the trailing
window. It is found where a spike or the onset of an incident of the loss follows later, at most \`points\` logged points after it; the loss of a step is computed before its
update, so a spike of the loss at the same step is not its effect. An update that spikes while the loss stays in its band, or after it left, is not a finding. The norms are those of the log
(\`update_norm\`), or else those of the steps that a capture recorded.`,
    advice,
    references: [
      'Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023 (arXiv 2304.13013), section 3.4',
    ],
  },
  detect(run, { judged, threshold }) {
    const norms = seriesOf(run, 'update_norm');
    if (judged.loss === null || norms.length === 0) return notApplicable('needs a loss and an update norm');
    const { series: loss } = judged.loss;
    const pairs = norms.flatMap((series) =>
      series.attemptOffsets.flatMap((offset, attempt) => {
        const { value, step } = attemptOf(series, attempt);
        const losses = attemptOf(loss, attempt);
        const { spikes = [], incidents = [] } = judged.loss!.attempts[attempt] ?? {};
        // A climb has no moment that an update could have come before.
        const onsets = [
          ...spikes.map(({ index }) => index),
          ...incidents.filter(({ form }) => form === 'jump').map(({ onset }) => onset),
        ].map((index) => losses.step.at(index)!);
        return exceedances(value, threshold('scales'), threshold('ratio')).flatMap(
          ({ index, before, scales }) => {
            const last = step.at(Math.min(value.length - 1, index + threshold('points')))!;
            const follows = Math.min(...onsets.filter((at) => at > step.at(index)! && at <= last));
            return follows === Number.POSITIVE_INFINITY
              ? []
              : [{ series, at: offset + index, before, scales, follows }];
          },
        );
      }),
    );
    return outcomeOf(
      firstOf(pairs, ({ series, at, before, scales, follows }) =>
        findingAt(run, series, at, at, {
          id: 'update-norm-spike',
          severity: 'note',
          message: `"${series.name}" is ${formatNumber(series.value.at(at)!)} at ${run.stepUnit} ${series.step.at(at)}, ${formatNumber(series.value.at(at)! / before)} times its median before, and "${loss.name}" spikes at ${run.stepUnit} ${follows}.`,
          measured: quantity('distance from the median', scales, 'scales'),
          threshold: quantity('distance from the median', threshold('scales'), 'scales'),
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;
