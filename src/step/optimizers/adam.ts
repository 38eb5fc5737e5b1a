import { NOT_NEGATIVE, type OptionSpec, type OptionsOf } from '../../model/options.ts';
import {
  meanNumbers,
  momentDirection,
  momentNumbers,
  WITH_LARGEST,
  WITH_MEAN,
} from '../kernels/moment-directions.ts';
import { forKernel, type KerasForm, type Optimizer, type Slots, type StepContext } from './optimizer.ts';

const OPTIONS = [
  { name: 'beta1', type: 'number', default: 0.9, min: 0, max: 1, meaning: 'β₁, smoothing of the mean' },
  { name: 'beta2', type: 'number', default: 0.999, min: 0, max: 1, meaning: 'β₂, smoothing of the square' },
  { name: 'epsilon', type: 'number', default: 1e-8, ...NOT_NEGATIVE, meaning: 'ε' },
  { name: 'amsgrad', type: 'flag', default: false, meaning: 'divide by the largest v so far' },
  {
    name: 'epsilonHat',
    type: 'flag',
    default: false,
    meaning: 'ε is added before the bias correction of v, as Keras has it',
  },
] as const satisfies readonly OptionSpec[];

type AdamOptions = OptionsOf<typeof OPTIONS>;

/** What √v is multiplied by, and what is added. */
function rootNumbers({ beta2, epsilon, epsilonHat }: AdamOptions, { step }: Pick<StepContext, 'step'>) {
  const correction = 1 / Math.sqrt(1 - beta2 ** step);
  return { correction, epsilon: epsilon * (epsilonHat ? correction : 1) };
}

/** √v̂ + ε, with the largest v so far for amsgrad. */
function rootOfMoment(slots: Slots, options: AdamOptions, context: Pick<StepContext, 'step'>) {
  const v = slots.v!;
  const largest = slots.v_max;
  const { beta2 } = options;
  const { correction, epsilon } = rootNumbers(options, context);
  return (i: number, g: number): number => {
    v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
    let square = v[i]!;
    if (largest !== undefined) {
      // Not Math.max: a NaN that is in neither operand must not appear, one that is in v must.
      if (!(largest[i]! >= square)) largest[i] = square;
      square = largest[i]!;
    }
    return Math.sqrt(square) * correction + epsilon;
  };
}

/** What the bias correction of the mean divides by. */
const meanBias = ({ beta1 }: AdamOptions, step: number): number => 1 - beta1 ** step;

/** What the kernels take. */
function kernelNumbers(options: AdamOptions, context: Pick<StepContext, 'step'>) {
  const { correction, epsilon } = rootNumbers(options, context);
  return {
    moment: { decay: options.beta2, inside: 0, scale: correction, outside: epsilon },
    mean: { decay: options.beta1, scale: 1 / meanBias(options, context.step) },
  };
}

const NAMES = {
  slots: { exp_avg: 'm', exp_avg_sq: 'v', max_exp_avg_sq: 'v_max' },
  options: { eps: 'epsilon', 'betas.0': 'beta1', 'betas.1': 'beta2', amsgrad: 'amsgrad' },
} as const;

const KERAS = {
  slots: ['m', 'v', 'v_max'],
  inTurn: 2,
  config: {
    names: { beta_1: 'beta1', beta_2: 'beta2', epsilon: 'epsilon', amsgrad: 'amsgrad' },
    form: { epsilonHat: true },
    defaults: { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
  },
} as const satisfies KerasForm<typeof OPTIONS>;

/** m̂/(√v̂ + ε) with the state moved forward: the direction of Adam, AdamW and LAMB. */
const shared = {
  options: OPTIONS,
  torch: NAMES,
  slots: (options) => [
    { name: 'm', initial: 0 },
    { name: 'v', initial: 0 },
    ...(options.amsgrad ? [{ name: 'v_max', initial: 0 }] : []),
  ],
  // The moments of an untouched row decay, and the row moves on.
  rowwise: () => false,
  countsSteps: () => true,
  preconditioner: rootOfMoment,
  direction: (g, out, slots, options, context) => {
    const m = slots.m!;
    const { beta1 } = options;
    const fitting = slots.v_max === undefined ? forKernel(g, out, slots.v!, m) : undefined;
    if (fitting !== undefined) {
      const [gradient, direction, v, mean] = fitting;
      const { moment, mean: ofMean } = kernelNumbers(options, context);
      momentDirection(gradient, direction, v, moment, { ...ofMean, m: mean });
      return;
    }
    const correction = 1 / meanBias(options, context.step);
    const rootOf = rootOfMoment(slots, options, context);
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      m[i] = beta1 * m[i]! + (1 - beta1) * x;
      const root = rootOf(i, x);
      const mean = m[i]!;
      out[i] = root === 0 && mean === 0 ? 0 : (mean * correction) / root;
    }
  },
  kernel: ({ v, m, v_max: largest }, options, context) => {
    const { moment, mean } = kernelNumbers(options, context);
    const slots = largest === undefined ? [v, m] : [v, m, largest];
    return {
      code: largest === undefined ? WITH_MEAN : WITH_LARGEST,
      slots: slots as Float32Array[],
      numbers: [...momentNumbers(moment), ...meanNumbers(mean)],
    };
  },
  secondMomentCorrection: ({ beta2 }, step) => 1 / (1 - beta2 ** step),
} as const satisfies Partial<Optimizer<typeof OPTIONS>>;

/** A heavy ball on P⁻¹H that takes the share 1 − β₁ of the gradient, at the rate η/(1 − β₁ᵗ). */
const stabilityLimit = (options: AdamOptions, { learningRate, step }: StepContext) => ({
  limit: ((2 + 2 * options.beta1) * meanBias(options, step)) / ((1 - options.beta1) * learningRate),
  rule: '(2+2β₁)(1−β₁ᵗ)/((1−β₁)η) on P⁻¹H (arXiv 2207.14484, with the bias correction of step t)',
  forecast: false,
});

const DIFFERENCES = [
  'PyTorch: ε = 1e-8 added to √v̂. Keras: ε = 1e-7 added to √v, before the bias correction (`epsilonHat`).',
  'amsgrad compares v before the bias correction, in both.',
  'A sparse gradient moves every row, as in Keras: the momentum of untouched rows goes on. PyTorch’s SparseAdam touches the rows alone and is another algorithm.',
] as const;

export const adam: Optimizer<typeof OPTIONS> = {
  ...shared,
  keras: KERAS,
  stabilityLimit,
  id: 'adam',
  title: 'Adam',
  decay: 'gradient',
  docs: {
    summary: 'Steps along the moving mean of gradients over the root of the moving mean of their squares.',
    equation: 'm ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; r = m̂/(√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)',
    references: [
      'Kingma and Ba, 2014 (arXiv 1412.6980), Algorithm 1',
      'torch.optim.Adam',
      'tf.keras.optimizers.Adam',
    ],
    differences: DIFFERENCES,
  },
};

export const adamw: Optimizer<typeof OPTIONS> = {
  ...shared,
  keras: {
    ...KERAS,
    config: { ...KERAS.config, defaults: { ...KERAS.config.defaults, weightDecay: 0.004 } },
  },
  stabilityLimit,
  id: 'adamw',
  title: 'AdamW',
  decay: 'parameters',
  docs: {
    summary: 'Adam with weight decay taken off the parameters instead of added to the gradient.',
    equation: 'r as Adam; w ← w − ηβw − ηr',
    references: ['Loshchilov and Hutter, 2017 (arXiv 1711.05101), Algorithm 2', 'torch.optim.AdamW'],
    differences: [
      ...DIFFERENCES,
      'The decay is multiplied by η, as in PyTorch and Keras; clipping does not touch it.',
    ],
  },
};

export const lamb: Optimizer<typeof OPTIONS> = {
  ...shared,
  keras: { slots: ['m', 'v'], inTurn: 2 },
  id: 'lamb',
  title: 'LAMB',
  decay: 'direction',
  hasTrustRatio: true,
  docs: {
    summary: 'Adam’s direction with weight decay, scaled for each tensor to the norm of its parameters.',
    equation: 'u = m̂/(√v̂ + ε) + βw; w ← w − η·(‖w‖/‖u‖)·u; ratio 1 if a norm is 0',
    references: ['You et al., 2019 (arXiv 1904.00962), Algorithm 2'],
    differences: [
      'With bias correction, as in the paper; PyTorch has no LAMB, NVIDIA’s clips the global norm of gradients first.',
      'φ is the identity.',
      'It has no limit of stability here: the trust ratio makes the length of a step that of the parameters, whatever the curvature.',
    ],
  },
};
