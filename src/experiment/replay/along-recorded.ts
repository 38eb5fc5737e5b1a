/** The states that a recording went through: its gradients under its own clipping and optimizers. */
import type { Capture } from '../../read/captures/read.ts';
import type { Prepared } from './follow.ts';
import { createStepper, type Stepper } from './step.ts';
import { copyTensors, type TensorState } from './tensors.ts';
import { useWritten } from './written-options.ts';

/**
 * Walks from the initial state along the first `count` recorded gradients, and no further than the first state that is
 * not finite.
 *
 * @param visit sees each state before its step
 * @returns the last state, a copy of its own, and whether it is finite; and the optimizers that made the steps: those of
 * the groups, with the options that a rule's own replace
 */
export async function alongRecorded(
  {
    capture,
    prepared,
  }: { readonly capture: Capture; readonly prepared: Pick<Prepared, 'setup' | 'tensors'> },
  count: number,
  visit: (index: number, tensors: readonly TensorState[]) => void | Promise<void> = () => {},
): Promise<
  Pick<Stepper, 'optimizers'> & { readonly tensors: readonly TensorState[]; readonly finite: boolean }
> {
  const { clipping: rule, optimizers } = prepared.setup;
  const tensors = copyTensors(prepared.tensors);
  const stepper = createStepper({ rule, optimizers, precision: 'float32' });
  let finite = true;
  for (let index = 0; index < count && finite; index++) {
    await visit(index, tensors);
    const { gradients, learningRates, loss } = await capture.step(index, 'float32');
    useWritten(prepared.setup, index, [stepper]);
    ({ finite } = stepper.step(tensors, gradients, learningRates, false, undefined, loss));
  }
  return { tensors, finite, optimizers: stepper.optimizers };
}
