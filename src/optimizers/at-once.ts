/** Steps of an optimizer in one pass over the arrays of a tensor, by a kernel. */
import {
  type DrySums,
  dryAtOnce,
  type StepNumbers,
  type StepSums,
  stepAtOnce,
  type UnclippedSums,
  unclippedAtOnce,
} from '../kernels/step-at-once.ts';
import type { Values } from '../tensor/values.ts';
import { KERNEL_ENTRIES, type Slots, type StepContext } from './optimizer.ts';
import type { OptimizerChoice } from './registry.ts';

/** Each on arrays of one length, all of them float32. */
export interface AtOnce {
  /** Takes the step: parameters and state move on. */
  take(): StepSums;
  /** Measures what it would do beside the movement of the step without a rule; nothing is written. */
  measure(beside: Values): DrySums;
  /** Writes that movement; parameters and state stay. */
  keep(movement: Values): UnclippedSums;
}

/** The step of a tensor, where a kernel has it and saves time; else undefined. The numbers are of {@link StepNumbers}. */
export function atOnce(
  { optimizer, options }: OptimizerChoice,
  g: Values,
  w: Values,
  slots: Slots,
  context: StepContext,
  numbers: StepNumbers,
): AtOnce | undefined {
  if (g.length < KERNEL_ENTRIES || !(g instanceof Float32Array && w instanceof Float32Array))
    return undefined;
  const kernel = optimizer.kernel?.(slots, options, context);
  // What is 0 at the end of a block has to stay so.
  if (kernel === undefined || ![...Object.values(numbers), ...kernel.numbers].every(Number.isFinite))
    return undefined;
  const arrays = { g, w };
  return {
    take: () => stepAtOnce(kernel, arrays, numbers),
    measure: (beside) => dryAtOnce(kernel, { ...arrays, beside: beside as Float32Array }, numbers),
    keep: (movement) => unclippedAtOnce(kernel, { ...arrays, movement: movement as Float32Array }, numbers),
  };
}
