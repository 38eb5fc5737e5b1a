import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { globalNorm } from './global-norm.ts';
import type { LoggedSeries, ModelRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'sigmas',
    type: 'number',
    default: 6,
    ...POSITIVE,
    meaning: 'standard deviations above the mean of its window from which a value leaves the step out',
  },
  {
    name: 'window',
    type: 'number',
    default: 128,
    min: 2,
    max: 1_000_000,
    integer: true,
    meaning: 'values before the step at hand that mean and deviation are taken of',
  },
] as const satisfies readonly OptionSpec[];

/** Values of this many steps, this one's included, before the rule acts: half a window, but 20 at least. */
const leastOf = (window: number): number => Math.max(20, Math.floor(window / 2));

/** Whether a value stands out above those before it. NaN does, and so does each value while NaN is among them. */
function standsOut(values: readonly number[], sigmas: number): boolean {
  const [before, newest] = [values.slice(0, -1), values.at(-1)!];
  const mean = before.reduce((sum, x) => sum + x, 0) / before.length;
  const variance = before.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (before.length - 1);
  return !(newest - mean <= sigmas * Math.sqrt(variance));
}

/** The values of a step joined to those before it. */
const joined = (values: readonly number[], value: number, window: number): readonly number[] =>
  [...values, value].slice(-(window + 1));

/** Leaves out the steps whose loss or gradient norm is far above its own past. */
export const skipStep: ModelRule<
  typeof OPTIONS,
  { readonly losses: readonly number[]; readonly norms: readonly number[] }
> = {
  id: 'skip-step',
  title: 'Skipped steps',
  scope: 'model',
  skips: true,
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: { sigmas: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'sigmas',
  order: ({ sigmas }) => `leave out steps ${sigmas} deviations above the usual`,
  docs: {
    summary: 'Leaves a step out where its loss or its gradient norm is far above those of the steps before.',
    equation:
      'no step is taken unless ‖g_t‖ − mean ≤ σ·std and loss_t − mean ≤ σ·std, each of its own last `window` values',
    references: [
      'allenai/OLMo-core, olmo_core.optim: SkipStepOptimizer, SkipStepAdamW, SkipStepLion',
      'OLMo Team, 2 OLMo 2 Furious, 2025 (arXiv 2501.00656)',
    ],
    differences: [
      'A step that is left out moves nothing: parameters, the state of the optimizer, its count of steps. A gradient scaled to 0 would let momentum and weight decay go on, and would shrink the second moment.',
      'The window begins at the first recorded step. As in OLMo-core nothing is left out before half of it, 20 steps at least, is full, and the values of skipped steps join it.',
      'A step whose loss or norm is NaN is left out, and so are all steps while it is in the window: OLMo-core’s comparison has it so.',
      'Earlier versions of OLMo-core look at |value − mean|, and leave out steps whose loss is far below, too.',
      'Where a step has no recorded loss, its gradient norm decides.',
    ],
    fromLog:
      'which logged steps it would leave out, where every step is logged with its loss and gradient norm',
  },
  fromLog: ({ gradientNorm, loss }, options) => {
    if (gradientNorm === undefined || loss === undefined)
      return { missing: `the log has no ${loss === undefined ? 'loss' : 'gradient norm'}` };
    if (!everyStep(loss) || !everyStep(gradientNorm) || loss.step.at(0) !== gradientNorm.step.at(0))
      return { missing: 'the log does not hold the loss and the gradient norm of every step' };
    const count = Math.min(loss.step.length, gradientNorm.step.length);
    const factors = new Float64Array(count);
    let [losses, norms]: (readonly number[])[] = [[], []];
    for (let i = 0; i < count; i++) {
      losses = joined(losses!, loss.value.at(i)!, options.window);
      norms = joined(norms!, gradientNorm.value.at(i)!, options.window);
      factors[i] = skipped(losses, norms, options) ? 0 : 1;
    }
    return { steps: loss.step.subarray(0, count), factors };
  },
  initialState: () => ({ losses: [], norms: [] }),
  measure: (state, seen, options, factors, loss) => {
    const norms = joined(state.norms, globalNorm(seen), options.window);
    const losses = loss === null ? state.losses : joined(state.losses, loss, options.window);
    factors.fill(skipped(loss === null ? [] : losses, norms, options) ? 0 : 1);
    return { losses, norms };
  },
};

function skipped(
  losses: readonly number[],
  norms: readonly number[],
  { sigmas, window }: { readonly sigmas: number; readonly window: number },
): boolean {
  if (sigmas === Number.POSITIVE_INFINITY || norms.length < leastOf(window)) return false;
  return [losses, norms].some((values) => values.length > 2 && standsOut(values, sigmas));
}

/** Whether a series has one value for each step from its first on. */
const everyStep = ({ step }: LoggedSeries): boolean =>
  step.every((value, i) => i === 0 || value === step.at(i - 1)! + 1);
