import {
  NOT_NEGATIVE,
  type OptionSpec,
  type OptionsOf,
  type OptionValue,
  POSITIVE,
} from '../../model/options.ts';
import type { ClippyDetails } from '../../model/replay.ts';
import { type ClippyThresholds, clippyFactor } from './clippy-factor.ts';
import type { FromLog, LoggedRun, RuleDetails, SeenTensor, TensorRule } from './rule.ts';

const threshold = <const Name extends string>(name: Name, value: number, meaning: string) =>
  ({ name, type: 'number', default: value, ...NOT_NEGATIVE, meaning }) as const;

const OPTIONS = [
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
    ...NOT_NEGATIVE,
    meaning: 'ε inside the root, instead of the optimizer’s',
  },
  {
    name: 'learningRate',
    type: 'number',
    default: null,
    ...POSITIVE,
    meaning: 'learning rate η to use instead of the optimizer’s',
  },
] as const satisfies readonly OptionSpec[];

type ClippyOptions = OptionsOf<typeof OPTIONS>;

/** Under Adagrad's standard accumulator |r| ≤ 1, hence σ ≥ λ_abs/η where the learning rate is known; else σ > 0. */
function fromLog(log: LoggedRun, options: ClippyOptions): FromLog {
  const { absoluteThreshold, accumulator = 'standard', learningRate: own } = options;
  const rates = log.learningRate?.value;
  const steps = (log.learningRate ?? log.gradientNorm ?? log.loss)?.step ?? new Float64Array();
  const adagrad = log.optimizer !== undefined && /\badagrad/.test(log.optimizer);
  // |r| ≤ 1 is Adagrad's: of another optimizer, or of one that nobody named, the learning rate bounds nothing.
  const known = adagrad && accumulator === 'standard' && (own !== undefined || rates !== undefined);
  const low = steps.map((_, i) => (known ? Math.min(1, absoluteThreshold / (own ?? rates!.at(i)!)) : 0));
  const factors = low.map((bound) => (bound === 1 ? 1 : Number.NaN));
  const idle = !factors.some(Number.isNaN);
  return {
    steps,
    factors,
    low,
    final: idle,
    why: idle
      ? 'the learning rate never exceeds absoluteThreshold: under Adagrad’s standard accumulator it cannot act'
      : known
        ? 'its factor lies between absoluteThreshold/η and 1 under Adagrad’s standard accumulator; more needs gradients'
        : adagrad
          ? 'a log does not hold the updates that it bounds'
          : `${log.optimizer === undefined ? 'no optimizer is named next to the log' : `the optimizer is ${log.optimizer}`}: a log does not hold the updates that it bounds`,
  };
}

/** σ below which a tensor counts as frozen. */
const FROZEN = 1e-3;

/** What sets the smallest σ, and the tensors that it all but stops. */
function details(options: ClippyOptions): RuleDetails {
  const tau = options.accumulatorRelativeThreshold;
  const partsAt = (seen: SeenTensor, i: number) => ({
    variableRelativeThreshold: options.variableRelativeThreshold * Math.abs(seen.w[i]!),
    absoluteThreshold: options.absoluteThreshold,
    accumulatorRelativeThreshold: tau > 0 ? tau / Math.sqrt(seen.accumulator![i]! + seen.epsilonInRoot) : 0,
  });
  let smallest = 1;
  let tightest: Omit<ClippyDetails, 'frozen'> = { dominatedBy: null, parameter: null, update: null };
  const frozen = new Map<number, { steps: number; factor: number; absoluteThreshold: number }>();
  return {
    measured(tensor, seen, factor) {
      if (factor < smallest) {
        smallest = factor;
        const { index } = clippyFactor(seen.w, seen.x, options, seen.accumulator, seen.epsilonInRoot);
        const parts = Object.entries(partsAt(seen, index)).sort((a, b) => b[1] - a[1]);
        tightest = {
          dominatedBy: parts[0]![0] as keyof ClippyThresholds,
          parameter: seen.w[index]!,
          update: seen.x[index]!,
        };
      }
      if (!(factor < FROZEN)) return;
      // σ = 1 once λ_abs covers what the other thresholds leave of every |Δ|.
      let needed = 0;
      for (let i = 0; i < seen.x.length; i++) {
        const { variableRelativeThreshold, accumulatorRelativeThreshold } = partsAt(seen, i);
        const rest = Math.abs(seen.x[i]!) - variableRelativeThreshold - accumulatorRelativeThreshold;
        if (rest > needed) needed = rest;
      }
      const known = frozen.get(tensor);
      frozen.set(tensor, {
        steps: (known?.steps ?? 0) + 1,
        factor: Math.min(known?.factor ?? 1, factor),
        absoluteThreshold: Math.max(known?.absoluteThreshold ?? 0, needed),
      });
    },
    result: (names) => ({
      clippy: {
        ...tightest,
        frozen: [...frozen].map(([tensor, found]) => ({ tensor: names[tensor]!, ...found })),
      },
    }),
  };
}

/** Clippy: one factor for each tensor so that no coordinate moves further than its threshold. */
export const clippy: TensorRule<typeof OPTIONS> = {
  id: 'clippy',
  title: 'Clippy',
  scope: 'tensor',
  place: 'entry',
  stage: 'update',
  mayAmplify: false,
  keepsDirection: true,
  lead: true,
  loose: { absoluteThreshold: Number.POSITIVE_INFINITY },
  options: OPTIONS,
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
  accumulatorOptions: ['accumulator', 'epsilon'],
  fromLog,
  details,
  learningRate: ({ learningRate }) => learningRate,
  overrides: ({ accumulator, epsilon }) => ({
    ...(accumulator === undefined ? {} : { accumulator }),
    ...(epsilon === undefined ? {} : { epsilon, epsilonInside: true as OptionValue }),
  }),
  undefinedFor: (optimizer, options) => {
    if (optimizer.hasAccumulator) return null;
    if (options.accumulatorRelativeThreshold > 0)
      return 'accumulatorRelativeThreshold needs Adagrad’s accumulator, and it keeps none';
    // Presets describe Adagrad as well; of other optimizers they mean the thresholds only.
    if (options.accumulator !== undefined || options.epsilon !== undefined)
      return 'accumulator and epsilon describe Adagrad’s accumulator, and it keeps none';
    return null;
  },
  order: (_, preset) => `clip with ${preset === 'tfrs' ? 'TensorFlow’s' : 'the paper’s'} Clippy`,
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
    fromLog:
      'that σ lies between λ_abs/η and 1 under Adagrad’s standard accumulator, where it holds the learning rate and the optimizer is known to be Adagrad; else only that σ is above 0',
  },
  seesState: ({ accumulatorRelativeThreshold }) => accumulatorRelativeThreshold > 0,
  measure: (seen, options, factors) => {
    // No bound is below λ_abs where the parameters are finite.
    if (
      seen.largest !== undefined &&
      seen.largest <= options.absoluteThreshold &&
      options.accumulatorRelativeThreshold === 0 &&
      Number.isFinite(seen.parameterSquares?.())
    ) {
      factors[0] = 1;
      return 0;
    }
    const { factor, index } = clippyFactor(seen.w, seen.x, options, seen.accumulator, seen.epsilonInRoot);
    factors[0] = factor;
    return index;
  },
};
