import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { normOfSeen, parameterNorm, type TensorRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'trustCoefficient',
    type: 'number',
    default: 1e-3,
    ...POSITIVE,
    meaning: 'c, the size of the scaled gradient relative to the parameters',
  },
] as const satisfies readonly OptionSpec[];

/** Layer-wise adaptive rate: c‖w‖/(‖g‖ + β‖w‖) on g + βw, 1 where a norm is 0. May amplify. */
export const lars: TensorRule<typeof OPTIONS> = {
  id: 'lars',
  title: 'Layer-wise adaptive rate scaling (LARS)',
  scope: 'tensor',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: true,
  keepsDirection: true,
  loose: null,
  options: OPTIONS,
  mainOption: 'trustCoefficient',
  afterWeightDecay: true,
  order: () => 'scale each step by the weights (LARS)',
  docs: {
    summary: 'Gives every tensor a gradient whose norm is a fixed share of the norm of its parameters.',
    equation: 'g ← (g + βw) · c‖w‖/(‖g‖ + β‖w‖), for each tensor; factor 1 if ‖w‖ or ‖g‖ is 0',
    references: [
      'You et al., Large Batch Training of Convolutional Networks, 2017 (arXiv 1708.03888), equation 6 and Algorithm 1',
    ],
    differences: [
      'Acts after the weight decay and before the momentum; β is the optimizer’s coupled weight decay, 0 where decay is decoupled.',
      'No ε in the denominator; NVIDIA’s and other codes add 1e-8 or 1e-9.',
      'Every tensor takes part; many codes leave out biases and normalisation.',
      'It scales, it does not clip: the factor is almost never 1 and may be above 1.',
    ],
  },
  measure: (seen, options, factors) => {
    const parameters = parameterNorm(seen);
    const gradient = normOfSeen(seen);
    factors[0] =
      parameters === 0 || gradient === 0
        ? 1
        : (options.trustCoefficient * parameters) / (gradient + seen.weightDecay * parameters);
    return 0;
  },
};
