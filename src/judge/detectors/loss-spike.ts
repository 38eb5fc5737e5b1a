import { formatNumber } from '../../model/format-number.ts';
import { NUMBERS } from '../incidents/numbers.ts';
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
  thresholds: verdictThresholds('incidentRatio'),
  docs: {
    summary: 'A loss is far above the level before, but not far enough for an incident.',
    details: `A single point that is above the best level so far by more than its noise and its usual heights, and less than
\`incidentRatio\` times as high. Points that belong to an incident are left to its detector. Healthy runs have such spikes too, so
they are notes.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    const { loss } = judged;
    if (loss === null || loss.series.role === 'eval_loss')
      return notApplicable('the log has no training loss');
    const stretches = loss.attempts.flatMap(({ spikes }, attempt) =>
      worstOfStretches(
        // One that only breaks an even fall is near the level before it.
        spikes.filter(({ scales }) => scales >= NUMBERS.errors),
        'scales',
      ).map((stretch) => ({
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
          message: `"${loss.series.name}" spikes to ${formatNumber(loss.series.value.at(at)!)} at ${run.stepUnit} ${loss.series.step.at(at)}, ${formatNumber(worst.scales)} standard errors above its best level of ${formatNumber(worst.before)}.`,
          measured: quantity('distance from the best level', worst.scales, 'standard errors'),
          threshold: quantity('distance from the best level', NUMBERS.errors, 'standard errors'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;
