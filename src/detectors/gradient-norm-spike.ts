import { exceedances, LOG_SCALE } from '../incidents/bands.ts';
import { formatNumber } from '../model/format-number.ts';
import { POSITIVE, RATIO } from '../model/options.ts';
import { attemptOf } from '../model/run.ts';
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
  'If the loss follows, clip: compare the limit with the quantiles of the norm. If it never does, this is noise of the data.';

export const gradientNormSpike = {
  id: 'gradient-norm-spike',
  title: 'Gradient norms far above the usual',
  severity: 'note',
  thresholds: [
    {
      name: 'scales',
      value: 8,
      unit: 'scales',
      range: POSITIVE,
      origin: 'gradient norms have heavier tails than losses; two more than the band of the loss',
    },
    {
      name: 'ratio',
      value: 3,
      unit: 'ratio to the median',
      range: RATIO,
      origin:
        'norms of healthy runs double all the time; a clip at three times the median is common practice',
    },
  ],
  docs: {
    summary: 'A gradient norm is far above the median of the norms before.',
    details: `Band as for the loss, of the log of the norm: more than \`scales\` robust scales **and** \`ratio\` times above the median of the
trailing window. Norms of exactly zero and non-finite ones are left out (they have detectors of their own).`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const norms = seriesOf(run, 'grad_norm');
    if (norms.length === 0) return notApplicable('the log has no gradient norm');
    const spikes = norms.flatMap((series) =>
      series.attemptOffsets.flatMap((offset, attempt) => {
        const { value } = attemptOf(series, attempt);
        return exceedances(value, LOG_SCALE, judged.settings, threshold('scales'), threshold('ratio')).map(
          ({ index, before, scales }) => ({ series, at: offset + index, before, scales }),
        );
      }),
    );
    return outcomeOf(
      firstOf(spikes, ({ series, at, before, scales }) =>
        findingAt(run, series, at, at, {
          id: 'gradient-norm-spike',
          severity: 'note',
          message: `"${series.name}" is ${formatNumber(series.value[at]!)} at ${run.stepUnit} ${series.step[at]}, ${formatNumber(series.value[at]! / before)} times its median before.`,
          measured: quantity('distance from the median', scales, 'scales'),
          threshold: quantity('distance from the median', threshold('scales'), 'scales'),
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;
