import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { normRatio } from '../tensor/values.ts';
import type { TensorRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'learningRate',
    type: 'number',
    default: null,
    ...POSITIVE,
    meaning:
      'learning rate η to use instead of the optimizer’s, which means something else without the ratio',
  },
] as const satisfies readonly OptionSpec[];

/** The trust ratio of LAMB on the direction of any optimizer, weight decay included. May amplify. */
export const lamb: TensorRule<typeof OPTIONS> = {
  id: 'lamb',
  title: 'LAMB trust ratio',
  scope: 'tensor',
  place: 'tensor',
  stage: 'direction',
  mayAmplify: true,
  keepsDirection: true,
  loose: null,
  options: OPTIONS,
  mainOption: 'learningRate',
  learningRate: ({ learningRate }) => learningRate,
  decayInDirection: true,
  undefinedFor: (optimizer) =>
    optimizer.hasTrustRatio ? 'it applies the trust ratio itself, and twice is another algorithm' : null,
  order: () => 'scale each step by the weights (LAMB)',
  docs: {
    summary: 'Scales the direction of each tensor to the norm of its parameters.',
    equation: 'u = r + βw; w ← w − η · (‖w‖/‖u‖) · u, for each tensor; ratio 1 if ‖w‖ or ‖u‖ is 0',
    references: [
      'You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2019 (arXiv 1904.00962), Algorithm 2 with φ the identity',
    ],
    differences: [
      'The optimizer’s weight decay β joins the direction, also where the optimizer would have added it to the gradient.',
      'φ is the identity; some codes clamp ‖w‖ to [0, 10]. No clipping of the global norm first, as NVIDIA’s code has it.',
      'Every tensor takes part; many codes leave out biases and normalisation.',
      'It scales, it does not clip: the factor is almost never 1 and may be above 1.',
    ],
  },
  measure: ({ w, x }, _options, factors) => {
    factors[0] = normRatio(w, x);
    return 0;
  },
};
