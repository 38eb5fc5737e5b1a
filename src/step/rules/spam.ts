import { type OptionSpec, POSITIVE } from '../../model/options.ts';
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
  {
    name: 'resetEvery',
    type: 'number',
    default: 0,
    min: 0,
    max: 1_000_000_000,
    integer: true,
    meaning: 'ΔT: steps after which the moments begin anew, 500 in the paper; 0: never',
  },
  {
    name: 'rampSteps',
    type: 'number',
    default: 150,
    min: 0,
    max: 1_000_000,
    integer: true,
    meaning: 'N: steps over which updates grow to their size again after a reset',
  },
] as const satisfies readonly OptionSpec[];

/** Share of the update that the first step after a reset leaves out. */
const FIRST_LEFT_OUT = 0.99;

/** Steps since the last reset, at a step counted from 1; NaN before the first. */
const sinceReset = (every: number, step: number): number =>
  every > 0 && step >= every ? step % every : Number.NaN;

/** Spike-aware clipping of SPAM: entries with g² > θ·v become sign(g)·√(θv), v before this step. And its momentum reset. */
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
  undefinedFor: (optimizer, { resetEvery }) => {
    if (!optimizer.hasSecondMoment)
      return 'it compares g² with the second moment v of Adam, and this optimizer keeps none';
    return resetEvery === 0 || optimizer.hasFirstMoment
      ? null
      : 'it resets the moments m and v of Adam, and this optimizer keeps no m';
  },
  schedule: ({ resetEvery, rampSteps }, step) => {
    const since = sinceReset(resetEvery, step);
    const left =
      since < rampSteps ? (FIRST_LEFT_OUT * (1 + Math.cos((Math.PI * since) / (rampSteps + 1)))) / 2 : 0;
    return { reset: since === 0, scale: 1 - left };
  },
  order: ({ threshold }) => `clip squares above ${threshold} times the usual (SPAM)`,
  docs: {
    summary:
      'Clamps entries of the gradient whose square is far above Adam’s second moment; with `resetEvery` the moments begin anew every so many steps.',
    equation:
      'if g_i² > θ·v_i: g_i ← sign(g_i)·√(θ·v_i), with v before this step and without bias correction. At every step t with t mod ΔT = 0: m ← 0, v ← 0 before it; k < N steps after that the update is 1 − 0.99·(1 + cos(πk/(N+1)))/2 of its size',
    references: [
      'Huang et al., SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training, 2025 (arXiv 2501.06842), section 4 and Algorithm 1',
    ],
    differences: [
      'SPAM as published is `spam:resetEvery=500`; the default is its clipping alone, which another optimizer than theirs can take over.',
      'The bias correction goes on with the count of all steps after a reset, as in the authors’ code; the first updates after it would be up to (1−β₁)/√(1−β₂) = 3.2 times as long as usual without the ramp.',
      'The ramp multiplies the update and leaves decoupled weight decay alone.',
      'The authors’ code counts its 20 `grad_accu_steps` with the step at hand: the twentieth step of the optimizer is the first that may be clipped, as here, and the twentieth after a reset again.',
      'The optimizer’s own v is what it compares with, hence Adam, AdamW, LAMB and RMSProp only.',
    ],
  },
  clamp: ({ x, secondMoment, stepsTaken }, options, out) => {
    const threshold = options.threshold;
    const since = sinceReset(options.resetEvery, stepsTaken + 1);
    // v has to fill again after a reset.
    const filled = stepsTaken >= options.warmupSteps && !(since <= options.warmupSteps);
    const active = filled && threshold < Number.POSITIVE_INFINITY;
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
