import type { Optimizer } from './optimizer.ts';

/** RMSProp, plain, centered and with momentum. */
export const rmsprop: Optimizer = {
  id: 'rmsprop',
  title: 'RMSProp',
  options: [
    { name: 'rho', type: 'number', default: 0.99, min: 0, max: 1, meaning: 'ρ, PyTorch’s alpha' },
    { name: 'epsilon', type: 'number', default: 1e-8, min: 0, max: Number.POSITIVE_INFINITY, meaning: 'ε' },
    {
      name: 'epsilonInside',
      type: 'flag',
      default: false,
      meaning: '√(v + ε) as Keras has it, or √v + ε as PyTorch has it',
    },
    { name: 'momentum', type: 'number', default: 0, min: 0, max: 1, meaning: 'μ' },
    { name: 'centered', type: 'flag', default: false, meaning: 'divide by the variance, not the square' },
    {
      name: 'learningRateInside',
      type: 'flag',
      default: false,
      meaning: 'the momentum holds η·r as Keras has it, not r as PyTorch has it',
    },
  ],
  docs: {
    summary: 'Divides the gradient by the root of a moving mean of its squares.',
    equation: 'v ← ρv + (1−ρ)g²; r = g/(√v + ε); with momentum m ← μm + r, r = m',
    references: [
      'Tieleman and Hinton, 2012, lecture 6e',
      'torch.optim.RMSprop',
      'tf.keras.optimizers.RMSprop',
    ],
    differences: [
      'PyTorch: ρ = 0.99, ε = 1e-8 outside the root. Keras: ρ = 0.9, ε = 1e-7 inside.',
      'The moving mean of gradients of the centered form is slot `m`.',
    ],
  },
  decay: 'gradient',
  slots: (options) => [
    { name: 'v', initial: 0 },
    ...(options.centered ? [{ name: 'm', initial: 0 }] : []),
    ...((options.momentum as number) > 0 ? [{ name: 'momentum', initial: 0 }] : []),
  ],
  rowwise: () => false,
  direction: (g, out, slots, options, { learningRate }) => {
    const v = slots.v!;
    const mean = slots.m;
    const momentum = slots.momentum;
    const rho = options.rho as number;
    const epsilon = options.epsilon as number;
    const inside = options.epsilonInside ? epsilon : 0;
    const outside = options.epsilonInside ? 0 : epsilon;
    const mu = options.momentum as number;
    const unit = options.learningRateInside ? learningRate : 1;
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      v[i] = rho * v[i]! + (1 - rho) * x * x;
      let square = v[i]!;
      if (mean !== undefined) {
        mean[i] = rho * mean[i]! + (1 - rho) * x;
        square -= mean[i]! * mean[i]!;
      }
      const root = Math.sqrt(square + inside) + outside;
      const r = root === 0 && x === 0 ? 0 : x / root;
      if (momentum === undefined) out[i] = r;
      else {
        const m = mu * momentum[i]! + unit * r;
        momentum[i] = m;
        out[i] = unit === 0 ? 0 : m / unit;
      }
    }
  },
};
