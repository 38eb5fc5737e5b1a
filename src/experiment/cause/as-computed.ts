/** The run trained again as it was: what it shows where it stays well and the record does not. */

import { endLevel, judgeLosses } from '../../judge/incidents/losses.ts';
import { USUAL } from '../../judge/incidents/unlike.ts';
import type { Remedy } from '../../model/cause.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { ArmEnd } from '../replay/arm-end.ts';
import type { Training } from '../replay/closed-loop.ts';
import { suddenDeparture } from '../replay/departure.ts';
import type { Prepared } from '../replay/follow.ts';
import { HOLDS, HURT } from '../replay/level-limits.ts';
import type { References } from '../replay/reference.ts';
import type { Observed } from './observe.ts';
import { untried } from './remedies.ts';
import { endText, type RemedyContext, type Tried } from './tried.ts';

/** What a record without it points at: only the recorded losses are lost, or they alone leave the others at a step. */
export interface Unrecorded {
  /** `none-found`: a capture does not contain it. */
  readonly trigger: 'precision' | 'optimizer-state' | 'none-found';
  /** Position of the last step up to which record and computed training agree. */
  readonly at: number;
  /** Loss of the computed training at the next. */
  readonly computed: number;
  /** Whether the computed training ends well, and not only without the incident. */
  readonly holds: boolean;
}

/** What is said of an incident that the same training from the same state and batches does not have, where neither of these is its cause. */
export function unseenWords(
  { at, computed }: Pick<Unrecorded, 'at' | 'computed'>,
  { steps, loss }: Pick<Observed, 'steps' | 'loss'>,
): string {
  const [before, there] = [steps[at]!, steps[at + 1]!];
  return `what changed at step ${there} is not in the capture: the code of the model or of the loss, train or eval mode, or weights that were loaded; trained again from the same state and batches, the loss there is ${formatNumber(computed)} where ${formatNumber(loss[at + 1]!)} was recorded; up to step ${before} both agree`;
}

/**
 * The conclusion from the baseline, whose end is given: it takes the recorded batches and rates in float32 and carries the
 * optimizer's state on. Where it is well and the record is not, no arm says anything of the cause. It is well where it holds,
 * and where the incident does not happen in it though it had gone as recorded up to the step before: the losses of a run may
 * end above their level without any incident.
 */
export function unrecordedIn(
  { baseline, check }: Training,
  { steps }: Capture,
  { tensors }: Prepared,
  { loss, agreedAt, mismatches }: Observed,
  onset: number,
  { outcome }: Pick<ArmEnd, 'outcome'>,
  history: readonly number[],
): Unrecorded | null {
  const calm = judgeLosses(baseline.loss, history).incident === null;
  // With too few clean steps to judge an end, its own losses tell whether anything happens.
  const holds = outcome === 'holds' || (outcome === null && calm);
  const departs = steps.findIndex(({ step }) => step === check.departsAt);
  const found = (trigger: Unrecorded['trigger'], at: number): Unrecorded => {
    const computed = baseline.loss[at + 1]!;
    return { trigger, at, computed, holds };
  };
  const recorded = steps.map((step) => step.loss);
  const onlyRecorded = calm && suddenDeparture(baseline.loss, recorded, onset) === departs;
  const lost = loss.some((value, i) => recorded[i] !== null && !Number.isFinite(value));
  const before = loss.slice(Math.max(0, onset - USUAL), onset).filter(Number.isFinite);
  const well = holds || endLevel(baseline.loss) <= HURT * Math.max(...before);
  // An overflow gives NaN at once: a loss that jumps, and is lost later, had another cause.
  if (lost && well && !onlyRecorded && baseline.loss.every(Number.isFinite))
    return found('precision', Math.max(0, departs - 1));
  // Later than the onset float32 runs part by rounding alone.
  if (departs <= 0 || departs > onset) return null;
  const worse = endLevel(loss) > HOLDS * endLevel(baseline.loss);
  if (!onlyRecorded && !(holds && worse)) return null;
  const state = tensors.some(({ slots }) => Object.keys(slots).length > 0);
  // Where later weights are those that the recorded gradients give, the optimizer did as it should.
  const asItShould = mismatches.length === 0 && agreedAt !== null && agreedAt >= steps[departs]!.step;
  if (state && !asItShould) return found('optimizer-state', departs - 1);
  return onlyRecorded ? found('none-found', departs - 1) : null;
}

/** The baseline itself is the try: the same training in float32, with the state carried on. null where it is unknown what to undo. */
export function asComputed(
  { trigger, at }: Unrecorded,
  { outcome, finalLoss }: Pick<Tried, 'outcome' | 'finalLoss'>,
  { capture, checkpointBefore }: RemedyContext,
  references: References | null,
): Remedy | null {
  if (trigger === 'none-found') return null;
  const step = capture.steps[trigger === 'precision' ? 0 : at]!.step;
  const ends = endText(outcome, finalLoss, references, { tried: 0, held: 0 });
  return untried(
    trigger === 'precision' ? 'raise-precision' : 'restore-optimizer-state',
    trigger === 'precision'
      ? `train in float32 (or bfloat16) from step ${step}, or lower the loss scale; in float32 ${ends}`
      : `carry on the optimizer state from before step ${step}: ${ends}`,
    {
      from: { step, path: checkpointBefore(step) },
      tried: 'closed-loop',
      holds: outcome === null ? null : outcome === 'holds',
      outcome,
      finalLoss: Number.isFinite(finalLoss) ? finalLoss : null,
    },
  );
}
