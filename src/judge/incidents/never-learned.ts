/**
 * Whether a run learnt: its last level against the untrained one, as a test and not as a percentage.
 *
 * A flat loss alone is no proof that nothing is learnt: a net that goes on from good weights, labels that are noise, and a loss
 * near its floor are flat, too. Class `never-learned` needs further evidence (docs/detection.md).
 */
import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { finiteOf, MAD_TO_SIGMA, medianOf, usualDistance } from '../../model/order-statistics.ts';
import { digitsOf } from '../../model/printed-digits.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { isWholeLoss, type JudgedSeries } from './attempts.ts';
import { type Chance, chanceOf } from './chance.ts';
import type { SeriesIncident } from './judge.ts';
import { BLOCKS, ERRORS, levelError } from './level-error.ts';
import type { VerdictSettings } from './settings.ts';

/** Our numbers. Points that the untrained level is of at most, and points of an incident that lasts. */
const [UNTRAINED, LASTING] = [20, 3];
/** Scales of the noise by which the highest of the first points stands out of it. */
const OUTLIER = 6;
/** Times its level that an incident has to reach before it counts as destroyed weights: a bad batch alone is less. */
const DESTROYED = 2;
/** Points before a rise that show whether the loss was flat there. */
const FLAT = 10;
/** What a metric of few points has to move by. */
const MOVED = 0.02;
/** Share of the points of the test that are enough where two quantities are at chance. */
const ENOUGH = 0.2;
/** Significant digits from which a number that repeats is no rounding. */
const DIGITS = 4;

/** What {@link learntOf} found. Levels in units of the loss. */
export interface Learnt {
  /** null where the points are too few for the test. */
  readonly holds: boolean | null;
  readonly untrained: number;
  /** Whether the untrained level is that of a guess, which the log shows. */
  readonly isGuess?: boolean;
  readonly end: number;
  /** Lowest level that it had reached, in medians of twenty points; NaN with fewer. */
  readonly best: number;
  /** Standard error of the distance between the first level and the last. */
  readonly error: number;
}

/** Lowest median of twenty points in a row; NaN with fewer. A log may have millions of these. */
function bestLevel(finite: Float64Array): number {
  const inOrder = new Float64Array(UNTRAINED);
  const middle = UNTRAINED / 2;
  let best = Number.POSITIVE_INFINITY;
  for (let start = 0; start + UNTRAINED <= finite.length; start += UNTRAINED) {
    let below = 0;
    for (let at = start; at < start + UNTRAINED; at++) if (finite[at]! < best) below++;
    // A median below the best takes half of the points below it.
    if (below < middle) continue;
    inOrder.set(finite.subarray(start, start + UNTRAINED));
    inOrder.sort();
    const lower = inOrder[middle - 1]!;
    best = Math.min(best, lower + (inOrder[middle]! - lower) / 2);
  }
  return finite.length < UNTRAINED ? Number.NaN : best;
}

/** Whether a run that had learnt ends nearer to its untrained level than to its best one. */
export const isLostAgain = ({ untrained, end, best, error }: Learnt): boolean =>
  // Twice the errors: the lowest of many levels is low by chance, too.
  best < untrained - 2 * ERRORS * error && end - best > untrained - end;

/**
 * The level of a net that has learnt nothing, and the points that it is of: the median of the first losses. First steps that throw
 * the loss up are not that level. What is learnt within a few points is learnt: the first of them stands out of the noise.
 *
 * @param first the first finite losses
 * @param noise scale of the noise of one loss
 */
export function untrainedOf(
  first: Float64Array,
  noise: number,
): { readonly untrained: number; readonly points: number } {
  const [level, highest] = [medianOf(first), Math.max(...first.subarray(0, LASTING))];
  const isThrown = first[0]! > 0 && highest > DESTROYED * first[0]!;
  const untrained = isThrown
    ? Math.min(level, first[0]!)
    : highest > level + OUTLIER * noise
      ? highest
      : level;
  // One point has the error of one point.
  return { untrained, points: untrained === level ? first.length : 1 };
}

/**
 * Whether the last tenth of losses is at least three standard errors below the untrained level.
 *
 * The untrained level is that of the first points, or the highest of the first three where it stands out of the noise; where
 * the first steps throw the loss up, that of the first point.
 *
 * @param values finite or not, of one attempt that begins with the training
 * @param onset first point of the first incident; the untrained level is of points before it
 * @param least points that the test takes
 */
export function learntOf(values: Float64Array, onset: number, least: number): Learnt {
  const finite = finiteOf(values);
  const first = finiteOf(values.subarray(0, Math.min(onset, UNTRAINED)));
  const last = finite.subarray(finite.length - Math.max(BLOCKS, Math.floor(finite.length / 10)));
  const end = medianOf(last);
  if (finite.length < least || first.length === 0)
    return { holds: null, untrained: Number.NaN, end, best: bestLevel(finite), error: Number.NaN };
  const noise = MAD_TO_SIGMA * medianOf(last.map((value) => Math.abs(value - end)));
  const { untrained, points } = untrainedOf(first, noise);
  const error = Math.hypot(levelError(last), noise / Math.sqrt(points));
  return { holds: end < untrained - ERRORS * error, untrained, end, best: bestLevel(finite), error };
}

/** Why a run is said to have learnt nothing, and from which point of the last attempt on. */
export interface NeverLearned {
  readonly from: number;
  readonly learnt: Learnt;
  readonly why: string;
}

/**
 * Evidence that the last attempt of a run learnt nothing; null without evidence, or with too few points.
 *
 * @param judged the loss that decides, no task and no evaluation
 */
export function neverLearned(
  run: Run,
  judged: JudgedSeries,
  { learntPoints: least }: VerdictSettings,
): NeverLearned | null {
  const { series } = judged;
  if (!isWholeLoss(run, series)) return null;
  const attempt = run.attempts.length - 1;
  const values = arrayOf(attemptOf(series, attempt).value);
  const incidents = judged.attempts[attempt]?.incidents ?? [];
  const tested = learntOf(values, incidents[0]?.onset ?? values.length, least);
  if (tested.end === 0 || metricMoves(run, attempt)) return null;
  const isFirst = begunAnew(run, attempt, values.length);
  const chance = isFirst && values.length >= ENOUGH * least ? chanceOf(run, attempt, values) : null;
  const learnt = comparedWith(tested, chance);
  if (learnt.holds !== false) return null;
  const found =
    (isFirst ? afterIncident(incidents, values, learnt, least) : null) ??
    (isFirst ? withoutUpdates(run, series, attempt, values, least) : null) ??
    (chance === null ? null : { from: 0, why: chance.why }) ??
    flatRestart(judged, attempt, values, least);
  return found === null ? null : { ...found, learnt };
}

/**
 * What was learnt where the log shows the level of a guess: a net that says the same of every row has learnt nothing, though it fell from worse to there. Of few
 * points two quantities have to say so.
 */
function comparedWith(tested: Learnt, chance: Chance | null): Learnt {
  if (chance === null || Number.isNaN(chance.level) || (tested.holds === null && !chance.isTwice))
    return tested;
  return { ...tested, holds: false, untrained: chance.level, isGuess: true };
}

type Evidence = Pick<NeverLearned, 'from' | 'why'>;

/** Parts of a training of which the first is its beginning. */
const BEGINNING = 20;

/**
 * Whether an attempt begins where the run began: what goes on from a checkpoint has an untrained level that nobody logged.
 *
 * @param points of the loss: of few ones the first is a whole distance into the training
 */
export function begunAnew({ attempts }: Run, attempt: number, points: number): boolean {
  const [first, own] = [attempts[0]!, attempts[attempt]!];
  const parts = Math.min(BEGINNING, points - 1);
  // A first step far into a training is that of a run that goes on.
  return attempt === 0
    ? own.firstStep <= Math.max(1, (own.lastStep - own.firstStep) / parts)
    : own.firstStep <= first.firstStep;
}

/** An incident that is over, and left nothing: the loss is back at the level of an untrained net. */
function afterIncident(
  incidents: readonly SeriesIncident[],
  values: Float64Array,
  { untrained, end, error }: Learnt,
  least: number,
): Evidence | null {
  const destroyed = incidents.find(
    ({ recovered, end: until, onset, size }) =>
      recovered !== null && until - onset >= LASTING && !(size < DESTROYED),
  );
  if (destroyed === undefined) return null;
  // It learnt after the rise, or the log ends in another one.
  const since = bestLevel(finiteOf(values.subarray(destroyed.end)));
  if (since < untrained - 2 * ERRORS * error || incidents.some(({ recovered }) => recovered === null))
    return null;
  // A loss that was flat for long before the rise, and is so after it, may go on from good weights, which the rise left as they were.
  const before = values.subarray(0, destroyed.onset);
  const was = learntOf(before, before.length, Math.min(least, FLAT));
  if (was.holds === false || (was.holds === true && end <= was.end + ERRORS * was.error)) return null;
  const why = `the loss comes back from its rise to ${formatNumber(end)}, and no lower than the ${formatNumber(untrained)} that it began with`;
  return { from: destroyed.onset, why };
}

const isNorm = ({ role, name }: TimeSeries): boolean =>
  role === 'grad_norm' ||
  role === 'update_norm' ||
  role === 'learning_rate' ||
  /^(lr|learning_rate)$/i.test(name);

/** A rate or a norm that is 0 at every update, or a loss that never moves, at a precision that rounds nothing away. */
function withoutUpdates(
  run: Run,
  series: TimeSeries,
  attempt: number,
  values: Float64Array,
  least: number,
): Evidence | null {
  const precise = values.some((value) => digitsOf(value).digits >= DIGITS);
  if (!precise) return null;
  const still = run.series.find((one) => {
    if (!isNorm(one)) return false;
    const { value } = attemptOf(one, attempt);
    return value.length >= least && value.every((each) => each === 0);
  });
  if (still !== undefined)
    return { from: 0, why: `"${still.name}" is 0 at every one of its points, so no weight changes` };
  if (values.length < least || !values.every((value) => value === values[0])) return null;
  return {
    from: 0,
    why: `"${series.name}" is ${formatNumber(values[0]!)} at every point, so no weight changes`,
  };
}

/** A beginning anew that stays flat, far above what the attempt before came to in as many points. */
function flatRestart(
  { series, attempts, doneAgain }: JudgedSeries,
  attempt: number,
  values: Float64Array,
  least: number,
): Evidence | null {
  if (attempt === 0 || doneAgain[attempt - 1] === true || attempts[attempt]!.incidents.length > 0)
    return null;
  const own = attemptOf(series, attempt);
  const before = attemptOf(series, attempt - 1);
  if (before.step.length < least || own.step.at(0)! > before.step.at(0)! + usualDistance(before.step))
    return null;
  const earlier = arrayOf(before.value);
  const onset = attempts[attempt - 1]!.incidents[0]?.onset ?? earlier.length;
  const sameTime = learntOf(earlier.subarray(0, values.length), Math.min(earlier.length, onset), least);
  if (sameTime.holds !== true) return null;
  const end = medianOf(values.subarray(-Math.max(BLOCKS, Math.floor(values.length / 10))));
  if (!(end - sameTime.end > 0.5 * (sameTime.untrained - sameTime.end))) return null;
  return {
    from: 0,
    why: `this attempt stays at ${formatNumber(end)}, where the one before had come down to ${formatNumber(sameTime.end)} in as many points`,
  };
}

/** Whether a metric (an accuracy, an AUC) moved from its first points to its last by three of its own errors. */
function metricMoves(run: Run, attempt: number): boolean {
  return run.series.some((series) => {
    if (series.role !== 'metric' || isNorm(series)) return false;
    if (!/acc|auc|f1|precision|recall|bleu|rouge|ndcg|hit|map|mrr|iou|dice|psnr|r2/i.test(series.name))
      return false;
    const values = finiteOf(arrayOf(attemptOf(series, attempt).value));
    if (values.length < 2 * BLOCKS)
      return values.length >= 2 && Math.abs(values.at(-1)! - values[0]!) > MOVED;
    const quarter = Math.max(BLOCKS, values.length >> 2);
    const [first, last] = [values.subarray(0, quarter), values.subarray(-quarter)];
    const error = Math.hypot(levelError(first), levelError(last));
    return Math.abs(medianOf(last) - medianOf(first)) > ERRORS * error;
  });
}
