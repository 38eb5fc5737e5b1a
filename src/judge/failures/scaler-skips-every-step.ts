import { formatNumber } from '../../model/format-number.ts';
import { FALLS, HIGH, LOST, POINTS, skipsEveryStepFrom } from '../incidents/scaler.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import type { LogEvidence } from './log-evidence.ts';

/** The failure by the norms alone, where no loss scale was logged. */
function ofNorms({ run, norms }: LogEvidence, from: number): FoundFailure {
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
    const found = skipsEveryStepFrom(log);
    if (found === null) return null;
    const { from } = found;
    if (found.sign === 'norms') return ofNorms(log, from);
    const { run } = log;
    const scale = log.scale!;
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
