import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { fallsToEnd } from '../incidents/signs.ts';
import type { KnownFailure } from './failure.ts';

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
    evidence: `The logged loss scale falls at each of its last ${FALLS} points or more, or is 0; or it was ${HIGH} or more and is below ${LOST} for ${POINTS} points to the end.`,
    notThis: 'A scaler that looks for its scale at the start skips a few steps and then keeps its scale.',
    whatToDo:
      'Train in bfloat16, or in float32. If float16 has to stay, find what overflows: the largest input, an exponential, a division, an epsilon of 1e-8, which is 0 in float16. One step in float32 from the checkpoint before confirms it: its gradient is finite if only the precision was too small.',
  },
  look({ run, scale }) {
    if (scale === null) return null;
    const from = lostFrom(scale.value);
    if (from === null) return null;
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
      remedy: {
        action: 'raise-precision',
        statement: `go back to a checkpoint before ${run.stepUnit} ${step} and run one step in float32: finite gradients call for \`torch.autocast("cuda", torch.bfloat16)\`, others for \`torch.autograd.set_detect_anomaly(True)\``,
      },
    };
  },
};
