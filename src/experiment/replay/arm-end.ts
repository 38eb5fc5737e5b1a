/** How a training that changed one thing ended compared with the unchanged run: by an arm of ours, or of the user's own framework. */
import { endLevel, judgeLosses } from '../../judge/incidents/losses.ts';
import type { ArmOutcome } from '../../model/cause.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { ReplayArm } from '../../model/replay.ts';
import { countRows } from '../../model/rows-words.ts';
import {
  type Ended,
  type Healthy,
  harmFrom,
  healthyBeside,
  LEAST_AFTER,
  lastsToEnd,
  outcomeOf,
  SLOWER,
} from './outcome.ts';
import type { References } from './reference.ts';
import type { Judgement } from './verdict.ts';

/** How a training ended on the reference batches. */
export interface ArmEnd {
  readonly outcome: ArmOutcome | null;
  readonly finalLoss: number;
  /** Whether the outcome is not known because it only learns more slowly. */
  readonly slower?: boolean;
  /** Whether the data changed to the end, so that it is compared with the best training on the new data. */
  readonly afterShift?: boolean;
  /**
   * Whether it takes the incident back: it holds, and where the run held without it too, its losses have no incident. An end that
   * comes anyway shows nothing.
   */
  readonly shows: boolean;
}

type Trained = Ended & { readonly loss: readonly number[] };

/**
 * How trainings end compared with the unchanged run.
 *
 * @param baseline the training under the recorded clipping, with nothing changed
 * @param onset position of the onset
 * @param history losses before the first recorded step
 * @param healthy what they are compared with, by {@link healthyBeside}
 */
export function endsBeside(
  baseline: Trained,
  references: References,
  onset: number,
  history: readonly number[],
  healthy: Healthy = healthyBeside(
    baseline,
    [],
    references,
    baseline.updateNorm,
    harmFrom(references, onset),
  ),
): (trace: Trained, leftOut?: ReadonlySet<number>, unlike?: ReadonlySet<number>) => ArmEnd {
  const from = harmFrom(references, onset);
  const { level, usual, shift } = healthy;
  const compared = { ...references, level };
  const cameBack = outcomeOf(baseline, compared, usual, from, shift) === 'holds';
  // A training that took other batches than the unlike ones was clean all along.
  return (trace, leftOut = new Set(), unlike = references.unlike) => {
    const found = outcomeOf(trace, { ...compared, unlike }, usual, from, shift);
    const slower = found === 'slower';
    const outcome = slower ? null : found;
    // The loss on a batch on which no step was taken says nothing of the training.
    const taken = trace.loss.filter((_, i) => !leftOut.has(i));
    const calm = !cameBack || judgeLosses(taken, history).incident === null;
    const shows = outcome === 'holds' && calm;
    const afterShift = shift !== null && lastsToEnd(unlike, trace.updateNorm.length);
    return {
      outcome,
      finalLoss: endLevel(trace.referenceLoss),
      ...(slower ? { slower } : {}),
      ...(afterShift ? { afterShift } : {}),
      shows,
    };
  };
}

/** Verdict of an arm: exact, for it is what happened. */
export function judgeArm(
  { outcome, finalLoss, slower, afterShift, shows }: ArmEnd,
  references: Pick<References, 'level'> | null,
): Judgement {
  const harmed = outcome === 'hurt' || outcome === 'lost';
  const cameBack = outcome === 'holds' && !shows;
  const ends = `on batches from before the incident it ends at ${formatNumber(finalLoss)}`;
  return {
    verdict: shows ? 'prevented' : harmed || cameBack ? 'not-prevented' : 'cannot-tell',
    confidence: 'exact',
    why:
      outcome === null
        ? `${unknownEnd(references, slower, afterShift)}; ${ends}`
        : outcome === 'frozen'
          ? `its updates are too small for it to learn on; ${ends}`
          : cameBack
            ? `the incident happens and is over as without it; ${ends}`
            : ends,
  };
}

/** Why it is not known whether a training holds, as a clause. */
export const unknownEnd = (
  references: Pick<References, 'level'> | null,
  slower = false,
  afterShift = false,
): string =>
  slower
    ? SLOWER
    : afterShift
      ? 'the data stay as they changed, and the trainings that were tried do not say whether this one is harmed or follows them'
      : references === null
        ? 'no batch from before the incident was recorded, so that it is not known whether it holds'
        : references.level === null
          ? 'what was usual on batches from before the incident is not known, and so it is not whether it holds'
          : `fewer than ${LEAST_AFTER} clean steps were recorded after the harm, so that it is not known whether it holds`;

/** Steps whose batches an arm leaves out or puts others in place of, with the ids of these where each has one. */
export function batchesOf(
  steps: readonly number[],
  idOf: (step: number) => number | string | undefined,
): Pick<ReplayArm, 'steps' | 'batchIds'> {
  const batchIds = steps.map(idOf).filter((id) => id !== undefined);
  return { steps, ...(batchIds.length === steps.length ? { batchIds } : {}) };
}

/** An arm in words. */
export function armLabel({ kind, steps, rows, factor, learningRate, at }: ReplayArm): string {
  if (kind === 'skip-batches' && steps !== undefined) return `${steps.length} batches left out`;
  if (kind === 'skip-rows' && rows !== undefined) return `${countRows(rows)} rows left out`;
  if (kind === 'earlier-batches' && steps !== undefined) return `earlier batches in place of ${steps.length}`;
  if (kind === 'restore-optimizer-state') return `old optimizer state from step ${at}`;
  if (kind === 'weight-decay' && factor !== undefined) return `weight decay times ${factor}`;
  if (kind === 'settings' && at !== undefined) return `settings of before step ${at}`;
  if (kind !== 'learning-rate') return kind;
  return factor === undefined
    ? `learning rate ${formatNumber(learningRate ?? Number.NaN)}`
    : `learning rate times ${factor}`;
}
