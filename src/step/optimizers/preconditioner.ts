/** What curvature asks of an optimizer at a state: the P that its next step divides by. */
import { diagError } from '../../model/errors.ts';
import type { Slots } from './optimizer.ts';
import type { OptimizerChoice } from './registry.ts';

/**
 * P of one tensor: what the next step divides the gradient by, entry by entry, with the batch's own gradient in it where
 * the optimizer has it there.
 *
 * @param gradient of the batch, with coupled weight decay
 * @param slots state before the step; left as it is
 * @param step steps of the tensor, the next one included
 * @throws preconditioner-unknown where the optimizer does not divide
 */
export function preconditioner(
  { optimizer, options }: OptimizerChoice,
  gradient: Float32Array | Float64Array,
  slots: Slots,
  step: number,
): Float64Array {
  if (optimizer.preconditioner === undefined)
    throw diagError('preconditioner-unknown', { optimizer: optimizer.id });
  const moved = Object.fromEntries(Object.entries(slots).map(([name, values]) => [name, values.slice()]));
  const entryOf = optimizer.preconditioner(moved, options, { step });
  return Float64Array.from(gradient, (g, i) => entryOf(i, g));
}
