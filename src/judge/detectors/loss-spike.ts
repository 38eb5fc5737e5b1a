import { formatNumber } from '../../model/format-number.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import {
  type Detector,
  findingAt,
  firstOf,
  notApplicable,
  outcomeOf,
  quantity,
  worstOfStretches,
} from './detector.ts';

const advice =
  'A single spike that comes back at once is usual; look at the batch if they get more frequent.';

export const lossSpike = {
  id: 'loss-spike',
  title: 'Single losses far above the band',
  severity: 'note',
  thresholds: verdictThresholds('spikeScales', 'windowPoints', 'windowShare', 'windowMaximum', 'smallSample'),
  docs: {
    summary: 'A loss stands far above the median of the points before, but by too little for an incident.',
    details: `More than \`spikeScales\` robust scales, without a floor. The band is the median and the robust scale (1.4826·MAD) of the log of the loss over the window before (\`windowPoints\` points or \`windowShare\` of the run, whichever is more, \`windowMaximum\` at most; scales of few points are
widened by 1 + \`smallSample\`/points), without the point itself:
a window that holds the point hides a fifty-fold spike. Points that belong to an incident are left to its detector. Healthy runs have such
spikes too, so they are notes.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const { loss } = judged;
    if (loss === null || loss.series.role === 'eval_loss')
      return notApplicable('the log has no training loss');
    const stretches = loss.attempts.flatMap(({ spikes }, attempt) =>
      worstOfStretches(spikes, 'scales').map((stretch) => ({
        ...stretch,
        offset: loss.series.attemptOffsets[attempt] ?? 0,
      })),
    );
    return outcomeOf(
      firstOf(stretches, ({ from, to, worst, offset }) => {
        const at = offset + worst.index;
        return findingAt(run, loss.series, offset + from, offset + to, {
          id: 'loss-spike',
          severity: 'note',
          message: `"${loss.series.name}" spikes to ${formatNumber(loss.series.value.at(at)!)} at ${run.stepUnit} ${loss.series.step.at(at)}, ${formatNumber(worst.scales)} scales above a median of ${formatNumber(worst.before)}.`,
          measured: quantity('distance from the median', worst.scales, 'scales'),
          threshold: quantity('distance from the median', threshold('spikeScales'), 'scales'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;
