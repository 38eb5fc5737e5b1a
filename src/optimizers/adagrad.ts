import type { Optimizer } from './optimizer.ts';

/** Adagrad in the forms of TensorFlow, PyTorch, the Clippy paper and TensorFlow Recommenders. */
export const adagrad: Optimizer = {
  id: 'adagrad',
  title: 'Adagrad',
  options: [
    {
      name: 'initialAccumulatorValue',
      type: 'number',
      default: 0.1,
      min: 0,
      max: Number.POSITIVE_INFINITY,
      meaning: 'G₀, used where the capture stores no accumulator',
    },
    {
      name: 'epsilon',
      type: 'number',
      default: 1e-7,
      min: 0,
      max: Number.POSITIVE_INFINITY,
      meaning: 'ε',
    },
    {
      name: 'epsilonInside',
      type: 'flag',
      default: true,
      meaning: '√(G + ε) as TensorFlow has it, or √G + ε as PyTorch has it',
    },
    {
      name: 'accumulator',
      type: 'choice',
      default: 'standard',
      choices: ['standard', 'delayed', 'clipped'],
      meaning: 'whether G takes g² before the step, after it, or after it with the clipped gradient',
    },
    {
      name: 'learningRateDecay',
      type: 'number',
      default: 0,
      min: 0,
      max: Number.POSITIVE_INFINITY,
      meaning: 'PyTorch’s lr_decay: η/(1 + (t−1)·decay)',
    },
  ],
  docs: {
    summary: 'Divides every entry of the gradient by the root of the sum of its squares so far.',
    equation: 'G ← G + g²; r = g/√(G + ε); w ← w − ηr',
    references: ['Duchi et al., 2011', 'tf.keras.optimizers.Adagrad', 'torch.optim.Adagrad'],
    differences: [
      'TensorFlow: G₀ = 0.1, ε = 1e-7 inside the root. PyTorch: G₀ = 0, ε = 1e-10 outside (`epsilonInside` false), lr_decay.',
      'The Clippy paper: G₀ = 0.1 and no ε.',
      'TensorFlow Recommenders’ ClippyAdagrad: `accumulator` delayed, the direction divides by the G before this step.',
      'An entry with gradient 0 has direction 0 also where G + ε is 0.',
    ],
  },
  decay: 'gradient',
  slots: (options) => [{ name: 'accumulator', initial: options.initialAccumulatorValue as number }],
  rowwise: () => true,
  direction: (g, out, slots, options, { step }) => {
    const accumulator = slots.accumulator!;
    const standard = options.accumulator === 'standard';
    const epsilon = options.epsilon as number;
    const inside = options.epsilonInside ? epsilon : 0;
    const outside = options.epsilonInside ? 0 : epsilon;
    const decay = 1 / (1 + (step - 1) * (options.learningRateDecay as number));
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      if (standard) accumulator[i] = accumulator[i]! + x * x;
      const root = Math.sqrt(accumulator[i]! + inside) + outside;
      out[i] = root === 0 && x === 0 ? 0 : (decay * x) / root;
    }
  },
  settle: (g, factor, slots, options) => {
    if (options.accumulator === 'standard') return;
    const accumulator = slots.accumulator!;
    const scale = options.accumulator === 'clipped' ? factor : 1;
    for (let i = 0; i < g.length; i++) {
      const x = scale * g[i]!;
      accumulator[i] = accumulator[i]! + x * x;
    }
  },
};
