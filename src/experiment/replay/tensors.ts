/** Trainable tensors with the optimizer's state, and their gradients: what a step takes. */
import type { Heap } from '../../step/kernels/heap.ts';
import { kernelSums } from '../../step/optimizers/at-once.ts';
import type { Slots } from '../../step/optimizers/optimizer.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import {
  allocate,
  copyOf,
  type Precision,
  squaresAndLargest,
  type TensorMeta,
  type Values,
} from '../../step/tensor/values.ts';

/** A trainable tensor with the optimizer's state. Steps write to `w`, `slots` and `stepsTaken`. */
export interface TensorState extends TensorMeta {
  readonly w: Values;
  readonly slots: Slots;
  stepsTaken: number;
  /** Index into the stepper's optimizers. */
  readonly group: number;
}

/** Gradient of one tensor: whole, or the rows of an embedding (each once) with their values. */
export interface Gradient {
  readonly values: Values;
  readonly rows?: Int32Array;
  /** The tensor has no gradient in this step and takes no part in it. */
  readonly absent?: true;
  /** Of the values, where several steps share them. */
  readonly sums?: () => GradientSums;
}

export interface GradientSums {
  /** Σg² in float64. */
  readonly squares: number;
  /** Largest |g|; NaN if one is. */
  readonly largest: number;
}

export type SummedGradient = Gradient & Required<Pick<Gradient, 'sums'>>;

/** {@link squaresAndLargest}, by a kernel where that saves time: sums of four, each of every fourth entry. */
export const sumsOf = (x: Values): GradientSums => kernelSums(x) ?? squaresAndLargest(x);

/** The gradient with its sums, which are taken once, when somebody asks for them. */
export function withSums(gradient: Gradient): SummedGradient {
  let known: GradientSums | undefined;
  return {
    ...gradient,
    sums: () => {
      known ??= sumsOf(gradient.values);
      return known;
    },
  };
}

/**
 * A tensor with fresh state, or what of it was stored, which becomes its own.
 *
 * @param heap where the state is to lie
 */
export function freshTensor(
  meta: TensorMeta,
  w: Values,
  { optimizer, options }: OptimizerChoice,
  precision: Precision,
  group = 0,
  heap?: Heap,
  stored?: ReadonlyMap<string, Values>,
): TensorState {
  const slots: Record<string, Values> = {};
  for (const slot of optimizer.slots(options))
    slots[slot.name] =
      stored?.get(slot.name) ??
      (heap?.allocate(w.length) ?? allocate(precision, w.length)).fill(slot.initial);
  return { ...meta, w, slots, stepsTaken: 0, group };
}

/**
 * A copy that steps of its own can move.
 *
 * @param heap where it is to lie, of float32 tensors
 */
export function copyTensors(tensors: readonly TensorState[], heap?: Heap): TensorState[] {
  const copied = (values: Values): Values => {
    if (heap === undefined) return copyOf(values);
    const copy = heap.allocate(values.length);
    copy.set(values);
    return copy;
  };
  return tensors.map((tensor) => ({
    ...tensor,
    w: copied(tensor.w),
    slots: Object.fromEntries(Object.entries(tensor.slots).map(([name, slot]) => [name, copied(slot)])),
  }));
}
