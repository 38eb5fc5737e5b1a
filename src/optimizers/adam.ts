import type { OptionSpec, Options } from '../model/options.ts';
import type { Values } from '../tensor/values.ts';
import type { Optimizer, Slots, StepContext } from './optimizer.ts';

const OPTIONS: readonly OptionSpec[] = [
  { name: 'beta1', type: 'number', default: 0.9, min: 0, max: 1, meaning: 'β₁, smoothing of the mean' },
  { name: 'beta2', type: 'number', default: 0.999, min: 0, max: 1, meaning: 'β₂, smoothing of the square' },
  { name: 'epsilon', type: 'number', default: 1e-8, min: 0, max: Number.POSITIVE_INFINITY, meaning: 'ε' },
  { name: 'amsgrad', type: 'flag', default: false, meaning: 'divide by the largest v so far' },
  {
    name: 'epsilonHat',
    type: 'flag',
    default: false,
    meaning: 'ε is added before the bias correction of v, as Keras has it',
  },
];

/** m̂/(√v̂ + ε) with the state moved forward; the direction of Adam, AdamW and LAMB. */
function adamDirection(g: Values, out: Values, slots: Slots, options: Options, { step }: StepContext): void {
  const m = slots.m!;
  const v = slots.v!;
  const largest = slots.v_max;
  const beta1 = options.beta1 as number;
  const beta2 = options.beta2 as number;
  const correction1 = 1 / (1 - beta1 ** step);
  const correction2 = 1 / Math.sqrt(1 - beta2 ** step);
  const epsilon = (options.epsilon as number) * (options.epsilonHat ? correction2 : 1);
  for (let i = 0; i < g.length; i++) {
    const x = g[i]!;
    m[i] = beta1 * m[i]! + (1 - beta1) * x;
    v[i] = beta2 * v[i]! + (1 - beta2) * x * x;
    let square = v[i]!;
    if (largest !== undefined) {
      // Not Math.max: a NaN that is in neither operand must not appear, one that is in v must.
      if (!(largest[i]! >= square)) largest[i] = square;
      square = largest[i]!;
    }
    const mean = m[i]!;
    const root = Math.sqrt(square) * correction2 + epsilon;
    out[i] = root === 0 && mean === 0 ? 0 : (mean * correction1) / root;
  }
}

const slots = (options: Options) => [
  { name: 'm', initial: 0 },
  { name: 'v', initial: 0 },
  ...(options.amsgrad ? [{ name: 'v_max', initial: 0 }] : []),
];

const secondMomentCorrection = (options: Options, step: number): number =>
  1 / (1 - (options.beta2 as number) ** step);

const shared = {
  options: OPTIONS,
  slots,
  // The moments of an untouched row decay, and the row moves on.
  rowwise: () => false,
  direction: adamDirection,
  secondMomentCorrection,
} as const;

const DIFFERENCES = [
  'PyTorch: ε = 1e-8 beside √v̂. Keras: ε = 1e-7 beside √v, before the bias correction (`epsilonHat`).',
  'amsgrad compares v before the bias correction, in both.',
  'A sparse gradient moves every row, as in Keras: the momentum of untouched rows goes on. PyTorch’s SparseAdam touches the rows alone and is another algorithm.',
] as const;

export const adam: Optimizer = {
  ...shared,
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

export const adamw: Optimizer = {
  ...shared,
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

export const lamb: Optimizer = {
  ...shared,
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
    ],
  },
};
