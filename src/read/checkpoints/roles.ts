/** What a tensor is for, from its name, in the words of PyTorch and of captures. */
import type { Dtype, TensorRole } from '../../model/checkpoint.ts';
import { OPTIMIZERS } from '../../step/optimizers/registry.ts';
import { isFloating } from './dtypes.ts';

/** PyTorch's names of optimizer state in the words of captures; a file does not say of which optimizer it is. */
const SLOTS = new Map(Object.values(OPTIMIZERS).flatMap(({ torch }) => Object.entries(torch.slots)));

/** A slot of a PyTorch optimizer in our words: `accumulator`, `m`, `v`, `v_max`, `momentum`, `step`, else as named. */
export const slotOfTorch = (name: string): string => SLOTS.get(name) ?? name;

export interface RoleOfTensor {
  readonly role: TensorRole;
  readonly slot?: string;
  readonly parameter?: string;
}

const BUFFERS = /(?:^|\.)(?:running_mean|running_var|num_batches_tracked|position_ids|inv_freq)$/;

/**
 * Role of a tensor outside of an optimizer's state.
 *
 * Running statistics, and whatever is no floating number, are buffers: they have no gradient. `grad/w`, `param/w` and
 * `state/<slot>/w` are the names of capture files.
 */
export function roleOfName(name: string, dtype: Dtype): RoleOfTensor {
  const state = /^state\/([^/]+)\/(.+)$/s.exec(name);
  if (state) return { role: 'optimizer_state', slot: state[1]!, parameter: state[2]! };
  if (/^(?:grad|grads|gradients?)[./]/.test(name)) return { role: 'gradient' };
  if (name.startsWith('batch/')) return { role: 'buffer' };
  return { role: BUFFERS.test(name) || !isFloating(dtype) ? 'buffer' : 'parameter' };
}
