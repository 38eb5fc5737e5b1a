import type { OptionSpec } from '../../model/options.ts';
import { globalNorm, globalNormFactor } from './global-norm.ts';
import type { ModelRule } from './rule.ts';

/** Percentile of sorted values with linear interpolation, numpy's default; NaN if any value is NaN. */
function percentile(values: readonly number[], percent: number): number {
  if (values.some(Number.isNaN)) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  const position = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return position === below ? low : low + (high - low) * (position - below);
}

const OPTIONS = [
  {
    name: 'percentile',
    type: 'number',
    default: 10,
    min: 0,
    max: 100,
    meaning: 'percentile of the norms so far to clip at',
  },
  {
    name: 'historyLength',
    type: 'number',
    default: 10_000,
    min: 1,
    max: 1_000_000,
    integer: true,
    meaning: 'norms that are remembered',
  },
] as const satisfies readonly OptionSpec[];

/** Clipping by global norm at a percentile of all norms so far, this step's included. */
export const autoclip: ModelRule<typeof OPTIONS, { readonly norms: readonly number[] }> = {
  id: 'autoclip',
  title: 'AutoClip',
  scope: 'model',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: null,
  options: OPTIONS,
  mainOption: 'percentile',
  order: ({ percentile }) => `clip at percentile ${percentile} of past norms (AutoClip)`,
  docs: {
    summary: 'Clips the global norm at a percentile of the norms seen so far.',
    equation: 'c_t = percentile_p(‖g_1‖, …, ‖g_t‖); g ← g · min(1, c_t/(‖g_t‖ + 1e-6))',
    references: [
      'Seetharaman et al., AutoClip: Adaptive Gradient Clipping for Source Separation Networks, 2020 (arXiv 2007.14469), section 3',
    ],
    differences: [
      'The history holds the norm of the current step, as in the authors’ code. It begins at the first recorded step, not at the start of training.',
      'The authors keep all norms; their package keeps 1,000 and clips at the 90th percentile.',
      'A NaN norm makes the percentile NaN until it leaves the history, as numpy has it.',
    ],
  },
  initialState: () => ({ norms: [] }),
  measure: (state, seen, options, factors) => {
    const norm = globalNorm(seen);
    const norms = [...state.norms, norm].slice(-options.historyLength);
    factors.fill(globalNormFactor(norm, percentile(norms, options.percentile), 'torch'));
    return { norms };
  },
};
