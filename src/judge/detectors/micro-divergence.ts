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
  thresholds: verdictThresholds(
    'incidentScales',
    'incidentRatio',
    'gracePoints',
    'graceShare',
    'windowStart',
    'bandScales',
    'bandRatio',
    'recoveryPoints',
    'recoveryShare',
    'decisionPoints',
    'decisionShare',
    'stepErrors',
  ),
  docs: {
    summary:
      'The loss jumps far above its level before and comes back by itself, or settles below twice that level.',
    details: `An incident starts where the loss is more than \`incidentScales\` robust scales **and** \`incidentRatio\` above the
median of the points before and outside the band (\`bandScales\` scales, at least \`bandRatio\`), or where it is not finite. Points before \`windowStart\` (an
eighth of the run where that is less) have no band yet; the first \`gracePoints\` (a sixth where that is less) or \`graceShare\` of the run, whichever is more, start
no incident by it. It is a micro-divergence if \`recoveryPoints\` points in a row (\`recoveryShare\` of the
run where that is less) are back in the band within the decision window (\`decisionPoints\`, or \`decisionShare\` of the run where that is more); the first of them is the recovered step. A loss that
settles between its band and twice its level before is one too, without a recovered step. So is a level that rises for a while in a loss so noisy that no
point leaves the band: the median of eight points or more is twice the median of the window before, by more than \`stepErrors\` standard errors of the two, and falls
again.`,
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
