import type { OptionSpec, OptionsOf } from '../../model/options.ts';
import { GRADIENT, MOMENTUM, NESTEROV } from '../kernels/gradient-directions.ts';
import type { Optimizer } from './optimizer.ts';

const OPTIONS = [
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
] as const satisfies readonly OptionSpec[];

/** Share of the gradient that the momentum takes: PyTorch dampens it from the second step on. */
const shareOf = ({ dampening }: OptionsOf<typeof OPTIONS>, step: number): number =>
  step === 1 ? 1 : 1 - dampening;

/** What the momentum is a multiple of. Keras's velocity is −η·m: dividing it by −η gives the direction. */
const unitOf = ({ learningRateInside }: OptionsOf<typeof OPTIONS>, learningRate: number): number =>
  learningRateInside ? -learningRate : 1;

/** Stochastic gradient descent with momentum, dampening and Nesterov's form. */
export const sgd: Optimizer<typeof OPTIONS> = {
  id: 'sgd',
  title: 'SGD',
  options: OPTIONS,
  docs: {
    summary: 'Steps along the gradient or a moving sum of gradients.',
    equation: 'm ← μm + (1−dampening)·g (m = g at the first step); r = m, Nesterov: g + μm; w ← w − ηr',
    references: ['torch.optim.SGD', 'tf.keras.optimizers.SGD', 'Sutskever et al., 2013'],
    differences: [
      'PyTorch keeps the sum of gradients; Keras keeps m ← μm − ηg (`learningRateInside`), which differs when η changes. At η = 0 the latter takes no step.',
    ],
  },
  torch: {
    slots: { momentum_buffer: 'momentum' },
    options: { momentum: 'momentum', dampening: 'dampening', nesterov: 'nesterov' },
  },
  keras: {
    slots: ['momentum'],
    inTurn: 1,
    config: {
      names: { momentum: 'momentum', nesterov: 'nesterov' },
      form: { learningRateInside: true },
      defaults: { momentum: 0 },
    },
  },
  decay: 'gradient',
  slots: (options) => (options.momentum > 0 ? [{ name: 'momentum', initial: 0 }] : []),
  rowwise: (options) => options.momentum === 0,
  countsSteps: ({ momentum, dampening }) => momentum > 0 && dampening > 0,
  direction: (g, out, slots, options, { learningRate, step }) => {
    const momentum = slots.momentum;
    const mu = options.momentum;
    if (momentum === undefined) {
      if (out !== g) out.set(g);
      return;
    }
    const { nesterov } = options;
    const share = shareOf(options, step);
    const unit = unitOf(options, learningRate);
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      const m = mu * momentum[i]! + share * unit * x;
      momentum[i] = m;
      out[i] = unit === 0 ? 0 : nesterov ? x + (mu * m) / unit : m / unit;
    }
  },
  kernel: ({ momentum }, options, { learningRate, step }) => {
    if (momentum === undefined) return { code: GRADIENT, slots: [], numbers: [] };
    const unit = unitOf(options, learningRate);
    // A plain loop says what 0/0 is.
    if (unit === 0) return undefined;
    return {
      code: options.nesterov ? NESTEROV : MOMENTUM,
      slots: [momentum as Float32Array],
      numbers: [options.momentum, shareOf(options, step) * unit, unit],
    };
  },
  // Gradient descent, heavy ball, and Nesterov's form, whose direction is (1 + μs)g + μ²m with the share s.
  stabilityLimit: (options, { learningRate, step }) => {
    const { momentum, nesterov } = options;
    const share = momentum === 0 ? 1 : shareOf(options, step);
    const gain = nesterov ? 1 + momentum + momentum * share : share;
    return {
      limit: (2 + 2 * momentum) / (gain * learningRate),
      // Under momentum the noise of minibatches ends a run before the curvature does.
      forecast: momentum === 0,
      rule:
        momentum === 0
          ? '2/η (gradient descent)'
          : nesterov
            ? `(2+2β)/((1+2β${share === 1 ? '' : '−βd'})η) (Nesterov)`
            : share === 1
              ? '(2+2β)/η (heavy ball)'
              : '(2+2β)/((1−d)η) (heavy ball with dampening d)',
    };
  },
};
