import type { Column } from '../../model/column.ts';
import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { wasInForce } from './in-force.ts';
import type { ModelRule, SeenNorm } from './rule.ts';

/** Norm of all gradients together. */
export const globalNorm = (seen: readonly SeenNorm[]): number =>
  Math.sqrt(seen.reduce((sum, tensor) => sum + tensor.sumOfSquares, 0));

/** Largest magnitude of all gradients; NaN if one is. */
const largestOf = (seen: readonly SeenNorm[]): number => Math.max(0, ...seen.map(({ largest }) => largest!));

/** PyTorch's coefficient: maxNorm/(norm + 1e-6), at most 1. NaN if the norm is. */
export const torchCoefficient = (maxNorm: number, norm: number): number =>
  maxNorm === Number.POSITIVE_INFINITY && Number.isFinite(norm) ? 1 : Math.min(1, maxNorm / (norm + 1e-6));

const COEFFICIENTS = {
  torch: torchCoefficient,
  optax: (maxNorm: number, norm: number) => (norm < maxNorm ? 1 : maxNorm / norm),
  tensorflow: (maxNorm: number, norm: number) =>
    Number.isFinite(norm) ? Math.min(1, maxNorm / norm) : Number.NaN,
};

/** The factor that clipping by global norm has at a gradient norm; all that a log with a logged norm needs. */
export function globalNormFactor(
  norm: number,
  maxNorm: number,
  semantics: keyof typeof COEFFICIENTS,
): number {
  // 0/0 of a zero gradient under maxNorm 0 is no news: nothing to scale.
  return norm === 0 ? 1 : COEFFICIENTS[semantics](maxNorm, norm);
}

const OPTIONS = [
  {
    name: 'maxNorm',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'largest norm that all gradients together may keep',
  },
  {
    name: 'semantics',
    type: 'choice',
    default: 'torch',
    choices: ['torch', 'optax', 'tensorflow'],
    meaning: 'whose form',
  },
  {
    name: 'norm',
    type: 'choice',
    default: '2',
    choices: ['2', 'inf'],
    meaning: 'inf: the largest magnitude instead of the Euclidean norm',
  },
] as const satisfies readonly OptionSpec[];

/** One factor for the whole model from the norm of all gradients. */
export const globalNormRule: ModelRule<typeof OPTIONS> = {
  id: 'global-norm',
  title: 'Clipping by global norm',
  scope: 'model',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: { maxNorm: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'maxNorm',
  sweepOption: 'maxNorm',
  order: ({ maxNorm, norm }) =>
    `clip the ${norm === 'inf' ? 'largest gradient entry' : 'gradient norm'} at ${maxNorm}`,
  docs: {
    summary: 'Scales all gradients by one factor so that their common norm is at most `maxNorm`.',
    equation: 'g ← g · min(1, maxNorm / (‖g‖ + 1e-6)), ‖g‖ over all tensors: Euclidean, or max |gᵢ|',
    references: [
      'torch.nn.utils.clip_grad_norm_',
      'optax.clip_by_global_norm',
      'tf.clip_by_global_norm; Keras optimizers, argument `global_clipnorm`',
      'Pascanu et al., On the difficulty of training recurrent neural networks, 2013 (arXiv 1211.5063), Algorithm 1',
    ],
    differences: [
      'torch divides by norm + 1e-6 and caps the coefficient at 1; an infinite norm gives factor 0, so that finite entries become 0 and infinite ones NaN.',
      'optax has no ε and leaves the gradient alone where norm < maxNorm; an infinite norm gives factor 0.',
      'tensorflow has no ε; an infinite norm gives NaN everywhere.',
      'Only PyTorch has the ∞-norm (`norm_type=inf`); with the other forms it is theirs with that norm.',
      'The norm is a float64 sum here; frameworks sum in the type of the gradients.',
    ],
    fromLog: 'what its factor is at every logged gradient norm, treated as the norm before clipping',
  },
  paste: ({ norm }) => (norm === 'inf' ? 'clip global-norm inf' : 'clip global-norm'),
  fromLog: (log, { maxNorm, semantics, norm: kind }) => {
    const { gradientNorm } = log;
    const bounds = gradientNorm?.value.map((norm) => globalNormFactor(norm, maxNorm, semantics));
    // The largest magnitude is at most the norm: where that clips nothing, neither does this.
    const factorsOf = (known: Column) =>
      kind === '2' ? known : known.map((factor) => (factor === 1 ? 1 : Number.NaN));
    const own = wasInForce(log, 'all', maxNorm, bounds === undefined ? undefined : factorsOf(bounds));
    if (own !== null) return own;
    if (gradientNorm === undefined || bounds === undefined)
      return { missing: 'the log has no gradient norm' };
    const factors = factorsOf(bounds);
    if (!factors.some(Number.isNaN)) return { steps: gradientNorm.step, factors };
    return {
      steps: gradientNorm.step,
      factors,
      ...(kind === '2'
        ? {}
        : {
            low: bounds,
            why: 'the log has the Euclidean norm, and how far the largest magnitude is below it needs gradients',
          }),
    };
  },
  seesLargest: ({ norm }) => norm === 'inf',
  initialState: () => ({}),
  measure: (state, seen, { maxNorm, semantics, norm }, factors) => {
    factors.fill(globalNormFactor(norm === 'inf' ? largestOf(seen) : globalNorm(seen), maxNorm, semantics));
    return state;
  },
};
