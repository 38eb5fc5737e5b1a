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
  thresholds: verdictThresholds(
    'driftRatio',
    'driftScales',
    'driftPointScales',
    'driftFullRatio',
    'shortOpenShare',
  ),
  docs: {
    summary: 'The loss ends well above its own best level, without the jump of a divergence.',
    details: `The loss, smoothed by medians over twentieths of the attempt, ends above \`driftRatio\` times its own lowest level, by more than
\`driftScales\` scales of what noise can do, and does not fall at the end. In runs of under 100 points the medians are of three points, and one
point is a level of its own if the loss ends \`driftPointScales\` scales above it; there the climb has to take \`shortOpenShare\` of the run. The
comparison is with the best level and not with the first: a
run may improve, climb, and still end below its start. Where neither shows a climb, the noise may hide it: the
median of the last quarter (or of a decision window) is held against those of the windows before, and has to be \`driftScales\` standard
errors above one of them; half as many where a jump to it seemed to come back.
A climb that ends \`driftFullRatio\` times above its best level is a full divergence. The onset is
the change point: where the summed excess over the edge of the band is lowest.`,
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
