import { incidentTitle } from '../../model/incident-words.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import type { Detector } from './detector.ts';
import { incidentFindings } from './incident-findings.ts';

const advice =
  'Go back to a checkpoint before the onset, skip the batches around it, and lower the learning rate or clip the update; `replay` on a capture shows which rule would have prevented it.';

export const fullDivergence = {
  id: 'full-divergence',
  title: incidentTitle('full-divergence'),
  severity: 'error',
  thresholds: verdictThresholds(
    'incidentRatio',
    'decisionPoints',
    'fullRatio',
    'fullRatioAtEnd',
    'lostShare',
  ),
  docs: {
    summary: 'The loss jumps far above its level before and stays there.',
    details: `A level is the median of the last 1 to 243 points. An incident begins where a level is above the best one so far by more than the
noise of both, and \`incidentRatio\` times as high. It is a full divergence if it is still above \`fullRatio\` times that best level after the
time to come back: a third of the points before it, at most \`decisionPoints\` or a tenth of them. Where the log ends sooner, \`fullRatioAtEnd\` times is enough.
A loss of supervised training that ends where it began is one, too: at least \`lostShare\` of what it had learnt is lost.`,
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
