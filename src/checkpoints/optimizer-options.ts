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
 * What `param_groups` says: `learningRate`, `epsilon`, `beta1`, `beta2`, `rho`, `momentum`, … An option in which groups,
 * or several optimizers of the file, differ is left out.
 */
export function savedOptimizerOptions({ metadata }: Checkpoint): ReadonlyMap<string, OptionValue> {
  const found = new Map<string, Set<OptionValue>>();
  for (const [key, value] of metadata) {
    const name = NAMES.get(/(?:^|\.)param_groups\.\d+\.(.+)$/s.exec(key)?.[1] ?? '');
    if (name === undefined || value === null) continue;
    found.set(name, (found.get(name) ?? new Set()).add(value));
  }
  return new Map(
    [...found].filter(([, values]) => values.size === 1).map(([name, [value]]) => [name, value!]),
  );
}
