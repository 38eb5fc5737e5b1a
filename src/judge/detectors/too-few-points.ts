import { countedPlain } from '../../model/format-number.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { type Detector, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'Log the loss at every step, or at least every ten, so that a jump can be distinguished from noise.';

export const tooFewPoints = {
  id: 'too-few-points',
  title: 'Too few points to judge',
  severity: 'note',
  thresholds: verdictThresholds('minimumPoints'),
  docs: {
    summary: 'The loss has too few points for a verdict.',
    details: `Every attempt has fewer than \`minimumPoints\` finite points. Non-finite values are reported all the same.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const { loss } = judged;
    if (loss === null) return notApplicable('the log has no loss');
    const most = Math.max(0, ...loss.attempts.map(({ points, nonFinite }) => points - nonFinite));
    if (most >= threshold('minimumPoints')) return outcomeOf([]);
    const { step, name } = loss.series;
    return outcomeOf([
      {
        id: 'too-few-points',
        severity: 'note',
        message: `"${name}" has ${countedPlain(most, 'finite point')} in its longest attempt; ${threshold('minimumPoints')} are needed for a verdict.`,
        steps: step.length === 0 ? null : [step.at(0)!, step.at(-1)!],
        series: name,
        measured: quantity('finite points', most, 'points'),
        threshold: quantity('finite points', threshold('minimumPoints'), 'points'),
        locations: run.paths.slice(0, 1).map((path) => ({ path })),
        advice,
      },
    ]);
  },
} as const satisfies Detector;
