/** Whether a run that goes on was started with an optimizer that had taken no step. */
import type { Capture } from '../captures/read.ts';
import type { Prepared } from './follow.ts';

/**
 * What a capture's initial state says of a run that took steps before.
 *
 * @returns the first recorded step, where all state of the optimizer before it is that of a beginning; null where it is not, where
 * the optimizer keeps none, and where the first recorded step may be the run's first
 */
export function emptyState(
  { steps }: Pick<Capture, 'steps'>,
  { setup, tensors }: Pick<Prepared, 'setup' | 'tensors'>,
): number | null {
  const [first] = steps;
  if (first === undefined || first.step <= 1 || setup.withoutFormula !== null) return null;
  const slots = tensors.flatMap(({ group, slots: own }) => {
    const { optimizer, options } = setup.optimizers[group]!;
    return optimizer.slots(options).map(({ name, initial }) => ({ values: own[name], initial }));
  });
  const fresh = ({ values, initial }: (typeof slots)[number]): boolean =>
    values?.every((value) => value === Math.fround(initial)) === true;
  return slots.length > 0 && slots.every(fresh) ? first.step : null;
}
