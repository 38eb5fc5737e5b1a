import { formatNumber } from '../../model/format-number.ts';
import { clipLimitOf } from '../../model/run-settings.ts';
import { usualRange } from '../incidents/unlike.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, lastBefore, levelBefore } from './log-evidence.ts';

/** Points of a rise at least, and how many times the level before its last finite point has to be. */
const [RISING, TIMES] = [4, 3];
/** Points up to the first NaN in which a rise is looked for. */
const WINDOW = 100;

export const blowUp: KnownFailure = {
  id: 'nan-after-a-rise',
  title: 'The loss grows step by step until it is NaN or infinite',
  symptoms: ['nan', 'inf', 'exploding', 'exploding gradients', 'diverged', 'blows up', 'gradient explosion'],
  docs: {
    summary: 'The loss or the gradient norm grows over several steps, and then the loss is NaN or infinite.',
    evidence: `Before the first NaN the last ${RISING} points or more of the loss, or of the gradient norm, grow from one to the next, to ${TIMES} times the level before or more.`,
    notThis:
      'A loss that is usual up to the step (`nan-out-of-calm`), and a rate that rose shortly before (`rate-raised`).',
    whatToDo:
      'Each step overshoots: go back to a checkpoint before the rise, and clip the gradient norm at its usual size, or train on at half the rate. The same batches at half the rate confirm it: the loss does not grow.',
  },
  look(log) {
    const { run, loss, norms } = log;
    if (loss === null || log.onset < 0) return null;
    const broken = loss.value.findIndex((value, i) => i >= log.onset && !Number.isFinite(value));
    if (broken < 0) return null;
    const rise = riseBefore(loss.value, broken);
    const until = norms === null ? -1 : lastBefore(norms, loss.step.at(broken)!);
    const normRise = norms === null ? null : riseBefore(norms.value, until + 1);
    if (rise === null && normRise === null) return null;
    const at = loss.step.at(broken)!;
    const [what, found, points] =
      rise === null ? (['gradient norm', normRise!, norms!] as const) : (['loss', rise, loss] as const);
    const from = points.step.at(found.from)!;
    const statement = `the ${what} grows from ${formatNumber(found.before)} at ${run.stepUnit} ${from} to ${formatNumber(found.peak)}, point by point, and the loss is NaN or infinite from ${run.stepUnit} ${at} on`;
    return {
      trigger: 'sharpness',
      confidence: 'likely',
      lead: 'the steps were too long',
      step: from,
      statement: `${statement}; a bad value in the data ends in NaN at once and not by growing`,
      evidence: [
        {
          id: what === 'loss' ? 'loss-level' : 'gradient-norm',
          statement,
          value: found.peak,
          unit: what === 'loss' ? 'loss' : 'norm',
          usual: null,
          at: { step: from, batchStep: null },
        },
      ],
      remedy: shorter(log, from),
    };
  },
};

/** A growth from point to point that ends right before a position. */
function riseBefore(
  values: NonNullable<LogEvidence['loss']>['value'],
  end: number,
): { readonly from: number; readonly before: number; readonly peak: number } | null {
  let from = end - 1;
  const least = Math.max(0, end - WINDOW);
  while (from > least && values.at(from)! > values.at(from - 1)! && Number.isFinite(values.at(from - 1)!))
    from--;
  if (end - 1 - from < RISING) return null;
  const before = levelBefore(values, from + 1);
  const peak = values.at(end - 1)!;
  return before > 0 && peak >= TIMES * before ? { from, before: values.at(from)!, peak } : null;
}

/** Half the rate, and the usual gradient norm as a limit where it is logged. */
export function shorter({ run, loss, rates, norms }: LogEvidence, from: number): FoundFailure['remedy'] {
  const rate = rates === null ? undefined : rates.value.at(lastBefore(rates, from + 1));
  const usual =
    norms === null ? null : usualRange(norms.value.subarray(0, Math.max(0, lastBefore(norms, from + 1))));
  const known = rate !== undefined && rate > 0;
  const half = known ? ` (${formatNumber(rate / 2)})` : '';
  const limit = clipLimitOf(run.hyperparameters);
  const clip =
    limit !== undefined
      ? `lower the clipping limit, which is ${formatNumber(limit)}`
      : usual === null
        ? 'clip the gradient norm'
        : `clip the gradient norm at ${formatNumber(levelBefore(norms!.value, lastBefore(norms!, from + 1)), 'brief')}, its usual size`;
  const isAtBeginning = loss !== null && loss.step.findIndex((at) => at >= from) < RISING;
  const again = isAtBeginning
    ? 'begin again'
    : `go back to a checkpoint before ${run.stepUnit} ${from} and train on`;
  return {
    action: 'lower-learning-rate',
    learningRateFactor: 0.5,
    ...(known ? { learningRate: rate / 2 } : {}),
    statement: `${again} at half the rate${half}, or ${clip}; the same batches at half the rate confirm it: the loss does not grow`,
  };
}
