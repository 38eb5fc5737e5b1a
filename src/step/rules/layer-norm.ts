import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { wasInForce } from './in-force.ts';
import { NEEDS_GRADIENTS, normOfSeen, type TensorRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'maxNorm',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'largest norm λ that the gradient of a tensor may keep',
  },
] as const satisfies readonly OptionSpec[];

/** The paper's GC: min(1, λ/‖g‖) for each tensor. A zero gradient has factor 1, NaN gives NaN. */
export const layerNorm: TensorRule<typeof OPTIONS> = {
  id: 'layer-norm',
  title: 'Clipping by the norm of each tensor',
  scope: 'tensor',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: { maxNorm: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'maxNorm',
  sweepOption: 'maxNorm',
  order: ({ maxNorm }) => `clip each tensor’s norm at ${maxNorm}`,
  docs: {
    summary: 'Scales the gradient of each tensor by a factor of its own so that its norm is at most λ.',
    equation: 'g ← g · min(1, λ/‖g‖), for each tensor',
    references: [
      'Tang et al., Improving Training Stability for Multitask Ranking Models in Recommender Systems, 2023 (arXiv 2302.09178), equation of GC',
      'Keras optimizers, argument `clipnorm`; tf.clip_by_norm',
    ],
    differences: [
      'No ε, as in the paper and in TensorFlow. PyTorch users get it by clip_grad_norm_ on one tensor at a time, which adds 1e-6 to the norm.',
    ],
    fromLog: 'that it was on and did not hold, where the settings next to the log name such clipping',
  },
  fromLog: (log, { maxNorm }) => wasInForce(log, 'each', maxNorm) ?? { missing: NEEDS_GRADIENTS },
  paste: () => 'clip layer-norm',
  measure: (seen, options, factors) => {
    const size = normOfSeen(seen);
    const limit = options.maxNorm;
    factors[0] = size <= limit ? 1 : limit / size;
    return 0;
  },
};
