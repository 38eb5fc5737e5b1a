import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { globalNorm, globalNormFactor } from './global-norm.ts';
import type { ModelRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'zThreshold',
    type: 'number',
    default: 2.5,
    ...POSITIVE,
    meaning: 'z-score above which the norm is an outlier',
  },
  {
    name: 'alpha',
    type: 'number',
    default: 0.97,
    min: 0,
    max: 1,
    meaning: 'smoothing of the moving mean and variance',
  },
  {
    name: 'warmupSteps',
    type: 'number',
    default: 25,
    min: 1,
    max: 1_000_000,
    integer: true,
    meaning: 'norms that the mean and variance start from; only maxNorm clips until then',
  },
  {
    name: 'maxNorm',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'largest norm in any case; Infinity for none',
  },
  {
    name: 'clipTo',
    type: 'choice',
    default: 'adaptive',
    choices: ['adaptive', 'mean'],
    meaning: 'what an outlier is clipped to',
  },
] as const satisfies readonly OptionSpec[];

/** Clipping by global norm where its z-score against moving averages is too large. */
export const zclip: ModelRule<
  typeof OPTIONS,
  { readonly warmup: readonly number[]; readonly mean: number; readonly variance: number }
> = {
  id: 'zclip',
  title: 'ZClip',
  scope: 'model',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: { zThreshold: Number.POSITIVE_INFINITY, maxNorm: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'zThreshold',
  order: ({ zThreshold }) => `clip norms ${zThreshold} deviations above the usual (ZClip)`,
  docs: {
    summary: 'Clips the global norm when it stands out against a moving mean and deviation of its own past.',
    equation:
      'z = (‖g‖ − μ)/(s + 1e-6); if z > z₀: c = μ + z₀·s/(z/z₀), or μ; g ← g · min(1, c/(‖g‖ + 1e-6)); μ, s² move by c or ‖g‖',
    references: [
      'Kumar et al., ZClip: Adaptive Spike Mitigation for LLM Pre-Training, 2025 (arXiv 2504.02507), Algorithm 1',
      'bluorion-com/ZClip, zclip.py',
    ],
    differences: [
      'Form of the authors’ code in mode `zscore`: outside of outliers and in the warm-up `maxNorm` clips; the averages take the clipped norm, without the effect of `maxNorm`.',
      'Later versions of the code multiply the threshold by a clip factor (1 by default) and can leave spikes out of the averages; not part of this rule.',
      'The warm-up begins at the first recorded step.',
    ],
  },
  initialState: () => ({ warmup: [], mean: 0, variance: 0 }),
  measure: (state, seen, options, factors) => {
    const norm = globalNorm(seen);
    const maxNorm = options.maxNorm;
    const warmupSteps = options.warmupSteps;
    const warmup = state.warmup as readonly number[];
    if (warmup.length < warmupSteps) {
      factors.fill(globalNormFactor(norm, maxNorm, 'torch'));
      const norms = [...warmup, norm];
      const mean = norms.reduce((sum, x) => sum + x, 0) / norms.length;
      const variance = norms.reduce((sum, x) => sum + (x - mean) ** 2, 0) / norms.length;
      return { warmup: norms, mean, variance };
    }
    const alpha = options.alpha;
    const zThreshold = options.zThreshold;
    const { mean, variance } = state;
    const deviation = Math.sqrt(variance);
    const z = (norm - mean) / (deviation + 1e-6);
    const outlier = z > zThreshold;
    const clipped = !outlier
      ? norm
      : options.clipTo === 'mean'
        ? mean
        : mean + (zThreshold * deviation) / (z / zThreshold);
    const limit = Math.min(clipped, maxNorm);
    factors.fill(norm <= limit ? 1 : limit / (norm + 1e-6));
    const newMean = alpha * mean + (1 - alpha) * clipped;
    return {
      warmup,
      mean: newMean,
      variance: alpha * variance + (1 - alpha) * (clipped - newMean) ** 2,
    };
  },
};
