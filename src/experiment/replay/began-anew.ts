/** Whether the optimizer of a recorded run began anew before a step, unseen by the recorder. */
import { alongRecorded } from './along-recorded.ts';
import { NEAR, NEAR_STEPS } from './departure.ts';
import type { ReferenceOptions } from './reference.ts';
import { freshTensor } from './tensors.ts';
import { setupFrom } from './written-options.ts';

/** Losses after the step that are compared with the recorded ones. */
const HELD = 6;

/**
 * Takes the recorded steps with the state carried on up to a position, and from there on with that of a beginning: the recorded
 * gradients move the weights, so that nothing comes off by rounding.
 *
 * @param at position of the step that the beginning lies before
 * @returns whether the losses of the steps after it, of three at least, are then those that were recorded
 * @throws what the capture, the model and its batches throw
 */
export async function beganAnew(
  { capture, prepared, model, batch }: Pick<ReferenceOptions, 'capture' | 'prepared' | 'model' | 'batch'>,
  at: number,
): Promise<boolean> {
  const { tensors, finite } = await alongRecorded({ capture, prepared }, at);
  if (!finite) return false;
  const setup = setupFrom(prepared.setup, at);
  const { optimizers } = setup;
  const begun = tensors.map((tensor) =>
    freshTensor(tensor, tensor.w, optimizers[tensor.group]!, 'float32', tensor.group),
  );
  const rest = {
    ...capture,
    step: (index: number, precision: 'float32' | 'float64') => capture.step(at + index, precision),
  };
  const off: number[] = [];
  const count = Math.min(HELD + 1, capture.steps.length - at);
  await alongRecorded(
    { capture: rest as typeof capture, prepared: { ...prepared, setup, tensors: begun } },
    count,
    async (i, moved) => {
      const recorded = capture.steps[at + i]!.loss;
      if (i === 0 || recorded === null) return;
      const flat = model.flatten(moved.map(({ w }) => w));
      const { loss } = await model.objective.loss(flat, [await batch(at + i)]);
      off.push(Math.abs(loss - recorded) / Math.abs(recorded));
    },
  );
  return off.length >= NEAR_STEPS && off.every((one) => one <= NEAR);
}
