/** The run trained again as it was: what it shows where it stays well and the record does not. */
import type { Capture } from '../captures/read.ts';
import { endLevel, judgeLosses } from '../incidents/losses.ts';
import { USUAL } from '../incidents/unlike.ts';
import type { Remedy } from '../model/cause.ts';
import type { ArmEnd } from '../replay/arm-end.ts';
import type { Training } from '../replay/closed-loop.ts';
import type { Prepared } from '../replay/follow.ts';
import { HOLDS, HURT } from '../replay/outcome.ts';
import type { References } from '../replay/reference.ts';
import type { Unrecorded } from './decide.ts';
import type { Observed } from './observe.ts';
import { untried } from './remedies.ts';
import { endText, type RemedyContext, type Tried } from './tried.ts';

/**
 * What the baseline tells, whose end is given: it takes the recorded batches and rates in float32 and carries the optimizer's state on. Where it is well
 * and the record is not, no arm says anything of the cause.
 */
export function unrecordedIn(
  { baseline, check }: Training,
  { steps }: Capture,
  { tensors }: Prepared,
  { loss }: Observed,
  onset: number,
  { outcome }: Pick<ArmEnd, 'outcome'>,
  history: readonly number[],
): Unrecorded | null {
  // With too few clean steps to judge an end, its own losses tell whether anything happens.
  const calm = outcome === null && judgeLosses(baseline.loss, history).incident === null;
  const holds = outcome === 'holds' || calm;
  const departs = steps.findIndex(({ step }) => step === check.departsAt);
  const lost = loss.some((value, i) => steps[i]!.loss !== null && !Number.isFinite(value));
  const before = loss.slice(Math.max(0, onset - USUAL), onset).filter(Number.isFinite);
  const well = holds || endLevel(baseline.loss) <= HURT * Math.max(...before);
  if (lost && well && baseline.loss.every(Number.isFinite))
    return { trigger: 'precision', at: Math.max(0, departs - 1) };
  // Later than the onset float32 runs part by rounding alone.
  const early = departs > 0 && departs <= onset;
  const worse = endLevel(loss) > HOLDS * endLevel(baseline.loss);
  const state = tensors.some(({ slots }) => Object.keys(slots).length > 0);
  return holds && early && worse && state ? { trigger: 'optimizer-state', at: departs - 1 } : null;
}

/** The baseline itself is the try: the same training in float32, with the state carried on. */
export function asComputed(
  { trigger, at }: Unrecorded,
  { outcome, finalLoss }: Pick<Tried, 'outcome' | 'finalLoss'>,
  { capture, checkpointBefore }: RemedyContext,
  references: References | null,
): Remedy {
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
