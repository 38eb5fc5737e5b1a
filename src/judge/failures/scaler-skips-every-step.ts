import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { fallsToEnd } from '../incidents/signs.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { BETTER, type LogEvidence, levelBefore, levelFrom } from './log-evidence.ts';

/** Points in a row at which the scale falls; a scaler finds its scale in up to five. */
const FALLS = 6;

/** A scale below 1 makes gradients smaller than they are; one that was this high and is so low for so many points is lost. */
const [LOST, HIGH, POINTS] = [1, 1024, 50];

/** Position from which on the scale falls to the end, or is lost to the end; null where it does neither. */
function lostFrom(scale: Column): number | null {
  const falls = fallsToEnd(scale);
  if (scale.length - falls >= FALLS) return falls;
  const from = scale.findLastIndex((value) => !(value < LOST)) + 1;
  if (from === 0 || scale.length - from < POINTS || !scale.some((value) => value >= HIGH)) return null;
  const usual = medianOf(scale.subarray(0, from));
  return scale.findLastIndex((value) => value >= usual) + 1;
}

/**
 * Position from which on every norm is infinite or NaN, under a loss that is finite and comes down no more; null without it. Weights
 * that took such a gradient would give no finite loss.
 */
function infiniteFrom({ norms, loss }: LogEvidence): number | null {
  if (norms === null || loss === null) return null;
  const from = norms.value.findLastIndex((norm) => Number.isFinite(norm)) + 1;
  if (from === 0 || norms.value.length - from < POINTS) return null;
  const since = loss.value.subarray(loss.step.findIndex((one) => one >= norms.step.at(from)!));
  if (since.length < POINTS || !since.every((one) => Number.isFinite(one))) return null;
  const [first, last] = [levelFrom(since, 0, POINTS / 2), levelBefore(since, since.length, POINTS / 2)];
  return last > BETTER * first ? from : null;
}

/** The failure by the norms alone, where no loss scale was logged. */
function ofNorms(log: LogEvidence): FoundFailure | null {
  const from = infiniteFrom(log);
  if (from === null) return null;
  const { run, norms } = log;
  const step = norms!.step.at(from)!;
  const statement = `every gradient norm from ${run.stepUnit} ${step} on is infinite or NaN, and the loss is finite and comes down no more: the loss scaler skips every step`;
  return {
    trigger: 'precision',
    confidence: 'likely',
    lead: 'gradients overflow in float16',
    step,
    statement,
    evidence: [
      {
        id: 'skipped-steps',
        statement,
        value: norms!.value.length - from,
        unit: 'steps',
        usual: null,
        at: { step, batchStep: null },
      },
    ],
    remedy: remedyAt(run.stepUnit, step),
  };
}

const remedyAt = (stepUnit: string, step: number): FoundFailure['remedy'] => ({
  action: 'raise-precision',
  statement: `go back to a checkpoint before ${stepUnit} ${step} and run one step in float32: finite gradients call for \`torch.autocast("cuda", torch.bfloat16)\`, others for \`torch.autograd.set_detect_anomaly(True)\``,
});

/** A loss scale at and below which no gradient overflows by it. */
const NO_OVERFLOW = 2 ** -10;

export const scalerSkipsEveryStep: KnownFailure = {
  id: 'scaler-skips-every-step',
  title: 'The loss scaler skips every step',
  symptoms: [
    'fp16',
    'float16',
    'half',
    'amp',
    'mixed precision',
    'gradscaler',
    'loss scale',
    'overflow',
    'underflow',
    'inf',
  ],
  docs: {
    summary:
      'Gradients overflow in float16, the scaler lowers its scale at every step, and no weight changes any more.',
    evidence: `The logged loss scale falls at each of its last ${FALLS} points or more, or is 0; or it was ${HIGH} or more and is below ${LOST} for ${POINTS} points to the end. Without a logged scale: the last ${POINTS} gradient norms or more are all infinite or NaN, and the loss is finite and comes down no more.`,
    notThis:
      'A scaler that looks for its scale at the start skips a few steps and then keeps its scale. A loss that still falls under infinite norms: the norm alone overflows.',
    whatToDo:
      'Train in bfloat16, or in float32. If float16 has to stay, find what overflows: the largest input, an exponential, a division, an epsilon of 1e-8, which is 0 in float16. One step in float32 from the checkpoint before confirms it: its gradient is finite if only the precision was too small.',
  },
  look(log) {
    const { run, scale } = log;
    const from = scale === null ? null : lostFrom(scale.value);
    if (scale === null || from === null) return ofNorms(log);
    const [step, before, last] = [scale.step.at(from)!, scale.value.at(from - 1)!, scale.value.at(-1)!];
    const scales = [before, last].map((one) => (Number.isInteger(one) ? String(one) : formatNumber(one)));
    const statement = `from ${run.stepUnit} ${step} on the loss scaler skips every step: its scale falls from ${scales[0]} to ${scales[1]}`;
    // Nothing that is multiplied by so little overflows: it was no number before.
    const isAtAnyScale = last <= NO_OVERFLOW;
    return {
      trigger: 'precision',
      confidence: 'likely',
      lead: isAtAnyScale ? 'gradients are infinite or NaN at any scale' : 'gradients overflow in float16',
      step,
      statement: `${statement}, and no weight changes any more`,
      evidence: [
        {
          id: 'skipped-steps',
          statement,
          value: scale.value.length - from,
          unit: 'steps',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: remedyAt(run.stepUnit, step),
    };
  },
};
