import { formatNumber } from '../../model/format-number.ts';
import { NOT_NEGATIVE, type OptionSpec, POSITIVE } from '../../model/options.ts';
import { unitSumsOfSquares } from '../tensor/values.ts';
import type { TensorRule } from './rule.ts';

/** Squared norms of the parameters' units; grown when a tensor has more units than any before. */
let parameterSums = new Float64Array(1024);

const OPTIONS = [
  {
    name: 'clipping',
    type: 'number',
    default: 0.01,
    ...POSITIVE,
    meaning: 'largest ratio λ of the norm of a unit’s gradient to the norm of its parameters',
  },
  {
    name: 'epsilon',
    type: 'number',
    default: 1e-3,
    ...NOT_NEGATIVE,
    meaning: 'least norm that the parameters of a unit are taken to have',
  },
] as const satisfies readonly OptionSpec[];

/**
 * Adaptive gradient clipping: for each output unit u, with limit = λ·max(‖w_u‖, ε),
 * factor = 1 if ‖g_u‖ < limit, else limit / max(‖g_u‖, 1e-6). NaN gives NaN.
 */
export const agc: TensorRule<typeof OPTIONS> = {
  id: 'agc',
  title: 'Adaptive gradient clipping (AGC)',
  scope: 'unit',
  place: 'unit',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: false,
  loose: { clipping: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'clipping',
  sweepOption: 'clipping',
  order: ({ clipping }) => `clip at ${formatNumber(100 * clipping, 'brief')} % of the weights (AGC)`,
  docs: {
    summary: 'Bounds the gradient of each output unit relative to the norm of the unit’s parameters.',
    equation: 'g_u ← g_u · min(1, λ·max(‖w_u‖, ε) / max(‖g_u‖, 1e-6)), for each unit u',
    references: [
      'Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, 2021 (arXiv 2102.06171), equation 3',
      'optax.adaptive_grad_clip; deepmind-research/nfnets/agc_optax.py',
    ],
    differences: [
      'Units as in the official code: a vector or scalar is one unit, a kernel has one per output (axis from the layout, never guessed from the rank), an embedding table one per row.',
      'A kernel whose layout is unknown is one unit.',
      'The clippy paper writes AGC with the norm of a whole layer.',
      'timm and optax leave a unit alone where ‖g_u‖ is below the limit; so does this, whatever the 1e-6.',
    ],
  },
  paste: () => 'clip agc',
  measure: ({ w, x }, options, factors, units) => {
    const clipping = options.clipping;
    const epsilon = options.epsilon;
    if (parameterSums.length < units.count) parameterSums = new Float64Array(units.count);
    unitSumsOfSquares(w, units, parameterSums);
    unitSumsOfSquares(x, units, factors);
    let smallest = 0;
    for (let u = 0; u < units.count; u++) {
      const gradient = Math.sqrt(factors[u]!);
      const limit = clipping * Math.max(Math.sqrt(parameterSums[u]!), epsilon);
      factors[u] = gradient < limit ? 1 : limit / Math.max(gradient, 1e-6);
      if (factors[u]! < factors[smallest]! || Number.isNaN(factors[u])) smallest = u;
    }
    return smallest;
  },
};
