import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { globalNorm } from './global-norm.ts';
import type { ModelRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'relativeThreshold',
    type: 'number',
    default: 1.05,
    ...POSITIVE,
    meaning: 'λ_rel: largest norm of a tensor’s gradient relative to its moving average',
  },
  {
    name: 'absoluteThreshold',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'λ_abs: largest global norm during the warm-up',
  },
  { name: 'beta', type: 'number', default: 0.98, min: 0, max: 1, meaning: 'smoothing of the average' },
  {
    name: 'warmupSteps',
    type: 'number',
    default: 100,
    min: 1,
    max: 1_000_000,
    integer: true,
    meaning: 'steps with clipping by global norm, whose smallest clipped norms start the averages',
  },
] as const satisfies readonly OptionSpec[];

/** Per-tensor clipping against a moving average of the tensor's own clipped norms. */
export const adagc: ModelRule<
  typeof OPTIONS,
  { readonly steps: number; readonly averages: readonly number[] }
> = {
  id: 'adagc',
  title: 'AdaGC',
  scope: 'model',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: {
    relativeThreshold: Number.POSITIVE_INFINITY,
    absoluteThreshold: Number.POSITIVE_INFINITY,
  },
  options: OPTIONS,
  mainOption: 'relativeThreshold',
  order: ({ relativeThreshold }) => `clip at ${relativeThreshold} times the usual norm (AdaGC)`,
  docs: {
    summary: 'Clips the gradient of each tensor relative to a moving average of its own clipped norms.',
    equation:
      'h = min(1, λ_rel·γ/‖g‖); g ← h·g; γ ← βγ + (1−β)‖h·g‖, for each tensor; in the warm-up h = min(1, λ_abs/‖g‖_global), γ ← min(γ, ‖h·g‖)',
    references: [
      'Wang et al., AdaGC: Improving Training Stability for Large Language Model Pretraining, 2025 (arXiv 2502.11034), Algorithm 1',
    ],
    differences: [
      'The warm-up begins at the first recorded step: a capture of fewer than `warmupSteps` steps sees clipping by global norm only.',
      'The warm-up lasts `warmupSteps` steps; in pytorch_optimizer one less, and with ε added to the global norm.',
      'A tensor whose norms in the warm-up were 0 stays at 0, as in the paper.',
    ],
  },
  initialState: (tensors) => ({
    steps: 0,
    averages: new Array<number>(tensors).fill(Number.POSITIVE_INFINITY),
  }),
  measure: (state, seen, options, factors) => {
    const { steps } = state;
    const averages = [...state.averages];
    const { beta, relativeThreshold } = options;
    const warm = steps >= options.warmupSteps;
    const total = warm ? 0 : globalNorm(seen);
    for (const [i, { position, sumOfSquares }] of seen.entries()) {
      const average = averages[position]!;
      const size = Math.sqrt(sumOfSquares);
      // A threshold of ∞ clips nothing, also where the average is 0.
      const relative =
        relativeThreshold === Number.POSITIVE_INFINITY ? relativeThreshold : relativeThreshold * average;
      const limit = warm ? relative : options.absoluteThreshold;
      const against = warm ? size : total;
      const factor = against === 0 || against <= limit ? 1 : limit / against;
      factors[i] = factor;
      const clipped = factor * size;
      averages[position] = warm ? beta * average + (1 - beta) * clipped : Math.min(average, clipped);
    }
    return { steps: steps + 1, averages };
  },
};
