/** Rewards and returns, of which more is better: their fall is judged as the rise of a loss. */
import { medianOf } from '../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../model/run.ts';
import { judgePoints } from './judge.ts';
import type { VerdictSettings } from './settings.ts';

const REWARD = /(^|[^a-z])(rew|rewards?|returns?|episodic_return|success_rate)([^a-z]|$)/i;
/**
 * Of a preference pair both rewards may fall while the run learns; a spread or an extreme of rewards is no level; a coefficient is a setting.
 */
const NO_LEVEL =
  /(^|[^a-z])(chosen|rejected|margins?|accurac(y|ies)|std|var|min|max|loss|scale|weight|coef\w*|kl|penalty)([^a-z]|$)/i;

/** The series of a run whose names say that they are rewards or returns. */
export const rewardsOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(({ role, name }) => role === 'metric' && REWARD.test(name) && !NO_LEVEL.test(name));

const VALUE_LOSS = /(^|[^a-z])(values?|vf|critic|td|qf?\d?)([^a-z]|$)/i;

/**
 * Whether a loss grows with what is learnt, in a run whose rewards rise: that of what predicts the returns, with their square;
 * one that begins at zero (GRPO's), since it measures how far the policy is from where it began. Its level says nothing of the policy.
 */
export function growsWithRewards(run: Run, { name, value }: Pick<TimeSeries, 'name' | 'value'>): boolean {
  if (!VALUE_LOSS.test(name) && value[0] !== 0) return false;
  const rewards = rewardsOf(run);
  return rewards.length > 0 && rewards.every(rises);
}

/** Whether the last third of a series is above its first. */
function rises({ value }: TimeSeries): boolean {
  const finite = value.filter(Number.isFinite);
  const third = Math.floor(finite.length / 3);
  return third > 0 && medianOf(finite.subarray(-third)) > medianOf(finite.subarray(0, third));
}

/** Where a reward fell for good, as indices into the whole series. */
export interface RewardFall {
  /** First point of the fall. */
  readonly from: number;
  readonly lastGood: number | null;
  /** The lowest point, and the last. */
  readonly lowest: number;
  readonly to: number;
  /** Median of the rewards before the fall, and of the last ones. */
  readonly before: number;
  readonly after: number;
  /** What could be lost: the level before, or the way up to it where that is more. */
  readonly learnt: number;
}

/** Share of the best reward under which a reward of 0 counts as that share. */
const NOTHING = 0.05;

/**
 * What falls as a reward rises, by the same ratio: its reciprocal, so that half of the reward is twice the loss; of rewards
 * that are never positive the negative; of rewards of both signs the negative too, whose level is judged by differences.
 */
function costsOf(rewards: Float64Array): Float64Array {
  const [low, high] = [rewards, rewards].map((values, k) =>
    values.reduce((a, b) => (k === 0 ? Math.min(a, b) : Math.max(a, b)), values[0]!),
  ) as [number, number];
  if (low < 0 || high === 0) return rewards.map((reward) => -reward);
  const least = NOTHING * high;
  return rewards.map((reward) => 1 / Math.max(reward, least));
}

/**
 * Share of the points that a fall has to last for, where too few of them follow for the judge to call it lost: our number. A
 * loss may come back after any of them; a policy that lost its reward for a quarter of its training is told.
 */
const LASTING = 0.25;

/**
 * The fall of a reward that lasts to the end of an attempt: its cost leaves its band and is lost or stays out of it for a
 * quarter of the points, by the one judge of losses, and less than half of the reward is left at the end. A dip that comes
 * back, however deep, is exploration.
 *
 * @returns null where there is none
 */
export function fallOf(series: TimeSeries, attempt: number, settings: VerdictSettings): RewardFall | null {
  const offset = series.attemptOffsets[attempt]!;
  const { value } = attemptOf(series, attempt);
  // Before the first episode has ended there is no reward.
  const kept = [...value.keys()].filter((i) => Number.isFinite(value[i]!));
  const rewards = Float64Array.from(kept, (i) => value[i]!);
  if (rewards.length < settings.minimumPoints) return null;
  const lost = judgePoints(costsOf(rewards), settings).incidents.find(
    ({ class: found, recovered, onset, end, form }) =>
      (found === 'full-divergence' ||
        (found === 'drift' && form === 'climb') ||
        (found === 'inconclusive' && end - onset >= LASTING * rewards.length)) &&
      recovered === null &&
      end === rewards.length,
  );
  if (lost === undefined || rewards.length - lost.onset < settings.rewardPoints) return null;
  const last = rewards.subarray(Math.max(lost.onset, rewards.length - settings.recoveryPoints));
  const before = rewards.subarray(Math.max(0, lost.onset - settings.rewardPoints), lost.onset);
  if (before.length === 0) return null;
  const [usual, after] = [medianOf(before), medianOf(last)];
  const start = medianOf(rewards.subarray(0, Math.min(5, lost.onset)));
  const learnt = Math.max(Math.abs(usual), usual - start);
  if (after > usual - (1 - settings.rewardKept) * learnt) return null;
  const position = (index: number): number => offset + kept[index]!;
  return {
    from: position(lost.onset),
    lastGood: lost.lastGood === null ? null : position(lost.lastGood),
    lowest: position(lost.peak),
    to: position(rewards.length - 1),
    before: usual,
    after,
    learnt,
  };
}
