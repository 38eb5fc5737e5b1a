/** All optimizers. A new one is a file in this folder and a line here. */
import { diagError } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import { type OptionSpec, type Options, resolveOptions } from '../model/options.ts';
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
const COMMON: readonly OptionSpec[] = [
  {
    name: 'weightDecay',
    type: 'number',
    default: 0,
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: 'β, weight decay',
  },
];

/** An optimizer with all its options. The learning rate is no option: it comes with every step. */
export interface OptimizerChoice {
  readonly optimizer: Optimizer;
  readonly options: Options;
}

/** All options of an optimizer, the common ones included. */
export const optimizerOptions = (optimizer: Optimizer): readonly OptionSpec[] => [
  ...optimizer.options,
  ...COMMON,
];

/**
 * The optimizer of a name with its options completed by defaults.
 *
 * @throws optimizer-unknown, option-unknown, option-range
 */
export function chooseOptimizer(name: string, given: Options = {}): OptimizerChoice {
  if (!Object.hasOwn(OPTIMIZERS, name)) {
    const known = Object.keys(OPTIMIZERS);
    throw diagError('optimizer-unknown', { optimizer: name, nearest: nearest(name, known), known });
  }
  const optimizer: Optimizer = OPTIMIZERS[name as keyof typeof OPTIMIZERS];
  return { optimizer, options: resolveOptions(`optimizer "${name}"`, optimizerOptions(optimizer), given) };
}
