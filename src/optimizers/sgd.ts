import type { Optimizer } from './optimizer.ts';

/** Stochastic gradient descent with momentum, dampening and Nesterov's form. */
export const sgd: Optimizer = {
  id: 'sgd',
  title: 'SGD',
  options: [
    { name: 'momentum', type: 'number', default: 0, min: 0, max: 1, meaning: 'μ' },
    {
      name: 'dampening',
      type: 'number',
      default: 0,
      min: 0,
      max: 1,
      meaning: 'share of the gradient left out',
    },
    { name: 'nesterov', type: 'flag', default: false, meaning: 'step along g + μm' },
    {
      name: 'learningRateInside',
      type: 'flag',
      default: false,
      meaning: 'the momentum holds −η·g as Keras has it, not g as PyTorch has it',
    },
  ],
  docs: {
    summary: 'Steps along the gradient or a moving sum of gradients.',
    equation: 'm ← μm + (1−dampening)·g (m = g at the first step); r = m, Nesterov: g + μm; w ← w − ηr',
    references: ['torch.optim.SGD', 'tf.keras.optimizers.SGD', 'Sutskever et al., 2013'],
    differences: [
      'PyTorch keeps the sum of gradients; Keras keeps m ← μm − ηg (`learningRateInside`), which differs when η changes. At η = 0 the latter takes no step.',
    ],
  },
  decay: 'gradient',
  slots: (options) => ((options.momentum as number) > 0 ? [{ name: 'momentum', initial: 0 }] : []),
  rowwise: (options) => options.momentum === 0,
  direction: (g, out, slots, options, { learningRate, step }) => {
    const momentum = slots.momentum;
    const mu = options.momentum as number;
    if (momentum === undefined) {
      if (out !== g) out.set(g);
      return;
    }
    const { nesterov, learningRateInside } = options;
    const share = step === 1 ? 1 : 1 - (options.dampening as number);
    // Keras's velocity is −η·m: dividing it by −η gives the direction.
    const unit = learningRateInside ? -learningRate : 1;
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      const m = mu * momentum[i]! + share * unit * x;
      momentum[i] = m;
      out[i] = unit === 0 ? 0 : nesterov ? x + (mu * m) / unit : m / unit;
    }
  },
};
