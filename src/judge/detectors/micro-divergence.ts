import { incidentTitle } from '../../model/incident-words.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import type { Detector } from './detector.ts';
import { incidentFindings } from './incident-findings.ts';

const advice =
  'The run came back, but the next incident may not: clip the update or slow the warm-up, and record a capture around the onset to see which layer leads.';

const adviceNotBack =
  'The loss settled above its level before: go back to a checkpoint before the rise, and clip the update or train more slowly from there.';

export const microDivergence = {
  id: 'micro-divergence',
  title: incidentTitle('micro-divergence'),
  severity: 'warning',
  thresholds: verdictThresholds('incidentRatio', 'decisionPoints'),
  docs: {
    summary:
      'The loss jumps far above its level before and comes back by itself, or settles a little above that level.',
    details: `An incident begins where the loss is not finite, or where a level (the median of the last 1 to 243 points) is too high: above the
best one so far by more than the noise of both, and \`incidentRatio\` times as high. It is a micro-divergence if a level is back near the best one within
the time to come back (\`decisionPoints\`); the first point of that level is the recovered step. A loss that settles a little above its level before is one too,
without a recovered step. Rises that this loss shows again and again, with a recovery each time, are not.`,
    advice,
    references: ['Tang et al., KDD 2023, arXiv 2302.09178, section 3 (micro-divergence)'],
  },
  detect: (run, context) =>
    incidentFindings(run, context, 'micro-divergence', {
      id: 'micro-divergence',
      severity: 'warning',
      advice,
      adviceNotBack,
      threshold: ['jump that starts an incident', context.threshold('incidentRatio'), 'ratio'],
    }),
} as const satisfies Detector;
