/** Rewards and returns, of which more is better: their fall is judged as the rise of a loss. */
import { arrayOf } from '../../model/column.ts';
import { MAD_TO_SIGMA, medianOf, smallest } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import { noiseScale } from './bands.ts';
import { judgeAttempt } from './judge-attempt.ts';
import { COMPARED } from './numbers.ts';
import type { VerdictSettings } from './settings.ts';
import { stretchAbove } from './stretch.ts';

const REWARD = /(^|[^a-z])(rew|rewards?|returns?|epret|episodic_return|success[_ ]rate)([^a-z]|$)/i;
/**
 * Of a preference pair both rewards may fall while the run learns; a spread or an extreme of rewards is no level; a coefficient is a setting.
 */
const NO_LEVEL =
  /(^|[^a-z])(chosen|rejected|margins?|accurac(y|ies)|std|var|min|max|loss|scale|weight|coef\w*|kl|penalty)([^a-z]|$)/i;

/** The series of a run whose names say that they are rewards or returns. */
export const rewardsOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(({ role, name }) => {
    // `AverageEpRet` and `StdEpRet` are words too.
    const words = wordsOf(name).join(' ');
    return role === 'metric' && REWARD.test(words) && !NO_LEVEL.test(words);
  });

const VALUE_LOSS = /(^|[^a-z])(values?|vf?|critic|td|qf?\d?)([^a-z]|$)/i;

/** What precedes the last part of a name: `train/` of `train/loss`. */
const groupOf = (name: string): string =>
  name.slice(0, Math.max(name.lastIndexOf('/'), name.lastIndexOf('.')) + 1);

/**
 * The ratio of a total to the value loss in the same log at which it is still mostly that: libraries add half of it
 * (Stable-Baselines) or all (RLlib), and print the last batch of one and the mean of the other. Our numbers.
 */
const MOSTLY = { least: 0.1, most: 2, points: 5 };

/** Whether a loss is that of the predictor of returns, or a total that hardly exceeds such a loss at every point. */
function isValueLoss(run: Run, { name, value }: Pick<TimeSeries, 'name' | 'value'>): boolean {
  if (VALUE_LOSS.test(wordsOf(name).join(' '))) return true;
  const isMost = (beside: Float64Array): boolean => {
    const shares = arrayOf(value).map((total, k) => total / beside[k]!);
    if (!(medianOf(shares) >= MOSTLY.least)) return false;
    // A total that rises by something else is more than its value loss for some points in a row.
    for (let from = 0; from < shares.length; from++)
      if (medianOf(shares.subarray(from, from + MOSTLY.points)) > MOSTLY.most) return false;
    return true;
  };
  return run.series.some(
    (one) =>
      (one.role === 'task_loss' || one.lossLike !== undefined) &&
      VALUE_LOSS.test(wordsOf(one.name).join(' ')) &&
      groupOf(one.name) === groupOf(name) &&
      one.value.length === value.length &&
      isMost(arrayOf(one.value)),
  );
}

/** A name that says so by itself: "loss_v2" is a second version of a loss. */
const NAMES_VALUE = /(?<![a-z])(?:value|vf)[ _/-]?loss(?![a-z])/i;

/**
 * Whether a loss grows with what is learnt, in a run whose rewards rise: that of what predicts the returns, with their square, also
 * where no reward is logged; one that begins at zero (GRPO's), since it measures how far the policy is from where it began. Its level says nothing of the policy.
 */
export function growsWithRewards(run: Run, series: Pick<TimeSeries, 'name' | 'value'>): boolean {
  const rewards = rewardsOf(run);
  if (rewards.length === 0) return NAMES_VALUE.test(series.name);
  return (series.value.at(0) === 0 || isValueLoss(run, series)) && rewards.every(rises);
}

/** Whether the last third of a series is above its first. */
function rises({ value }: TimeSeries): boolean {
  const finite = arrayOf(value).filter(Number.isFinite);
  const third = Math.floor(finite.length / 3);
  return third > 0 && medianOf(finite.subarray(-third)) > medianOf(finite.subarray(0, third));
}

/** Where a reward fell permanently, as indices into the whole series. */
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
  /** What could be lost: the level before, or the rise to it where that is more. */
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
 * Share of the points that a fall must last, where too few follow for the judge to call it lost: our number. A loss may come
 * back later; a policy that lost its reward for a quarter of its training is reported.
 */
const LASTING = 0.25;

/** Height of a step, in standard errors of a mean, that does not occur by chance at any of its possible places: our number. */
const STEP_ERRORS = 6;

/**
 * A step down that single points do not show, since their noise is as large as the step. It lies where the reward was above
 * the middle between its best quarter and its last for longest; its height is the median there less the median of all that
 * follows.
 *
 * @returns where the level before starts, and where what follows begins; null where no positive level steps down
 */
function lastingStep(
  rewards: Float64Array,
  { minimumPoints }: VerdictSettings,
): { readonly start: number; readonly onset: number } | null {
  const n = rewards.length;
  const quarter = Math.max(minimumPoints, Math.ceil(LASTING * n));
  if (n < 2 * quarter) return null;
  let best = Number.NEGATIVE_INFINITY;
  for (let end = quarter; end <= n - quarter; end += Math.ceil(quarter / 2))
    best = Math.max(best, medianOf(rewards.subarray(end - quarter, end)));
  const middle = (best + medianOf(rewards.subarray(n - quarter))) / 2;
  const { start, end: onset } = stretchAbove(n, (k) => rewards[k]!, middle);
  const [before, after] = [rewards.subarray(start, onset), rewards.subarray(onset)];
  if (before.length < minimumPoints || after.length < quarter) return null;
  const [usual, left] = [medianOf(before), medianOf(after)];
  // Noise that comes in waves shows in the distance from the levels, not in the differences of neighbours.
  const distances = rewards.map((reward, k) => Math.abs(reward - (k < onset ? usual : left)));
  const noise = Math.max(
    noiseScale(rewards, (reward) => reward),
    MAD_TO_SIGMA * medianOf(distances.subarray(start)),
  );
  const least = STEP_ERRORS * noise * Math.sqrt(1 / before.length + 1 / after.length);
  // The median of successes and failures is one of the two: so the means must differ as much.
  const step = Math.min(usual - left, meanOf(before) - meanOf(after));
  return usual > 0 && step > least ? { start, onset } : null;
}

const meanOf = (values: Float64Array): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Height of a fall in standard errors, corrected for autocorrelation: our number. Of 1,200 rewards that only wander (AR(1) of
 * 0.9, 50 to 2,000 points, about zero) 547 fell where none were asked for, 53 with 5 (bench/detection/rewards.ts).
 */
const WAVE_ERRORS = 5;
/** The least share of the variance that may be left about lines through few independent points. */
const LEAST_SHARE = 0.2;

/**
 * Whether two levels are further apart than correlated noise explains: rewards are means over many episodes, and only one in
 * (1 + ρ)/(1 − ρ) points is independent (ρ: the correlation of neighbours, AR(1)). A steady rise to a level, or a fall from
 * it, is not noise.
 */
function isMoreThanWaves(before: Float64Array, after: Float64Array): boolean {
  const n = before.length + after.length;
  let [squares, products] = [0, 0];
  for (const part of [before, after]) {
    const rest = withoutLine(part);
    for (let i = 0; i < rest.length; i++) {
      squares += rest[i]! ** 2;
      if (i > 0) products += rest[i]! * rest[i - 1]!;
    }
  }
  const step = meanOf(before) - meanOf(after);
  if (squares === 0) return step > 0;
  const found = products / squares;
  // The estimate is too low in short series (Marriott and Pope 1954).
  const correlation = Math.min(Math.max(found + (1 + 4 * found) / n, 0), 1 - 2 / n);
  const perNews = (1 + correlation) / (1 - correlation);
  // A level and a slope of each part are fitted to few independent points.
  const variance = squares / n / Math.max(1 - (4 * perNews) / n, LEAST_SHARE);
  const error = Math.sqrt(variance * perNews * (1 / before.length + 1 / after.length));
  return step > WAVE_ERRORS * error;
}

/** What is left of values about the line of least squares through them. */
function withoutLine(values: Float64Array): Float64Array {
  const [center, mean] = [(values.length - 1) / 2, meanOf(values)];
  let [rise, run] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    rise += (i - center) * (values[i]! - mean);
    run += (i - center) ** 2;
  }
  const slope = run === 0 ? 0 : rise / run;
  return values.map((value, i) => value - mean - slope * (i - center));
}

/**
 * The fall of a reward that lasts to the end of an attempt: its cost leaves its band and is lost or stays out of it for a
 * quarter of the points, by the one judge of losses, or its level steps down for that long; and less than half of the reward
 * is left at the end. A dip that comes back, however deep, is exploration.
 *
 * @returns null where there is none
 */
export function fallOf(series: TimeSeries, attempt: number, settings: VerdictSettings): RewardFall | null {
  const offset = series.attemptOffsets[attempt]!;
  const value = arrayOf(attemptOf(series, attempt).value);
  // Before the first episode has ended there is no reward.
  const kept = [...value.keys()].filter((i) => Number.isFinite(value[i]!));
  const rewards = Float64Array.from(kept, (i) => value[i]!);
  if (rewards.length < settings.minimumPoints) return null;
  const judgedLost = judgeAttempt(costsOf(rewards), settings, {
    levelSays: true,
    isWhole: false,
  }).incidents.find(
    ({ class: found, recovered, onset, end, form }) =>
      (found === 'full-divergence' ||
        (found === 'drift' && form === 'climb') ||
        (found === 'inconclusive' && end - onset >= LASTING * rewards.length)) &&
      recovered === null &&
      end === rewards.length,
  );
  const step = judgedLost === undefined ? lastingStep(rewards, settings) : null;
  const onset = judgedLost?.onset ?? step?.onset;
  if (onset === undefined || rewards.length - onset < settings.rewardPoints) return null;
  const last = rewards.subarray(Math.max(onset, rewards.length - COMPARED.rewardEnd));
  const before = rewards.subarray(step?.start ?? Math.max(0, onset - settings.rewardPoints), onset);
  if (before.length === 0) return null;
  const usual = medianOf(before);
  // A step is measured by all that follows too, since its last points alone are as noisy as it is high.
  const after = step === null ? medianOf(last) : Math.max(medianOf(last), medianOf(rewards.subarray(onset)));
  const start = medianOf(rewards.subarray(0, Math.min(5, onset)));
  const learnt = Math.max(Math.abs(usual), usual - start);
  if (after > usual - (1 - settings.rewardKept) * learnt) return null;
  const high = stretchAbove(rewards.length, (k) => rewards[k]!, (usual + after) / 2);
  if (!isMoreThanWaves(rewards.subarray(high.start, high.end), rewards.subarray(high.end))) return null;
  const lastGood = judgedLost === undefined ? onset - 1 : judgedLost.lastGood;
  const lowest = judgedLost?.peak ?? rewards.indexOf(smallest(rewards.subarray(onset)), onset);
  const position = (index: number): number => offset + kept[index]!;
  return {
    from: position(onset),
    lastGood: lastGood === null ? null : position(lastGood),
    lowest: position(lowest),
    to: position(rewards.length - 1),
    before: usual,
    after,
    learnt,
  };
}
