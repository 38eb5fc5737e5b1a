/**
 * Batches that harm is judged on: the loss on a bad batch says nothing about the weights. They are recorded batches from
 * before the incident, and clean ones from after it; weights from before it decide which are clean.
 */
import { join } from 'node:path';
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective } from '../../differentiate/autodiff/open-objective.ts';
import { isFalling } from '../../judge/incidents/bands.ts';
import { jumpOf } from '../../judge/incidents/jump.ts';
import { endLevel } from '../../judge/incidents/losses.ts';
import {
  isRaised,
  isUnlike,
  LEAST_EARLIER,
  LEAST_STATES,
  USUAL,
  usualRange,
} from '../../judge/incidents/unlike.ts';
import { located } from '../../model/errors.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import { alongRecorded } from './along-recorded.ts';
import type { Prepared } from './follow.ts';
import { HOLDS, HURT, timesLevel } from './level-limits.ts';

/** Loss of one recorded batch at weights of an earlier step. */
export interface BatchLoss {
  /** Position of the batch's step. */
  readonly index: number;
  readonly loss: number;
}

export interface References {
  /** Position of the state from before the incident at which batches are compared. */
  readonly at: number;
  /** Losses, at that state, of the batches from it on. */
  readonly later: readonly BatchLoss[];
  /** What is usual of a batch's loss there, and was of new ones in the steps before; null where fewer than four came before. */
  readonly usual: readonly [number, number] | null;
  /** Positions of the batches whose loss there is above or below it, and those between. */
  readonly unlike: ReadonlySet<number>;
  /** The onset's batch at the state of its own step and of earlier ones, from the nearest on. */
  readonly onsetBatch: readonly BatchLoss[];
  /** The batch whose recorded loss jumped, that of the onset or one shortly before, at weights of a few steps before it; not known without a model. */
  readonly jumped?: BatchLoss & {
    /** Position of the state. */
    readonly at: number;
    /** What was usual of the run's losses before the jump. */
    readonly usual: readonly [number, number] | null;
  };
  /** Positions of the reference batches, before the incident and after it. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly batches: readonly Batch[];
  /** Mean loss on them at each recorded state, the one after the last step included. */
  readonly loss: readonly number[];
  /** Position of the first step whose update raised it permanently; null where none did, or `level` is not known. */
  readonly harmful: number | null;
  /** The largest of that loss over the states up to the onset; NaN where none is finite. */
  readonly highest: number;
  /**
   * What that loss had reached, by {@link levelBefore}; null where there are fewer than eight states before, it rose from the run's first
   * step on, or the run's own later losses contradict that it is kept.
   */
  readonly level: number | null;
  /** Whether that is not known because the run blew up from its first step on. */
  readonly blownStart?: boolean;
}

/** States before the onset at which its batch is looked at. */
const BACK = [1, 5, 20] as const;
/** Reference batches from before the incident, and from after it. */
const EACH = 4;
/** A state is harmed if it and the two after it are raised: a batch that is learnt for one step does not count. */
const LASTING = 3;

export interface ReferenceOptions {
  readonly capture: Capture;
  readonly model: MatchedObjective;
  readonly prepared: Pick<Prepared, 'setup' | 'tensors'>;
  /** Position of the onset among the steps. */
  readonly onset: number;
  /** Position of a step before the onset that is known to have done harm. */
  readonly harmful?: number;
  /** Batch of a recorded step by its position. */
  batch(index: number): Promise<Batch>;
  progress?(done: number, total: number): void;
}

/**
 * Chooses reference batches and follows their loss over the recorded states.
 *
 * @returns null where no batch lies before the incident
 * @throws what the capture, the model and its batches throw
 */
export async function lookAtReferences(given: ReferenceOptions): Promise<References | null> {
  const { capture, model, onset, harmful: harmed = onset } = given;
  const options: ReferenceOptions = {
    ...given,
    batch: async (index) => {
      const batch = await given.batch(index);
      await located({ path: join(capture.path, capture.steps[index]!.file) }, () =>
        model.objective.check([batch]),
      );
      return batch;
    },
  };
  const { steps } = capture;
  if (onset === 0) return null;
  const at = Math.max(0, harmed - BACK[1]);
  const recorded = steps.map(({ loss }) => loss ?? Number.NaN);
  // A batch whose own loss jumped and came back is no measure, though batches before the harm are not compared with any.
  const jump = jumpOf(recorded, onset);
  const beforeJump = jump === null ? null : Math.max(0, jump - BACK[1]);
  const asked = [onset, at, ...BACK.map((back) => Math.max(0, onset - back))];
  const states = new Map<number, Float32Array>(
    [...asked, ...(beforeJump === null ? [] : [beforeJump])].map((index) => [index, new Float32Array()]),
  );
  await alongRecorded(options, onset + 1, (index, tensors) => {
    if (states.has(index)) states.set(index, model.flatten(tensors.map(({ w }) => w)));
  });
  // A state that the walk does not reach was lost to an update that is not finite.
  const lossAt = async (state: number, batches: readonly Batch[]): Promise<number> => {
    const flat = states.get(state)!;
    return flat.length === 0 ? Number.NaN : (await model.objective.loss(flat, batches)).loss;
  };

  const own = await options.batch(onset);
  const onsetBatch: BatchLoss[] = [];
  for (const index of [...new Set(asked)].sort((a, b) => b - a))
    onsetBatch.push({ index, loss: await lossAt(index, [own]) });

  const later: BatchLoss[] = [];
  for (let index = at; index < steps.length; index++)
    later.push({ index, loss: await lossAt(at, [index === onset ? own : await options.batch(index)]) });
  const earlier: number[] = [];
  for (let index = Math.max(0, at - USUAL); index < at; index++)
    earlier.push(await lossAt(at, [await options.batch(index)]));
  // The weights were trained on these batches: what a batch that is new has, the losses of the run itself tell.
  const asNew = [...lossesBefore(capture), ...steps.slice(0, at).map(({ loss }) => loss ?? Number.NaN)];
  const usual = usualRange([...earlier, ...asNew.slice(-USUAL)]);
  const unlike = wholeBlock(later.filter(({ loss }) => isUnlike(loss, usual)).map(({ index }) => index));

  const clean = steps.map((_, index) => index).filter((index) => !unlike.has(index) && index !== jump);
  const before = spread(clean.filter((index) => index <= at));
  const after = spread(clean.filter((index) => index > onset));
  if (before.length === 0) return null;
  const batches: Batch[] = [];
  for (const index of [...before, ...after]) batches.push(await options.batch(index));

  const loss: number[] = [];
  const last = await alongRecorded(options, steps.length, async (_, tensors) => {
    const flat = model.flatten(tensors.map(({ w }) => w));
    loss.push((await model.objective.loss(flat, batches)).loss);
    options.progress?.(loss.length, steps.length + 1);
  });
  loss.push(
    last.finite
      ? (await model.objective.loss(model.flatten(last.tensors.map(({ w }) => w)), batches)).loss
      : Number.NaN,
  );
  while (loss.length < steps.length + 1) loss.push(Number.NaN);
  // Too few states before the onset: what is raised against states from within the incident says nothing.
  const known = onset >= LEAST_STATES - 1;
  const harmful = known ? firstHarm(loss, onset) : null;
  // Batches were compared at weights that were harmed already: those from before the harm tell which are unlike.
  if (harmful !== null && harmful <= at && given.harmful === undefined)
    return lookAtReferences({ ...given, harmful });
  return {
    at,
    later,
    usual,
    unlike,
    onsetBatch,
    ...(jump === null || beforeJump === null
      ? {}
      : {
          jumped: {
            index: jump,
            at: beforeJump,
            loss: await lossAt(beforeJump, [await options.batch(jump)]),
            usual: usualRange([...lossesBefore(capture), ...recorded.slice(0, jump)].slice(-USUAL)),
          },
        }),
    before,
    after,
    batches,
    loss,
    harmful,
    highest: highestBefore(loss, onset),
    ...levelOf({ later, usual, unlike, loss, harmful }, recorded, onset, steps[0]!.step),
  };
}

/**
 * The level before an incident, and whether there is none because the run blew up from its first step on.
 *
 * @param recorded loss of each step's batch at its own weights; NaN where none was recorded
 * @param first number of the first recorded step
 */
export function levelOf(
  known: Pick<References, 'later' | 'usual' | 'unlike' | 'loss' | 'harmful'>,
  recorded: readonly number[],
  onset: number,
  first: number,
): Pick<References, 'level' | 'blownStart'> {
  const { loss, harmful } = known;
  const level = onset < LEAST_STATES - 1 ? null : levelBefore(loss, harmful ?? onset);
  // With too few states before the onset the end says whether the loss rose.
  const reached = level ?? endLevel(loss);
  const blownStart = first <= 1 && !(reached <= timesLevel(HURT, loss[0]!));
  const isNone = blownStart || isContradicted({ ...known, level }, recorded);
  return { level: isNone ? null : level, blownStart };
}

/**
 * The first step whose update raised the reference loss above what was usual before, for that state and the two after it.
 *
 * @param loss at each state; one more than there are steps
 * @param onset position; a harmful step is looked for from ten before it on
 */
export function firstHarm(loss: readonly number[], onset: number): number | null {
  for (let step = Math.max(LEAST_STATES - 1, onset - 10); step < loss.length - 1; step++) {
    const usual = usualRange(loss.slice(Math.max(0, step + 1 - USUAL), step + 1));
    const after = loss.slice(step + 1, step + 1 + LASTING);
    if (after.every((value) => isRaised(value, usual))) return step;
  }
  return null;
}

/** Last losses of clean batches that say how a run ends. */
const LAST_CLEAN = 10;

/**
 * Whether the reference loss is said to stay at its level while batches that were as usual at weights from before the incident have
 * unusually high losses at the end of the run. Then the reference batches are no measure of harm.
 *
 * @param recorded loss of each step's batch at its own weights; NaN where none was recorded
 */
export function isContradicted(
  {
    later,
    usual,
    unlike,
    loss,
    harmful,
    level,
  }: Pick<References, 'later' | 'usual' | 'unlike' | 'loss' | 'harmful' | 'level'>,
  recorded: readonly number[],
): boolean {
  if (level === null || harmful !== null || !(endLevel(loss) <= timesLevel(HOLDS, level))) return false;
  const end = later
    .filter((one) => !unlike.has(one.index) && !isUnlike(one.loss, usual))
    .slice(-LAST_CLEAN)
    .map(({ index }) => recorded[index]!);
  // Half of them: a lone batch may be as hard for the weights that it met.
  const raised = end.filter((one) => isRaised(one, usual)).length;
  return end.length >= LEAST_EARLIER && raised >= end.length / 2;
}

/** Largest of the reference loss over the states up to a position; NaN where none is finite. */
export function highestBefore(loss: readonly number[], until: number): number {
  const finite = loss.slice(0, until + 1).filter(Number.isFinite);
  return finite.length === 0 ? Number.NaN : Math.max(...finite);
}

/**
 * What the reference loss had reached by a position: its median over at most twenty states up to it. Where it falls through them, that of the last eight:
 * a run that ends at what it fell through has not come back.
 *
 * @returns null where there are fewer than eight
 */
export function levelBefore(loss: readonly number[], until: number): number | null {
  const calm = loss
    .slice(0, until + 1)
    .filter(Number.isFinite)
    .slice(-USUAL);
  if (calm.length < LEAST_STATES) return null;
  return medianOf(isFalling(calm) ? calm.slice(-LEAST_STATES) : calm);
}

/**
 * Positions of unlike batches, with those between two stretches of them that are no shorter than the gap: of bad data that comes for
 * a while some batches happen to look like those before. A lone batch long after them fills nothing.
 */
export function wholeBlock(unlike: readonly number[]): ReadonlySet<number> {
  const stretches: [number, number][] = [];
  for (const index of unlike) {
    stretches.push([index, index]);
    // What was joined is longer and may reach the one before it.
    for (let k = stretches.length - 1; k > 0; k--) {
      const [before, after] = [stretches[k - 1]!, stretches[k]!];
      const gap = after[0] - before[1] - 1;
      if (gap > Math.min(before[1] - before[0], after[1] - after[0]) + 1) break;
      stretches.splice(k - 1, 2, [before[0], after[1]]);
    }
  }
  return new Set(
    stretches.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, k) => first + k)),
  );
}

/** At most four of many, evenly spread, the first and the last included. */
function spread(indices: readonly number[]): number[] {
  if (indices.length <= EACH) return [...indices];
  return Array.from(
    { length: EACH },
    (_, k) => indices[Math.round((k * (indices.length - 1)) / (EACH - 1))]!,
  );
}
