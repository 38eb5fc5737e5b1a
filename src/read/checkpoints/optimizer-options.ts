/** Options of a PyTorch or Keras optimizer that its checkpoint holds, in the words of our optimizers. */
import type { Checkpoint } from '../../model/checkpoint.ts';
import type { OptionValue } from '../../model/options.ts';
import { OPTIMIZERS, optimizerOf } from '../../step/optimizers/registry.ts';

/** PyTorch's names of options; a file does not say of which optimizer it is. */
const TORCH_NAMES = new Map([
  ['lr', 'learningRate'],
  ['weight_decay', 'weightDecay'],
  ...Object.values(OPTIMIZERS).flatMap(({ torch }) => Object.entries(torch.options)),
]);

/**
 * What each of the `param_groups` says, in their order, those of several optimizers of the file one after the other:
 * `learningRate`, `epsilon`, `beta1`, `beta2`, `rho`, `momentum`, …
 */
export function savedOptimizerGroups({ metadata }: Checkpoint): ReadonlyMap<string, OptionValue>[] {
  const groups = new Map<string, Map<string, OptionValue>>();
  for (const [key, value] of metadata) {
    const [, group, option] = /^((?:.*\.)?param_groups\.\d+)\.(.+)$/s.exec(key) ?? [];
    const name = TORCH_NAMES.get(option ?? '');
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
 * @returns undefined where the file is not of Keras, or of another optimizer
 */
export function kerasOptimizerOptions(
  { framework, metadata }: Checkpoint,
  id: string,
): KerasOptions | undefined {
  const optimizer = framework === 'keras' && metadata.get('optimizer') === id ? optimizerOf(id) : undefined;
  const known = optimizer?.keras.config;
  if (known === undefined) return undefined;
  const decoupled = optimizer?.decay === 'parameters';
  const config = (key: string) => metadata.get(`optimizer_config.${key}`) ?? undefined;
  const saved = new Map<string, OptionValue>(Object.entries(known.form));
  for (const [key, name] of Object.entries(known.names)) {
    const value = config(key);
    if (value !== undefined) saved.set(name, value);
  }
  const decay = Number(config('weight_decay') ?? 0);
  if (decoupled && decay > 0) saved.set('weightDecay', decay);
  const clipping = ['clipnorm', 'global_clipnorm', 'clipvalue'].filter((key) => Number(config(key)) > 0);
  // Until 2.10 `decay` lowers the rate with every step, and neither the config nor the variables hold what it is by then.
  const rate =
    Number(config('decay') ?? 0) > 0 ? undefined : (metadata.get('learning_rate') ?? config('learning_rate'));
  if (typeof rate === 'number') saved.set('learningRate', Number(rate.toPrecision(7)));
  return {
    saved,
    defaults: new Map(Object.entries(known.defaults).filter(([name]) => !saved.has(name))),
    weightDecay: decoupled ? 0 : decay,
    clipping: clipping.map((key) => `${key}=${config(key)}`),
  };
}
