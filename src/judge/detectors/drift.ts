import { incidentTitle } from '../../model/incident-words.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import type { Detector } from './detector.ts';
import { incidentFindings } from './incident-findings.ts';

const advice =
  'The loss is worse than it was: keep the checkpoint from before the onset, look for a learning rate that grew (warm-up, restarts) or data that changed there.';

export const drift = {
  id: 'drift',
  title: incidentTitle('drift'),
  severity: 'warning',
  thresholds: verdictThresholds('driftRatio'),
  docs: {
    summary: 'The loss ends well above its own best level, without the jump of a divergence.',
    details: `A level is the median of the last 1 to 243 points. The loss rose above its best level by more than its own noise, and its last
level is above \`driftRatio\` times the best, or half of what was learnt is lost. The comparison is with the best level and not with the
first: a run may improve, climb, and still end below its start. A level that stays up, and is less than a full divergence, is a drift. The onset is the change point: where the summed excess over a quarter of the
height is lowest.`,
    advice,
    references: [
      'E. S. Page, Continuous inspection schemes, Biometrika 41, 1954 (the change-point estimate)',
    ],
  },
  detect: (run, context) =>
    incidentFindings(run, context, 'drift', {
      id: 'drift',
      severity: 'warning',
      advice,
      threshold: ['end over the best level', context.threshold('driftRatio'), 'ratio'],
    }),
} as const satisfies Detector;
