/** Options of a PyTorch optimizer that its checkpoint holds, in the words of our optimizers. */
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
