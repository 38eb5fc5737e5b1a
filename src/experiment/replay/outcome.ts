/** How a training ended on the reference batches, against the level before: what closed loops and arms are judged by. */
import { endLevel, levelsAlong } from '../../judge/incidents/losses.ts';
import { COMPARED } from '../../judge/incidents/numbers.ts';
import { USUAL } from '../../judge/incidents/unlike.ts';
import { type ArmOutcome, LEARNS_SLOWER } from '../../model/cause.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { HOLDS, HURT, timesLevel } from './level-limits.ts';
import type { References } from './reference.ts';

/** Clean steps after the first harmful one that an arm has to train on. */
export const LEAST_AFTER = 20;
/** Median update after it, as a share of that before, under which an arm has stopped to learn. */
const FROZEN = 0.05;
/** `slower`: it ends above the level, never came down to it, and never rose. It was not tested at the level where the recorded run diverged. */
export type EndOutcome = ArmOutcome | 'slower';
/** Why the outcome of one that is `slower` is not known. */
export const SLOWER = `${LEARNS_SLOWER}, and what it does down there was not seen`;
/** How a training ended: one value for each step. */
export type Ended = Readonly<Record<'referenceLoss' | 'updateNorm', readonly number[]>> & {
  /** Loss of each step's recorded batch before its update; left out where the training took other batches. */
  readonly loss?: readonly number[];
};

/**
 * How a training ended on the reference batches.
 *
 * @param trace of it, from the capture's initial state
 * @param usualUpdate of the recorded updates before the first harmful step, as {@link usualUpdate} has it
 * @param from position of the first harmful step, or of the onset where there is none
 * @param shift what it is compared with where the data changed to the end; null where they did not
 * @returns null where fewer than twenty clean steps come after, or the level before is not known and the end is not far above
 * every state before; after a shift as {@link outcomeOfShift} says
 */
export function outcomeOf(
  trace: Ended,
  { level, unlike, highest }: Pick<References, 'level' | 'unlike'> & Partial<Pick<References, 'highest'>>,
  usualUpdate: number,
  from: number,
  shift: Shift | null = null,
): EndOutcome | null {
  const final = endLevel(trace.referenceLoss);
  // What is lost does not come back, however short the capture is.
  if (trace.referenceLoss.length > 0 && Number.isNaN(final)) return 'lost';
  // Without a level before, what is far above every state before is lost all the same.
  if (level === null) return highest !== undefined && final > timesLevel(HURT, highest) ? 'lost' : null;
  if (cleanUpdates(trace, unlike, from).length < LEAST_AFTER)
    return shift === null || !lastsToEnd(unlike, trace.updateNorm.length)
      ? null
      : outcomeOfShift(trace, shift);
  // One that ends far below the level has learnt, however small its updates are against those of an explosion.
  const hasLearnt = level > 0 && HURT * final < level;
  if (!hasLearnt && isFrozen(trace, unlike, usualUpdate, from))
    return isStranded(trace.referenceLoss, level, from) ? 'lost' : 'frozen';
  if (final <= timesLevel(HOLDS, level)) return 'holds';
  return learnsSlower(trace, level) ? 'slower' : final <= timesLevel(HURT, level) ? 'hurt' : 'lost';
}

/**
 * Whether the loss on reference batches never came down to the level that the recorded run had reached, and never rose above what it
 * had come down to itself, in medians of ten: a training that holds every update back is behind, and not harmed.
 */
function learnsSlower({ referenceLoss }: Ended, level: number): boolean {
  // Ten states in a row may hide that all but the first are high.
  let lowest = referenceLoss[0] ?? Number.POSITIVE_INFINITY;
  return levelsAlong(referenceLoss).every((median) => {
    lowest = Math.min(lowest, median);
    return median > timesLevel(HOLDS, level) && median <= COMPARED.usualRatio * lowest;
  });
}

/**
 * Whether a training ends far above where it stood before a position: that its updates are too small by then is the harm
 * (accumulators that took a huge gradient), and not a rule that held them back all along.
 */
const isStranded = (referenceLoss: readonly number[], level: number, from: number): boolean =>
  endLevel(referenceLoss) > timesLevel(HURT, Math.max(level, ...referenceLoss.slice(0, from + 1)));

/** Norms of the updates after a position, without those by batches unlike the others. */
const cleanUpdates = ({ updateNorm }: Ended, unlike: References['unlike'], from: number): number[] =>
  updateNorm.filter((_, i) => i > from && !unlike.has(i));

/** Whether a training takes updates so small after a position that it does not learn; not where none is known. */
export const isFrozen = (
  trace: Ended,
  unlike: References['unlike'],
  usualUpdate: number,
  from: number,
): boolean => medianOf(cleanUpdates(trace, unlike, from)) < FROZEN * usualUpdate;

/** Median norm of the last updates before a position; NaN where none is finite. In a warm-up those long before are smaller. */
export const usualUpdate = (updateNorm: readonly number[], until: number): number =>
  medianOf(updateNorm.slice(Math.max(0, until - USUAL), until));

/**
 * Whether every batch of the last steps is unlike those before, for as many steps as a training takes to be judged: the data
 * changed permanently, and no clean batch comes after.
 */
export const lastsToEnd = (unlike: References['unlike'], steps: number): boolean =>
  steps >= LEAST_AFTER &&
  Array.from({ length: LEAST_AFTER }, (_, k) => steps - 1 - k).every((k) => unlike.has(k));

/** What trainings are compared with where the data changed to the end: the one that ends lowest on the new data. */
export interface Shift {
  /** Its end on the new data: the median of its last ten losses. */
  readonly onNew: number;
  /** Its end on batches from before, or the level before where that is higher. */
  readonly onOld: number;
  /** Loss on batches from before that was reached before the change. */
  readonly level: number;
  /** Whether the run as it was is worse than that training on both. */
  readonly harmed: boolean;
}

/**
 * @param trainings every one from the same state, the run as it was first; those that took other batches are not looked at
 * @returns null where the data did not change to the end, the level before is not known, fewer than two trainings can be compared,
 * or the best of them did not learn the new data: its losses there are not below what the weights from before had
 */
function shiftBeside(
  trainings: readonly Ended[],
  { level, unlike, later }: Pick<References, 'level' | 'unlike'> & Partial<Pick<References, 'later'>>,
): Shift | null {
  const steps = trainings[0]?.updateNorm.length ?? 0;
  if (level === null || later === undefined || !lastsToEnd(unlike, steps)) return null;
  const ends = trainings.flatMap(({ loss, referenceLoss }) => {
    const onNew = loss === undefined ? Number.NaN : endLevel(loss);
    return Number.isFinite(onNew) ? [{ onNew, onOld: Math.max(level, endLevel(referenceLoss)) }] : [];
  });
  if (ends.length < 2) return null;
  const best = ends.reduce((a, b) => (a.onNew <= b.onNew ? a : b));
  const atOldWeights = endLevel(later.map(({ loss }) => loss));
  if (!Number.isFinite(best.onOld) || !(best.onNew < LEARNT * atOldWeights)) return null;
  const shift = { ...best, level, harmed: false };
  return { ...shift, harmed: worseThan(trainings[0]!, shift, HOLDS) === 2 };
}

/** On how many of the two, new data and batches from before, a training ends above the best one. */
const worseThan = ({ loss = [], referenceLoss }: Ended, { onNew, onOld }: Shift, times: number): number =>
  Number(!(endLevel(loss) <= timesLevel(times, onNew))) +
  Number(!(endLevel(referenceLoss) <= timesLevel(times, onOld)));

/**
 * How a training on data that changed to the end compares with the best one: harm is to be worse both on the new data and on batches
 * from before. A net that follows the new data gets worse on the old ones, and one that is slow to follow stays good there.
 *
 * @returns null where it took other batches, or is worse on one of the two alone. It is null too where it is as good as the best, the run
 * as it was is no worse, and both ends are far above the level before: dead nets are alike too.
 */
function outcomeOfShift(trace: Ended, shift: Shift): EndOutcome | null {
  if (trace.loss === undefined) return null;
  const worse = worseThan(trace, shift, HOLDS);
  if (worse === 2) return worseThan(trace, shift, HURT) === 2 ? 'lost' : 'hurt';
  const isAsBefore =
    Math.min(endLevel(trace.loss), endLevel(trace.referenceLoss)) <= timesLevel(HURT, shift.level);
  return worse === 0 && (shift.harmed || isAsBefore) ? 'holds' : null;
}

/** What a training that did not blow up is expected to do. */
export interface Healthy {
  /** Loss on the reference batches that was reached before the incident; null where it is not known. */
  readonly level: number | null;
  /** Median norm of an update that learns. */
  readonly usual: number;
  /** Where the data changed to the end, the best training on them; null where they did not, or none of them learnt. */
  readonly shift: Shift | null;
}

/** Share of the first reference loss below which a training from a start that blows up has learnt. */
const LEARNT = 0.9;

/**
 * The level and the updates that ends are compared with. After a start that blows up there is no level before: where the best training
 * learns, its end is the level and its updates are those that learn.
 *
 * @param baseline the training under the recorded clipping
 * @param others every other training from the same state
 * @param learning norms of updates before the incident
 * @param from position of the first harmful step, or of the onset where no step did harm
 */
export function healthyBeside(
  baseline: Ended,
  others: readonly Ended[],
  references: Pick<References, 'level' | 'unlike' | 'blownStart'> & Partial<Pick<References, 'later'>>,
  learning: readonly number[],
  from: number,
): Healthy {
  const { level, unlike, blownStart = false } = references;
  const shift = shiftBeside([baseline, ...others], references);
  const before = { level, usual: usualUpdate(learning, from), shift };
  const ends = others.map((one) => ({ one, end: endLevel(one.referenceLoss) })).filter(({ end }) => end > 0);
  if (!blownStart || ends.length === 0) return before;
  const best = ends.reduce((a, b) => (a.end <= b.end ? a : b));
  // Where the run as it was ends as well, nothing blew up.
  if (endLevel(baseline.referenceLoss) <= HURT * best.end) return before;
  const own = medianOf(cleanUpdates(best.one, unlike, from));
  if (!(best.end < LEARNT * baseline.referenceLoss[0]!) || !(own > 0)) return before;
  return { level: best.end, usual: before.usual <= own ? before.usual : own, shift: null };
}

/** Where harm is measured from: the first harmful step, or the onset where no step did harm. */
export const harmFrom = ({ harmful }: Pick<References, 'harmful'>, onset: number): number => harmful ?? onset;
