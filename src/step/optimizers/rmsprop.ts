import { NOT_NEGATIVE, type OptionSpec, type OptionsOf } from '../../model/options.ts';
import {
  momentDirection,
  momentNumbers,
  momentumNumbers,
  rmspropCode,
} from '../kernels/moment-directions.ts';
import { forKernel, type Optimizer, type Slots } from './optimizer.ts';

const OPTIONS = [
  { name: 'rho', type: 'number', default: 0.99, min: 0, max: 1, meaning: 'ρ, PyTorch’s alpha' },
  { name: 'epsilon', type: 'number', default: 1e-8, ...NOT_NEGATIVE, meaning: 'ε' },
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
] as const satisfies readonly OptionSpec[];

type RmspropOptions = OptionsOf<typeof OPTIONS>;

/** What is added to v, and to its root. */
const rootNumbers = ({ epsilon, epsilonInside }: RmspropOptions) =>
  epsilonInside ? { inside: epsilon, outside: 0 } : { inside: 0, outside: epsilon };

/** What the kernels take. */
const kernelNumbers = (options: RmspropOptions) => ({
  decay: options.rho,
  scale: 1,
  ...rootNumbers(options),
});

/** What the momentum is a multiple of. */
const unitOf = ({ learningRateInside }: RmspropOptions, learningRate: number): number =>
  learningRateInside ? learningRate : 1;

/** √v + ε or √(v + ε); of the centered form v less the square of the mean. */
function rootOfMean(slots: Slots, options: RmspropOptions) {
  const v = slots.v!;
  const mean = slots.m;
  const { rho } = options;
  const { inside, outside } = rootNumbers(options);
  return (i: number, g: number): number => {
    v[i] = rho * v[i]! + (1 - rho) * g * g;
    let square = v[i]!;
    if (mean !== undefined) {
      mean[i] = rho * mean[i]! + (1 - rho) * g;
      square -= mean[i]! * mean[i]!;
    }
    return Math.sqrt(square + inside) + outside;
  };
}

/** RMSProp, plain, centered and with momentum. */
export const rmsprop: Optimizer<typeof OPTIONS> = {
  id: 'rmsprop',
  title: 'RMSProp',
  options: OPTIONS,
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
  torch: {
    slots: { square_avg: 'v', grad_avg: 'm', momentum_buffer: 'momentum' },
    options: { eps: 'epsilon', alpha: 'rho', momentum: 'momentum', centered: 'centered' },
  },
  keras: {
    slots: ['v', 'momentum'],
    inTurn: 1,
    config: {
      names: { epsilon: 'epsilon', rho: 'rho', momentum: 'momentum', centered: 'centered' },
      form: { epsilonInside: true, learningRateInside: true },
      defaults: { rho: 0.9, epsilon: 1e-7, momentum: 0 },
    },
  },
  decay: 'gradient',
  slots: (options) => [
    { name: 'v', initial: 0 },
    ...(options.centered ? [{ name: 'm', initial: 0 }] : []),
    ...(options.momentum > 0 ? [{ name: 'momentum', initial: 0 }] : []),
  ],
  rowwise: () => false,
  preconditioner: rootOfMean,
  direction: (g, out, slots, options, { learningRate }) => {
    const { momentum } = slots;
    const fitting = momentum === undefined && slots.m === undefined ? forKernel(g, out, slots.v!) : undefined;
    if (fitting !== undefined) {
      momentDirection(...fitting, kernelNumbers(options));
      return;
    }
    const rootOf = rootOfMean(slots, options);
    const mu = options.momentum;
    const unit = unitOf(options, learningRate);
    for (let i = 0; i < g.length; i++) {
      const x = g[i]!;
      const root = rootOf(i, x);
      const r = root === 0 && x === 0 ? 0 : x / root;
      if (momentum === undefined) out[i] = r;
      else {
        const m = mu * momentum[i]! + unit * r;
        momentum[i] = m;
        out[i] = unit === 0 ? 0 : m / unit;
      }
    }
  },
  kernel: ({ v, m, momentum }, options, { learningRate }) => {
    const unit = unitOf(options, learningRate);
    // A plain loop says what 0/0 is.
    if (momentum !== undefined && unit === 0) return undefined;
    return {
      code: rmspropCode(m !== undefined, momentum !== undefined),
      slots: [v, m, momentum].filter((slot) => slot !== undefined) as Float32Array[],
      numbers: [
        ...momentNumbers(kernelNumbers(options)),
        ...(momentum === undefined ? [] : momentumNumbers(options.momentum, unit)),
      ],
    };
  },
  // With momentum a heavy ball on the preconditioned problem.
  stabilityLimit: ({ momentum }, { learningRate }) => ({
    limit: (2 + 2 * momentum) / learningRate,
    rule: momentum === 0 ? '2/η on P⁻¹H' : '(2+2β)/η on P⁻¹H',
    forecast: false,
  }),
};
