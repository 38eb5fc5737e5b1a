/** A loss over batches that can be differentiated, on flat arrays: what replay and curvature see of a model. */
import type { Layout } from '../../model/checkpoint.ts';

/** An input of a model as a table has to fill it. */
export interface BatchInput {
  readonly name: string;
  /** Columns; null where only tensors can fill it. */
  readonly width: number | null;
  /** Whether it takes whole numbers, which float32 would round from 2²⁴ on. */
  readonly ids?: boolean;
}

export interface BatchTensor {
  readonly shape: readonly number[];
  /** Ids as Int32Array, everything else as Float32Array. */
  readonly data: Float32Array | Int32Array;
}

/** The inputs of one batch by name, labels as `label/<task>`; the first axis is the row. Names are untrusted. */
export type Batch = ReadonlyMap<string, BatchTensor>;

/** A trainable tensor and its place in the flat vectors: entries [offset, offset + size), row-major. */
export interface ParameterTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly embedding: boolean;
  readonly offset: number;
  readonly size: number;
}

export interface Losses {
  /** Weighted sum over the tasks of the mean over all rows. */
  readonly loss: number;
  /** Unweighted, in the order of `tasks`. */
  readonly taskLosses: readonly number[];
}

/** A matrix of the loss at `w` times `v`. */
type MatrixTimes = (
  w: Float32Array,
  v: Float32Array,
  batches: readonly Batch[],
  task?: string,
  into?: Float32Array,
) => Promise<Float32Array>;

/**
 * Every method takes the parameters it works at and a list of batches, whose rows are averaged over; mini-batches keep memory
 * bounded. `task` restricts to one task's weighted part of the loss, so that the tasks' Hessians sum to the whole. `into` is
 * memory for a resulting vector of `size` entries, which may be used instead of new memory. Losses and gradients that are not
 * finite are returned unchanged.
 */
export interface Objective {
  readonly tensors: readonly ParameterTensor[];
  /** Σ of the tensors' sizes. */
  readonly size: number;
  readonly tasks: readonly string[];
  /** What a batch has to hold, labels included. */
  readonly inputs: readonly BatchInput[];
  readonly backend: string;
  /** Things about backend and model that a user should know. */
  readonly notes: readonly string[];
  /** Refuses batches that the model cannot take: names, shapes, ids, labels. */
  check(batches: readonly Batch[]): void | Promise<void>;
  loss(w: Float32Array, batches: readonly Batch[]): Promise<Losses>;
  gradient(
    w: Float32Array,
    batches: readonly Batch[],
    task?: string,
    into?: Float32Array,
  ): Promise<Losses & { readonly gradient: Float32Array }>;
  /** ∇²L·v by the gradient of ⟨∇L, v⟩. */
  readonly hvp: MatrixTimes;
  /** Jᵀ·H_out·J·v with the Hessian of the loss in the model's outputs; refused where the outputs are not known. */
  readonly gaussNewton: MatrixTimes;
  close(): Promise<void>;
}

/** Gives tensors their places one after the other. */
export function layOut(tensors: readonly Omit<ParameterTensor, 'offset' | 'size'>[]): ParameterTensor[] {
  let offset = 0;
  return tensors.map((tensor) => {
    const size = tensor.shape.reduce((product, n) => product * n, 1);
    offset += size;
    return { ...tensor, offset: offset - size, size };
  });
}

/** Whether two arrays hold the same bits. */
export const sameValues = (one: ArrayBufferView, other: ArrayBufferView): boolean =>
  one.byteLength === other.byteLength && bytesOf(one).equals(bytesOf(other));
const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
