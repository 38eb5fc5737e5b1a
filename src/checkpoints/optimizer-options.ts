/** Options of a PyTorch or Keras optimizer that its checkpoint holds, in the words of our optimizers. */
import type { Checkpoint } from '../model/checkpoint.ts';
import type { OptionValue } from '../model/options.ts';

const NAMES = new Map([
  ['lr', 'learningRate'],
  ['eps', 'epsilon'],
  ['betas.0', 'beta1'],
  ['betas.1', 'beta2'],
  ['alpha', 'rho'],
  ['momentum', 'momentum'],
  ['dampening', 'dampening'],
  ['nesterov', 'nesterov'],
  ['centered', 'centered'],
  ['amsgrad', 'amsgrad'],
  ['weight_decay', 'weightDecay'],
  ['lr_decay', 'learningRateDecay'],
]);

/**
 * What each of the `param_groups` says, in their order, those of several optimizers of the file one after the other:
 * `learningRate`, `epsilon`, `beta1`, `beta2`, `rho`, `momentum`, …
 */
export function savedOptimizerGroups({ metadata }: Checkpoint): ReadonlyMap<string, OptionValue>[] {
  const groups = new Map<string, Map<string, OptionValue>>();
  for (const [key, value] of metadata) {
    const [, group, option] = /^((?:.*\.)?param_groups\.\d+)\.(.+)$/s.exec(key) ?? [];
    const name = NAMES.get(option ?? '');
    if (group === undefined || name === undefined || value === null) continue;
    groups.set(group, (groups.get(group) ?? new Map<string, OptionValue>()).set(name, value));
  }
  return [...groups.values()];
}

/** What all the `param_groups` say; an option in which they differ is left out. */
export function savedOptimizerOptions(checkpoint: Checkpoint): ReadonlyMap<string, OptionValue> {
  const found = new Map<string, Set<OptionValue>>();
  for (const group of savedOptimizerGroups(checkpoint))
    for (const [name, value] of group) found.set(name, (found.get(name) ?? new Set()).add(value));
  return new Map(
    [...found].filter(([, values]) => values.size === 1).map(([name, [value]]) => [name, value!]),
  );
}

const KERAS_NAMES = new Map([
  ['beta_1', 'beta1'],
  ['beta_2', 'beta2'],
  ['epsilon', 'epsilon'],
  ['rho', 'rho'],
  ['momentum', 'momentum'],
  ['nesterov', 'nesterov'],
  ['centered', 'centered'],
  ['amsgrad', 'amsgrad'],
]);

const ADAM = [
  ['beta1', 0.9],
  ['beta2', 0.999],
  ['epsilon', 1e-7],
] as const;

/** The form of each optimizer in Keras, and the defaults of Keras. */
const IN_KERAS: Readonly<
  Record<string, { form: readonly string[]; defaults: readonly (readonly [string, number])[] }>
> = {
  adam: { form: ['epsilonHat'], defaults: ADAM },
  adamw: { form: ['epsilonHat'], defaults: [...ADAM, ['weightDecay', 0.004]] },
  adagrad: { form: ['epsilonInside'], defaults: [['epsilon', 1e-7]] },
  rmsprop: {
    form: ['epsilonInside', 'learningRateInside'],
    defaults: [
      ['rho', 0.9],
      ['epsilon', 1e-7],
      ['momentum', 0],
    ],
  },
  sgd: { form: ['learningRateInside'], defaults: [['momentum', 0]] },
};

export interface KerasOptions {
  /** What the file says, and the form that the optimizer has in Keras. */
  readonly saved: ReadonlyMap<string, OptionValue>;
  /** Keras's defaults of what the file does not say. */
  readonly defaults: ReadonlyMap<string, OptionValue>;
  /** Weight decay that is no option of our optimizer; 0 without. */
  readonly weightDecay: number;
  /** Clipping in the words of Keras, `clipnorm=5`; empty without. */
  readonly clipping: readonly string[];
}

/**
 * Options of a Keras checkpoint: those of the config (`.keras`, `.h5`), and the learning rate among the variables.
 *
 * @param id of our optimizer
 * @returns undefined where the file is none of Keras, or of another optimizer
 */
export function kerasOptimizerOptions(
  { framework, metadata }: Checkpoint,
  id: string,
): KerasOptions | undefined {
  const known = framework === 'keras' && metadata.get('optimizer') === id ? IN_KERAS[id] : undefined;
  if (known === undefined) return undefined;
  const config = (key: string) => metadata.get(`optimizer_config.${key}`) ?? undefined;
  const saved = new Map<string, OptionValue>(known.form.map((name) => [name, true]));
  for (const [key, name] of KERAS_NAMES) {
    const value = config(key);
    if (value !== undefined) saved.set(name, value);
  }
  const decay = Number(config('weight_decay') ?? 0);
  if (id === 'adamw' && decay > 0) saved.set('weightDecay', decay);
  const clipping = ['clipnorm', 'global_clipnorm', 'clipvalue'].filter((key) => Number(config(key)) > 0);
  // Until 2.10 `decay` lowers the rate with every step, and neither the config nor the variables hold what it is by then.
  const rate =
    Number(config('decay') ?? 0) > 0 ? undefined : (metadata.get('learning_rate') ?? config('learning_rate'));
  if (typeof rate === 'number') saved.set('learningRate', Number(rate.toPrecision(7)));
  return {
    saved,
    defaults: new Map(known.defaults.filter(([name]) => !saved.has(name))),
    weightDecay: id === 'adamw' ? 0 : decay,
    clipping: clipping.map((key) => `${key}=${config(key)}`),
  };
}
