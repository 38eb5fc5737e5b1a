import type { OptionValue } from '../model/options.ts';
import type { Values } from '../tensor/values.ts';
import type { TensorRule } from './rule.ts';

/** The thresholds of Clippy. */
export interface ClippyThresholds {
  readonly variableRelativeThreshold: number;
  readonly absoluteThreshold: number;
  readonly accumulatorRelativeThreshold: number;
}

/**
 * Clippy's factor of one tensor and the entry that sets it:
 * σ = min(1, min_i (λ_rel|w_i| + τ·(G_i + ε)^(-1/2) + λ_abs) / |Δ_i|).
 *
 * An entry with Δ_i = 0 bounds nothing, also where its bound is 0; a bound of 0 with Δ_i ≠ 0 gives σ = 0. NaN in w or Δ
 * gives NaN; Δ_i = ±Infinity gives 0.
 *
 * @param update Δ = ηr, the learning rate included
 * @param accumulator G, needed where τ > 0
 */
export function clippyFactor(
  w: Values,
  update: Values,
  thresholds: ClippyThresholds,
  accumulator?: Values,
  epsilon = 0,
): { readonly factor: number; readonly index: number } {
  const relative = thresholds.variableRelativeThreshold;
  const absolute = thresholds.absoluteThreshold;
  const tau = thresholds.accumulatorRelativeThreshold;
  let factor = 1;
  let index = 0;
  for (let i = 0; i < update.length; i++) {
    const size = Math.abs(update[i]!);
    if (size === 0) continue;
    let bound = relative * Math.abs(w[i]!) + absolute;
    if (tau > 0) bound += tau / Math.sqrt(accumulator![i]! + epsilon);
    const ratio = bound / size;
    if (ratio < factor) {
      factor = ratio;
      index = i;
    } else if (Number.isNaN(ratio)) return { factor: Number.NaN, index: i };
  }
  return { factor, index };
}

const threshold = (name: string, value: number, meaning: string) =>
  ({ name, type: 'number', default: value, min: 0, max: Number.POSITIVE_INFINITY, meaning }) as const;

/** Clippy: one factor for each tensor so that no coordinate moves further than its threshold. */
export const clippy: TensorRule = {
  id: 'clippy',
  title: 'Clippy',
  scope: 'tensor',
  stage: 'update',
  mayAmplify: false,
  keepsDirection: true,
  loose: { absoluteThreshold: Number.POSITIVE_INFINITY },
  options: [
    threshold(
      'variableRelativeThreshold',
      0.5,
      'λ_rel: how far a coordinate may move relative to its magnitude',
    ),
    threshold('absoluteThreshold', 1e-2, 'λ_abs: how far any coordinate may move'),
    threshold(
      'accumulatorRelativeThreshold',
      0,
      'τ: further movement relative to the inverse root of Adagrad’s accumulator',
    ),
    {
      name: 'accumulator',
      type: 'choice',
      default: null,
      choices: ['standard', 'delayed', 'clipped'],
      meaning:
        'when Adagrad’s accumulator takes g²: before the step, after it, or after it with σg; else the optimizer’s',
    },
    {
      name: 'epsilon',
      type: 'number',
      default: null,
      min: 0,
      max: Number.POSITIVE_INFINITY,
      meaning: 'ε inside the root, instead of the optimizer’s',
    },
    {
      name: 'learningRate',
      type: 'number',
      default: null,
      min: 0,
      max: Number.POSITIVE_INFINITY,
      above: true,
      meaning: 'learning rate η to use instead of the optimizer’s',
    },
  ],
  mainOption: null,
  sweepOption: 'absoluteThreshold',
  presets: {
    paper: { variableRelativeThreshold: 0.5, absoluteThreshold: 1e-2, accumulator: 'standard' },
    tfrs: {
      variableRelativeThreshold: 0.1,
      absoluteThreshold: 1e-7,
      accumulator: 'delayed',
      epsilon: 1e-7,
    },
  },
  overrides: ({ accumulator, epsilon }) => ({
    ...(accumulator === undefined ? {} : { accumulator }),
    ...(epsilon === undefined ? {} : { epsilon, epsilonInside: true as OptionValue }),
  }),
  undefinedFor: (optimizer, options) => {
    if (optimizer.hasAccumulator) return null;
    if ((options.accumulatorRelativeThreshold as number) > 0)
      return 'accumulatorRelativeThreshold needs Adagrad’s accumulator, and it keeps none';
    // Presets describe Adagrad as well; of other optimizers they mean the thresholds only (see the registry).
    if (options.accumulator !== undefined || options.epsilon !== undefined)
      return 'accumulator and epsilon describe Adagrad’s accumulator, and it keeps none';
    return null;
  },
  docs: {
    summary: 'Scales the update of each tensor so that no coordinate moves further than its threshold.',
    equation:
      'σ = min(1, min_i (λ_rel|w_i| + τ·(G_i+ε)^(-1/2) + λ_abs) / (η|r_i|)), one scalar for each tensor; w ← w − ησr',
    references: [
      'Tang et al., Improving Training Stability for Multitask Ranking Models in Recommender Systems, 2023 (arXiv 2302.09178), Algorithm 1',
      'tensorflow/recommenders, tensorflow_recommenders/experimental/optimizers/clippy_adagrad.py',
    ],
    differences: [
      'Preset `paper`: λ_rel 0.5, λ_abs 1e-2, the accumulator takes g² before the step (standard), ε and initial accumulator as in the optimizer. With it |r| ≤ 1, so that it cannot act where η ≤ λ_abs.',
      'Preset `tfrs` (TensorFlow Recommenders, keras-rs): λ_rel 0.1, λ_abs 1e-7, ε 1e-7 inside the root, and the accumulator takes g² after the step (delayed): r may be large, and a parameter that is 0 is all but frozen.',
      '`accumulator=clipped` is the reference’s `clip_accumulator_update`: G takes (σg)² after the step.',
      'For optimizers without an accumulator a preset means its thresholds only.',
      'Of a sparse gradient only the touched rows count. Decoupled weight decay is outside of the bound.',
      'One scalar for each tensor: ports that scale each coordinate by itself change the direction and are another algorithm.',
    ],
  },
  measure: (seen, options, factors) => {
    const { factor, index } = clippyFactor(
      seen.w,
      seen.x,
      options as unknown as ClippyThresholds,
      seen.accumulator,
      seen.epsilonInRoot,
    );
    factors[0] = factor;
    return index;
  },
};
