import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { POSITIVE, RATIO } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
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
  worstOfStretches,
} from './detector.ts';
import { lossReaction } from './loss-reaction.ts';

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
trailing window. Points that follow one another are one finding, which says how many they are and whether the loss left its usual range with them, or at most eight points after.
Norms of exactly zero and non-finite ones are left out (they have detectors of their own).`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const norms = seriesOf(run, 'grad_norm');
    if (norms.length === 0) return notApplicable('the log has no gradient norm');
    const stretches = norms.flatMap((series) =>
      series.attemptOffsets.flatMap((offset, attempt) => {
        const { value } = attemptOf(series, attempt);
        const above = exceedances(value, threshold('scales'), threshold('ratio')).map((one) => ({
          ...one,
          ratio: value.at(one.index)! / one.before,
        }));
        return worstOfStretches(above, 'ratio').map((stretch) => ({ ...stretch, series, offset, attempt }));
      }),
    );
    return outcomeOf(
      firstOf(stretches, ({ from, to, worst, series, offset, attempt }) => {
        const { stepUnit } = run;
        const [first, last] = [series.step.at(offset + from)!, series.step.at(offset + to)!];
        const times = `${formatNumber(worst.ratio, 'brief')} times its usual ${formatNumber(worst.before, 'brief')}`;
        const when =
          from === to
            ? `at ${stepUnit} ${first}`
            : staysHigh(attemptOf(series, attempt).value, to, worst.before * threshold('ratio'))
              ? `from ${stepUnit} ${first} on, and it does not come back`
              : `for ${to - from + 1} points, ${stepUnit}s ${first} to ${last}`;
        return findingAt(run, series, offset + from, offset + to, {
          id: 'gradient-norm-spike',
          severity: 'note',
          message: `"${series.name}" is ${from === to ? '' : 'up to '}${times} ${when}${lossReaction(run, judged, attempt, first, last)}.`,
          measured: quantity('distance from the median', worst.scales, 'scales'),
          threshold: quantity('distance from the median', threshold('scales'), 'scales'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;

/** Points after a stretch that show whether a norm came back. */
const AFTER = 10;

/** Whether a norm stays as high after a stretch of high ones: the band then follows it, and the stretch ends where the norm does not. */
function staysHigh(value: Column, last: number, limit: number): boolean {
  const after = value.subarray(last + 1).filter(Number.isFinite);
  return after.length >= AFTER && medianOf(after.subarray(0, AFTER)) > limit && medianOf(after) > limit;
}
