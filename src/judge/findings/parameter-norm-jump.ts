import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { RATIO } from '../../model/options.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import {
  between,
  betweenEach,
  type Growth,
  growthBetween,
  stepsBetween,
  userNameOf,
} from './checkpoint-run.ts';

/** Which tensor grew most, as a clause; its own growth where it did not begin at 0. */
function mostOf({ most }: Growth): string {
  if (most === null) return '';
  const own = Number.isFinite(most.ratio) ? `, which grew ${formatNumber(most.ratio)}-fold` : '';
  return `: ${Math.floor(100 * most.share)} % of it in "${userNameOf(most.tensor)}"${own}`;
}

export const parameterNormJump = {
  id: 'parameter-norm-jump',
  title: 'The norm of all parameters jumped',
  severity: 'note',
  thresholds: [
    {
      name: 'growth',
      value: 10,
      unit: 'ratio to the checkpoint before',
      range: RATIO,
      origin: 'ours: small initial weights may grow as much in a healthy start, so it is a note',
    },
  ],
  docs: {
    summary: 'The norm of all parameters is many times what it was in the checkpoint before.',
    details: `The Euclidean norm of all parameters together, over their finite entries, is more than \`growth\` times that of the checkpoint before. Weights
that explode are finite for a while: the checkpoint looks whole, but it is no place to go back to.`,
    advice:
      'Go back to the checkpoint before the jump, and look for the step that was too long: a capture shows it.',
    references: [],
  },
  least: 2,
  find: (run, thresholds) =>
    betweenEach(run, (before, now): readonly Finding[] => {
      const limit = thresholds('parameter-norm-jump', 'growth');
      const growth = growthBetween(before, now);
      if (growth === null || !(growth.ratio > limit)) return [];
      return [
        {
          id: 'parameter-norm-jump',
          severity: 'note',
          message: `the norm of all parameters grew ${formatNumber(growth.ratio)}-fold ${between(before, now)}${mostOf(growth)}`,
          steps: stepsBetween(before, now),
          series: null,
          measured: { name: 'growth', value: growth.ratio, unit: 'ratio' },
          threshold: { name: 'growth', value: limit, unit: 'ratio' },
          locations: [
            { path: now.path, ...(growth.most === null ? {} : { tensor: growth.most.tensor.name }) },
          ],
          advice: `go back to ${before.path} or before`,
        },
      ];
    }),
} as const satisfies CheckpointFinding;
