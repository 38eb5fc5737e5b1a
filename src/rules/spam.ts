import { type OptionSpec, POSITIVE } from '../model/options.ts';
import type { EntryRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'threshold',
    type: 'number',
    default: 5000,
    ...POSITIVE,
    meaning: 'θ: how many times the second moment the square of an entry may be',
  },
  {
    name: 'warmupSteps',
    type: 'number',
    default: 19,
    min: 0,
    max: 1_000_000,
    integer: true,
    meaning: 'steps of the optimizer before the rule acts: v starts at 0, and everything would be a spike',
  },
] as const satisfies readonly OptionSpec[];

/** Spike-aware clipping of SPAM: entries with g² > θ·v become sign(g)·√(θv), v before this step. */
export const spam: EntryRule<typeof OPTIONS> = {
  id: 'spam',
  title: 'SPAM spike-aware clipping',
  scope: 'entry',
  place: 'entry',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: false,
  loose: { threshold: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'threshold',
  undefinedFor: (optimizer) =>
    optimizer.hasSecondMoment
      ? null
      : 'it compares g² with the second moment v of Adam, and this optimizer keeps none',
  docs: {
    summary: 'Clamps entries of the gradient whose square is far above Adam’s second moment.',
    equation:
      'if g_i² > θ·v_i: g_i ← sign(g_i)·√(θ·v_i), with v before this step and without bias correction',
    references: [
      'Huang et al., SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training, 2025 (arXiv 2501.06842), section 4 and Algorithm 1',
    ],
    differences: [
      'The clipping only: SPAM’s periodic reset of the moments and the warm-up after it belong to the optimizer.',
      'The authors’ code counts its 20 `grad_accu_steps` with the step at hand: the twentieth step of the optimizer is the first that may be clipped, as here.',
      'The optimizer’s own v is what it compares with, hence Adam, AdamW, LAMB and RMSProp only.',
    ],
  },
  clamp: ({ x, secondMoment, stepsTaken }, options, out) => {
    const threshold = options.threshold;
    const active = stepsTaken >= options.warmupSteps && threshold < Number.POSITIVE_INFINITY;
    let factor = 1;
    let index = 0;
    let nan = -1;
    for (let i = 0; i < x.length; i++) {
      const g = x[i]!;
      const bound = active ? Math.sqrt(threshold * secondMoment![i]!) : Number.POSITIVE_INFINITY;
      const size = Math.abs(g);
      if (size > bound) {
        out[i] = g > 0 ? bound : -bound;
        if (bound / size < factor) {
          factor = bound / size;
          index = i;
        }
      } else {
        out[i] = g;
        if (Number.isNaN(g) || Number.isNaN(bound)) nan = i;
      }
    }
    return nan >= 0 ? { index: nan, factor: Number.NaN } : { index, factor };
  },
};
