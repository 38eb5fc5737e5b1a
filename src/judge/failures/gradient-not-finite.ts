import type { KnownFailure } from './failure.ts';

/** Logged points before the onset in which a gradient that is NaN or infinite may have caused it. */
const WINDOW = 10;

export const gradientNotFinite: KnownFailure = {
  id: 'gradient-not-finite',
  title: 'The gradient is NaN or infinite before the loss is',
  symptoms: ['nan gradient', 'inf gradient', 'grad norm nan', 'overflow', 'inf', 'nan'],
  docs: {
    summary: 'The gradient norm is NaN or infinite while the loss of the same step is still usual.',
    evidence:
      'A logged gradient norm is not finite in the ten logged points before the loss leaves its range.',
    notThis:
      'A norm that is NaN or infinite at the same step as the loss: then the loss is what broke (`nan-out-of-calm`).',
    whatToDo:
      'Train in bfloat16 or float32, or lower the loss scale; in float32 look for the square root of 0, a division by a norm of 0, or a masked row that is all masked: their values are finite and their derivatives are not. `torch.autograd.set_detect_anomaly(True)` at that step names the operation and confirms it.',
  },
  look({ run, norms, onsetStep }) {
    if (norms === null || onsetStep === null) return null;
    const until = norms.step.findLastIndex((one) => one <= onsetStep);
    const from = Math.max(0, until - WINDOW);
    const broken = norms.value.subarray(from, until + 1).findIndex((norm) => !Number.isFinite(norm));
    if (until < 0 || broken < 0 || norms.step.at(from + broken)! >= onsetStep) return null;
    const step = norms.step.at(from + broken)!;
    const value = norms.value.at(from + broken)!;
    const statement = `the gradient norm is ${value} at ${run.stepUnit} ${step}, before the loss leaves its usual range at ${run.stepUnit} ${onsetStep}`;
    return {
      trigger: 'precision',
      confidence: 'likely',
      lead: 'the gradient overflowed',
      step,
      statement,
      evidence: [
        {
          id: 'non-finite-gradient',
          statement,
          value,
          unit: 'norm',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'raise-precision',
        statement: `train in bfloat16 or float32, or lower the loss scale; torch.autograd.set_detect_anomaly(True) at ${run.stepUnit} ${step} names the operation`,
      },
    };
  },
};
