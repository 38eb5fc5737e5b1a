import { formatNumber } from '../../model/format-number.ts';
import { fallOf, rewardsOf } from '../incidents/rewards.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'The policy has forgotten what it had learnt. Go back to a checkpoint before the fall; a smaller learning rate or a tighter limit of the policy’s change (clip range, target KL) keeps it.';

export const rewardCollapse = {
  id: 'reward-collapse',
  title: 'A reward fell far below its level and stayed there',
  severity: 'error',
  thresholds: verdictThresholds('rewardPoints', 'rewardKept'),
  docs: {
    summary: 'A reward or return, of which more is better, fell and did not come back.',
    details: `For every metric whose name says reward or return (\`ep_rew_mean\`, \`episode_return\`, \`success_rate\`; not the rewards of a preference
pair, nor a spread or an extreme): its reciprocal, or its negative where rewards are not positive, is judged like a loss. It must be lost, or outside of its band for a quarter of the points, to the end of
an attempt, for \`rewardPoints\` points at least; or, where the noise of single points is as large as the fall, step down by six standard errors for the last
quarter of the points at least; each time by five standard errors, corrected for autocorrelation (neighbours of a mean over many episodes are alike), with less than \`rewardKept\` of the level before left, or of what had been learnt. A dip that comes back is exploration and not a finding. The verdict is then full divergence, whatever the losses say: those of a policy are about zero by construction.`,
    advice,
    references: ['Schulman et al., Proximal Policy Optimization Algorithms, 2017 (arXiv 1707.06347)'],
  },
  detect(run, { judged, threshold }) {
    const series = rewardsOf(run);
    if (series.length === 0) return notApplicable('the log has no reward');
    const findings = series.flatMap((one) =>
      one.attemptOffsets.flatMap((_, attempt) => {
        const fall = fallOf(one, attempt, judged.settings);
        if (fall === null) return [];
        const { from, to, before, after, learnt } = fall;
        return findingAt(run, one, from, to, {
          id: 'reward-collapse',
          severity: 'error',
          message: `"${one.name}" falls from ${formatNumber(before)} at ${run.stepUnit} ${one.step.at(from)} and stays at ${formatNumber(after)} to the end.`,
          measured: quantity('reward left', after, 'reward'),
          threshold: quantity(
            'reward that counts as lost',
            before - (1 - threshold('rewardKept')) * learnt,
            'reward',
          ),
          advice,
        });
      }),
    );
    return outcomeOf(findings);
  },
} as const satisfies Detector;
