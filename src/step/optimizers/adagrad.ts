import { NOT_NEGATIVE, type OptionSpec, type OptionsOf } from '../../model/options.ts';
import {
  type AdagradNumbers,
  adagradCode,
  adagradDirection,
  numbersOf,
} from '../kernels/adagrad-direction.ts';
import type { Heap } from '../kernels/heap.ts';
import type { Values } from '../tensor/values.ts';
import { forKernel, type Optimizer, type Slots } from './optimizer.ts';

const OPTIONS = [
  {
    name: 'initialAccumulatorValue',
    type: 'number',
    default: 0.1,
    ...NOT_NEGATIVE,
    meaning: 'G₀, used where the capture stores no accumulator',
  },
  {
    name: 'epsilon',
    type: 'number',
    default: 1e-7,
    ...NOT_NEGATIVE,
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
    ...NOT_NEGATIVE,
    meaning: 'PyTorch’s lr_decay: η/(1 + (t−1)·decay)',
  },
] as const satisfies readonly OptionSpec[];

type AdagradOptions = OptionsOf<typeof OPTIONS>;

/** Whether g² is in the root, and ε inside and outside of it. */
const rootNumbers = ({ accumulator, epsilon, epsilonInside }: AdagradOptions, scale = 1): AdagradNumbers => ({
  before: accumulator === 'standard',
  inside: epsilonInside ? epsilon : 0,
  outside: epsilonInside ? 0 : epsilon,
  scale,
});

/** √(G + ε) or √G + ε. The standard accumulator takes g² first: an embedding row not seen before has G = G₀ or 0. */
function rootOfSum(slots: Slots, options: AdagradOptions) {
  const accumulator = slots.accumulator!;
  const { before, inside, outside } = rootNumbers(options);
  return (i: number, g: number): number => {
    if (before) accumulator[i] = accumulator[i]! + g * g;
    return Math.sqrt(accumulator[i]! + inside) + outside;
  };
}

/** What PyTorch's lr_decay divides the learning rate by. */
const slowing = ({ learningRateDecay }: AdagradOptions, step: number): number =>
  1 + (step - 1) * learningRateDecay;

/** The direction of the first entries, by a kernel: how many it did. */
function byKernel(g: Values, out: Values, accumulator: Values, numbers: AdagradNumbers, heap?: Heap): number {
  if (heap !== undefined)
    return heap.adagradDirection(
      g as Float32Array,
      out as Float32Array,
      accumulator as Float32Array,
      numbers,
    );
  const fitting = forKernel(g, out, accumulator);
  return fitting === undefined ? 0 : adagradDirection(...fitting, numbers);
}

/** Adagrad in the forms of TensorFlow, PyTorch, the Clippy paper and TensorFlow Recommenders. */
export const adagrad: Optimizer<typeof OPTIONS> = {
  id: 'adagrad',
  title: 'Adagrad',
  options: OPTIONS,
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
  torch: {
    slots: { sum: 'accumulator' },
    options: { eps: 'epsilon', lr_decay: 'learningRateDecay' },
  },
  keras: {
    slots: ['accumulator'],
    inTurn: 1,
    config: {
      names: { epsilon: 'epsilon' },
      form: { epsilonInside: true },
      defaults: { epsilon: 1e-7 },
    },
  },
  decay: 'gradient',
  slots: (options) => [{ name: 'accumulator', initial: options.initialAccumulatorValue }],
  rowwise: () => true,
  countsSteps: (options) => options.learningRateDecay > 0,
  preconditioner: rootOfSum,
  direction: (g, out, slots, options, { step, heap }) => {
    const scale = 1 / slowing(options, step);
    const done = byKernel(g, out, slots.accumulator!, rootNumbers(options, scale), heap);
    if (done === g.length) return;
    const rootOf = rootOfSum(slots, options);
    for (let i = done; i < g.length; i++) {
      const x = g[i]!;
      const root = rootOf(i, x);
      out[i] = root === 0 && x === 0 ? 0 : (scale * x) / root;
    }
  },
  kernel: ({ accumulator }, options, { step }) => {
    const numbers = rootNumbers(options, 1 / slowing(options, step));
    return {
      code: adagradCode(numbers),
      slots: [accumulator as Float32Array],
      numbers: numbersOf(numbers),
    };
  },
  settles: ({ accumulator }) => accumulator !== 'standard',
  settle: (g, factor, slots, options) => {
    const accumulator = slots.accumulator!;
    const scale = options.accumulator === 'clipped' ? factor : 1;
    for (let i = 0; i < g.length; i++) {
      const x = scale * g[i]!;
      accumulator[i] = accumulator[i]! + x * x;
    }
  },
  stabilityLimit: (options, { learningRate, step }) => ({
    limit: (2 * slowing(options, step)) / learningRate,
    rule: options.learningRateDecay > 0 ? '2(1+(t−1)·decay)/η on P⁻¹H' : '2/η on P⁻¹H',
    forecast: false,
  }),
};
