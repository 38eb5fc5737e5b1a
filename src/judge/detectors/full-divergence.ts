import { incidentTitle } from '../../model/incident-words.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import type { Detector } from './detector.ts';
import { incidentFindings } from './incident-findings.ts';

const advice =
  'Go back to a checkpoint before the onset, skip the batches around it, and lower the learning rate or clip the update; `replay` on a capture shows which rule would have held.';

export const fullDivergence = {
  id: 'full-divergence',
  title: incidentTitle('full-divergence'),
  severity: 'error',
  thresholds: verdictThresholds(
    'incidentScales',
    'incidentRatio',
    'decisionPoints',
    'decisionShare',
    'fullRatio',
    'fullRatioAtEnd',
    'fullRatioShort',
    'shortOpenShare',
    'driftFullRatio',
    'lostShare',
  ),
  docs: {
    summary: 'The loss jumps far above its level before and stays there.',
    details: `An incident starts where the loss is more than \`incidentScales\` robust scales **and** \`incidentRatio\` above the
median of the points before. It is a full divergence if it is not back in the band within the decision window
(\`decisionPoints\` or \`decisionShare\` of the run, whichever is more) and then still above \`fullRatio\` times that median, or
if the log ends sooner and its last points are above \`fullRatioAtEnd\` times (\`fullRatioShort\` in runs of under 100 points,
once it has taken \`shortOpenShare\` of them).
Where it has taken a quarter of the run, \`fullRatio\` is enough, if the loss does not come down so fast that it would end the window
below that. A climb without a jump that ends \`driftFullRatio\` times above the best level counts too.
So does a loss of supervised training that ends where it began: at least \`lostShare\` of what it had learnt is lost.`,
    advice,
    references: [
      'Tang et al., Improving Training Stability for Multitask Ranking Models, KDD 2023, arXiv 2302.09178, section 3',
    ],
  },
  detect: (run, context) =>
    incidentFindings(run, context, 'full-divergence', {
      id: 'full-divergence',
      severity: 'error',
      advice,
      threshold: ['level that counts as lost', context.threshold('fullRatio'), 'ratio'],
    }),
} as const satisfies Detector;
