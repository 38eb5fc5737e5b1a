/** What a tensor is for, from its name, in the words of PyTorch and of captures. */
import type { Dtype, TensorRole } from '../model/checkpoint.ts';
import { isFloating } from './dtypes.ts';

/** PyTorch's names of optimizer state in the words of captures; other slots keep their name. */
const SLOTS = new Map([
  ['sum', 'accumulator'],
  ['exp_avg', 'm'],
  ['exp_avg_sq', 'v'],
  ['max_exp_avg_sq', 'v_max'],
  ['square_avg', 'v'],
  ['grad_avg', 'm'],
  ['momentum_buffer', 'momentum'],
]);

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
