/** Roles of arrays by their names in the trees of JAX: Flax's MessagePack and Orbax's folders. */
import type { Dtype } from '../../model/checkpoint.ts';
import { isFloating } from './dtypes.ts';
import type { RoleOfTensor } from './roles.ts';

/** State of optax transformations in the words of captures. */
const OPTAX_SLOTS = new Map([
  ['mu', 'm'],
  ['nu', 'v'],
  ['nu_max', 'v_max'],
  ['trace', 'momentum'],
  ['sum_of_squares', 'accumulator'],
  ['count', 'step'],
]);

/**
 * @param name keys of the tree, joined by `/`
 * @param all the names of the tree
 */
export function roleOfFlax(name: string, dtype: Dtype, all: { has(name: string): boolean }): RoleOfTensor {
  const parts = name.split('/');
  if (parts.some((part) => /^opt(?:imizer)?_state$/.test(part))) {
    const at = parts.findIndex((part) => OPTAX_SLOTS.has(part));
    const slot = OPTAX_SLOTS.get(parts[at] ?? '');
    if (slot === undefined) return { role: 'optimizer_state', slot: parts.at(-1)! };
    const rest = parts.slice(at + 1).join('/');
    const parameter = [`params/${rest}`, rest, `params/params/${rest}`].find(
      (key) => rest !== '' && all.has(key),
    );
    return { role: 'optimizer_state', slot, ...(parameter === undefined ? {} : { parameter }) };
  }
  if (name === 'step') return { role: 'optimizer_state', slot: 'step' };
  return { role: parts.includes('batch_stats') || !isFloating(dtype) ? 'buffer' : 'parameter' };
}
