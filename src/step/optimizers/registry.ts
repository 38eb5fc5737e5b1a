/** All optimizers. A new one is a file in this folder and a line here. */
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import {
  NOT_NEGATIVE,
  type OptionSpec,
  type Options,
  type OptionsOf,
  resolveOptions,
} from '../../model/options.ts';
import { adagrad } from './adagrad.ts';
import { adam, adamw, lamb } from './adam.ts';
import type { Optimizer } from './optimizer.ts';
import { rmsprop } from './rmsprop.ts';
import { sgd } from './sgd.ts';

export const OPTIMIZERS = { adagrad, sgd, adam, adamw, rmsprop, lamb } as const satisfies Record<
  string,
  Optimizer
>;

/** Options that every optimizer takes. */
const COMMON = [
  {
    name: 'weightDecay',
    type: 'number',
    default: 0,
    ...NOT_NEGATIVE,
    meaning: 'β, weight decay',
  },
  {
    name: 'decoupledWeightDecay',
    type: 'flag',
    default: false,
    meaning: 'weight decay is taken off the parameters (ηβw), as Keras does for every optimizer',
  },
] as const satisfies readonly OptionSpec[];

/** An optimizer with all its options. The learning rate is no option: it comes with every step. */
export interface OptimizerChoice {
  readonly optimizer: Optimizer;
  readonly options: Options & OptionsOf<typeof COMMON>;
}

/** All options of an optimizer, the common ones included. */
export const optimizerOptions = (optimizer: Optimizer) => [...optimizer.options, ...COMMON] as const;

/** Where the weight decay of a choice acts: of an optimizer that couples it, `decoupledWeightDecay` takes it off the parameters. */
export const decayOf = ({ optimizer, options }: OptimizerChoice): Optimizer['decay'] =>
  options.decoupledWeightDecay ? 'parameters' : optimizer.decay;

/** The optimizer of an id. @returns undefined where there is none */
export const optimizerOf = (id: string): Optimizer | undefined =>
  Object.hasOwn(OPTIMIZERS, id) ? OPTIMIZERS[id as keyof typeof OPTIMIZERS] : undefined;

/**
 * The optimizer of a name with its options completed by defaults.
 *
 * @throws optimizer-unknown, option-unknown, option-range
 */
export function chooseOptimizer(name: string, given: Options = {}): OptimizerChoice {
  const optimizer = optimizerOf(name);
  if (optimizer === undefined) {
    const known = Object.keys(OPTIMIZERS);
    throw diagError('optimizer-unknown', { optimizer: name, nearest: nearest(name, known), known });
  }
  return { optimizer, options: resolveOptions(`optimizer "${name}"`, optimizerOptions(optimizer), given) };
}

/** The optimizer without state, whose direction is the gradient. */
export const gradientDescent = (): OptimizerChoice => chooseOptimizer(sgd.id);
