import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { NOT_NEGATIVE, SHARE } from '../../model/options.ts';
import { clipLimitOf } from '../../model/run-settings.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'A limit that acts at most steps is a step limiter: it sets the effective learning rate. Raise it to a high quantile of the norm to make it a safety net, or lower the learning rate and say so.';

export const clippingSaturation = {
  id: 'clipping-saturation',
  title: 'The gradient is clipped at most steps',
  severity: 'note',
  thresholds: [
    {
      name: 'limit',
      value: 0,
      unit: 'gradient norm',
      range: NOT_NEGATIVE,
      origin:
        '0 means not named: then the run’s own hyperparameter is taken (max_grad_norm, gradient_clip_val and the like)',
    },
    {
      name: 'share',
      value: 0.5,
      unit: 'share of the points',
      range: SHARE,
      origin:
        'more than half of the steps at the limit: the limit and not the gradient decides the length of the step',
    },
    {
      name: 'rarely',
      value: 0.05,
      unit: 'share of the points',
      range: SHARE,
      origin: 'a limit at the 95th percentile of the norm or above leaves the usual step alone',
    },
  ],
  docs: {
    summary: 'The logged gradient norm exceeds the clipping limit at more than half of the steps.',
    details: `Counts how often each logged norm is above a limit, after the first sixth of the run: up to \`rarely\` it is a safety net, above \`share\`
a step limiter. \`analyze --clip-limit N\` (may be repeated) names limits, and each of them is reported whatever it comes to: so limits can be compared before one is
chosen. Otherwise \`limit\` counts, or the run's own, and only a step limiter is reported. Norms that are never above the limit but often equal to it were logged after clipping, and those at the limit are counted. Non-finite norms count as above.`,
    advice,
    references: [],
  },
  detect(run, { threshold, clipLimits }) {
    const norms = seriesOf(run, 'grad_norm');
    if (norms.length === 0) return notApplicable('the log has no gradient norm');
    const known = threshold('limit') > 0 ? threshold('limit') : clipLimitOf(run.hyperparameters);
    const limits = clipLimits.length > 0 ? clipLimits : known === undefined ? [] : [known];
    if (limits.length === 0)
      return notApplicable(
        'no clipping limit is known: name one with --clip-limit, or log it as hyperparameter max_grad_norm',
      );
    const findings = norms.flatMap((series) => {
      const from = Math.floor(series.value.length / 6);
      const points = series.value.subarray(from);
      return limits.flatMap((limit) => {
        const share = clippedShare(points, limit);
        const limiter = share > threshold('share');
        if (points.length === 0 || (!limiter && clipLimits.length === 0)) return [];
        const kind = limiter
          ? 'a step limiter, not a safety net'
          : share <= threshold('rarely')
            ? 'a safety net'
            : 'more than a safety net, less than a step limiter';
        return findingAt(run, series, from, series.value.length - 1, {
          id: 'clipping-saturation',
          severity: 'note',
          message: `"${series.name}" reaches the clipping limit of ${formatNumber(limit)} at ${formatNumber(100 * share)} % of ${points.length} points: ${kind}.`,
          measured: quantity('points at the limit', share, 'share of the points'),
          threshold: quantity('points at the limit', threshold('share'), 'share of the points'),
          advice: limiter ? advice : null,
        });
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/**
 * Share of norms that a limit clips: those above it (NaN and Infinity count as above). Where none is above but some are equal to
 * it up to a thousandth, the norms were logged after clipping and those count. NaN for no norms.
 */
function clippedShare(norms: Column, limit: number): number {
  let above = 0;
  let at = 0;
  for (const norm of norms) {
    if (!(norm <= limit * 1.001)) above++;
    else if (norm >= limit * 0.999) at++;
  }
  return (above > 0 ? above : at) / norms.length;
}
