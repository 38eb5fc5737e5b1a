/** Steps of an optimizer in one pass over the arrays of a tensor, by a kernel. */

import type { Change } from '../kernels/change.ts';
import {
  type DrySums,
  dryAtOnce,
  finishAtOnce,
  type Kept,
  MOST_CHANGES,
  type StepNumbers,
  type StepSums,
  scaleAtOnce,
  stepAtOnce,
  sumsAtOnce,
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
  /** Compares what it would do with the movement of the step without a rule; nothing is written. */
  measure(beside: Values): DrySums;
  /**
   * Writes what is kept of the step; parameters and state stay. What the step would be with the gradient changed is measured with it in
   * the same pass, where all is finite and ordinary.
   */
  keep(
    kept: KeptValues,
    changes: readonly Change[],
  ): UnclippedSums & { readonly changed: ReadonlyMap<Change, DrySums> };
  /** Takes the step that was kept, to the same bits. */
  finish(kept: KeptValues): void;
}

/** Its movement, and with decay that without it. */
export interface KeptValues {
  readonly movement: Values;
  readonly bare: Values | undefined;
}

/** Σx² and the largest |x|, NaN if one is, where a kernel takes them and saves time; else undefined. */
export const kernelSums = (x: Values): ReturnType<typeof sumsAtOnce> | undefined =>
  x instanceof Float32Array && x.length >= KERNEL_ENTRIES ? sumsAtOnce(x) : undefined;

/**
 * x ← factor·x with its sums, of arrays that {@link atOnce} takes; undefined where the factor is not finite: what is 0 at the end of
 * a block has to stay so.
 */
export const scaledAtOnce = (x: Values, w: Values, factor: number): UnclippedSums | undefined =>
  Number.isFinite(factor) ? scaleAtOnce(x as Float32Array, w as Float32Array, factor) : undefined;

/** Below this, stages take less than making ready for all of them at once. */
export const LEAST_ENTRIES = 1024;

/** The step of a tensor, where a kernel has it and saves time; else undefined. The numbers are of {@link StepNumbers}. */
export function atOnce(
  { optimizer, options }: OptimizerChoice,
  g: Values,
  w: Values,
  slots: Slots,
  context: StepContext,
  numbers: StepNumbers,
): AtOnce | undefined {
  if (g.length < LEAST_ENTRIES || !(g instanceof Float32Array && w instanceof Float32Array)) return undefined;
  const kernel = optimizer.kernel?.(slots, options, context);
  // What is 0 at the end of a block has to stay so.
  if (kernel === undefined || ![...Object.values(numbers), ...kernel.numbers].every(Number.isFinite))
    return undefined;
  const arrays = { g, w };
  return {
    take: () => stepAtOnce(kernel, arrays, numbers),
    measure: (beside) => dryAtOnce(kernel, { ...arrays, beside: beside as Float32Array }, numbers),
    finish: (kept) => finishAtOnce(kernel, { ...arrays, ...(kept as Kept) }, numbers),
    keep: (kept, changes) => {
      const taken = changes.slice(0, MOST_CHANGES);
      const out = { ...arrays, ...(kept as Kept) };
      const { changed, ...sums } = unclippedAtOnce(kernel, out, numbers, taken);
      return {
        ...sums,
        changed: new Map(
          taken.flatMap((change, k) => (changed[k] === undefined ? [] : [[change, changed[k]]])),
        ),
      };
    },
  };
}
