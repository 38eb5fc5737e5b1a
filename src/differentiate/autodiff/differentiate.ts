/** Makes an {@link Objective} of a network written in tfjs: losses, gradients and products by reverse mode. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { diagError } from '../../model/errors.ts';
import { rowsOf, sliceRows } from '../../step/tensor/batch-rows.ts';
import type { Backend } from './backend.ts';
import { gradientsOf, recordTape, type Tape } from './gradients.ts';
import {
  type Batch,
  type BatchInput,
  type Losses,
  type Objective,
  type ParameterTensor,
  sameValues,
} from './objective.ts';

export type TensorMap = ReadonlyMap<string, Tensor>;

/** What a kind of model has to say. All tensors it makes are disposed by the caller's tidy. */
export interface Network {
  readonly tensors: readonly ParameterTensor[];
  readonly tasks: readonly { readonly name: string; readonly weight: number }[];
  /** Whether the loss is a mean over rows that do not see each other (false with batch normalisation). */
  readonly rowsIndependent: boolean;
  readonly notes: readonly string[];
  /** What a batch has to hold, labels included. */
  readonly inputs: readonly BatchInput[];
  check(batch: Batch): void;
  /** Tensors to differentiate by, set to `w`; left out, fresh tensors. */
  leaves?(w: Float32Array): Tensor[];
  outputs(parameters: readonly Tensor[], batch: TensorMap): readonly Tensor[];
  /** One scalar for each task. */
  losses(outputs: readonly Tensor[], batch: TensorMap): readonly Tensor[];
  /** Frees what the network keeps between calls. */
  dispose?(): void;
  /** Why Gauss–Newton products have no meaning for it. */
  readonly withoutOutputs?: string;
}

/** Rows in one pass by default: the activations of a pass bound memory. */
const ROWS_PER_PASS = 4096;

/** A mini-batch with its share of the rows. */
interface Pass {
  readonly tape: Tape;
  readonly share: number;
}
/** Gradients at one point on one list of batches, ready for products with their derivative. */
interface HeldPoint {
  readonly w: Float32Array;
  readonly batches: readonly Batch[];
  readonly task: string | undefined;
  readonly passes: Pass[];
  /** Tensors that the tapes close over. */
  readonly tensors: Tensor[];
}

/** @param rowsPerPass mini-batches of at most so many rows, summed over */
export function differentiate(backend: Backend, network: Network, rowsPerPass = ROWS_PER_PASS): Objective {
  const { tf } = backend;
  const { tensors } = network;
  const size = tensors.reduce((sum, tensor) => sum + tensor.size, 0);

  const weightsFor = (task: string | undefined): readonly number[] => {
    if (task !== undefined && !network.tasks.some(({ name }) => name === task))
      throw diagError('task-unknown', { task, known: network.tasks.map(({ name }) => name) });
    return network.tasks.map(({ name, weight }) => (task === undefined || name === task ? weight : 0));
  };
  const leavesOf = (w: Float32Array): Tensor[] =>
    network.leaves?.(w) ??
    tensors.map((t) => tf.tensor(w.subarray(t.offset, t.offset + t.size), [...t.shape], 'float32'));
  const directions = (v: Float32Array): Tensor[] =>
    tensors.map((t) => tf.tensor(v.subarray(t.offset, t.offset + t.size), [...t.shape], 'float32'));
  const weighted = (losses: readonly Tensor[], weights: readonly number[]): Tensor => {
    const terms = losses.flatMap((loss, i) => (weights[i] === 0 ? [] : [tf.mul(loss, weights[i]!)]));
    // The part of a task whose weight is 0.
    return terms.length === 0 ? tf.mul(losses[0]!, 0) : tf.addN(terms);
  };
  const inner = (xs: readonly (Tensor | undefined | null)[], ys: readonly Tensor[]): Tensor => {
    const terms = xs.flatMap((x, i) => (x == null ? [] : [tf.sum(tf.mul(x, ys[i]!))]));
    return terms.length === 0 ? tf.scalar(0) : tf.addN(terms);
  };

  /** Tensors made in `f` live as long as it runs, but for those that are kept. */
  const inScope = (f: () => void): void => {
    const engine = tf.engine();
    engine.startScope('pass');
    try {
      f();
    } catch (error) {
      throw codedError(error, backend.name);
    } finally {
      engine.endScope();
    }
  };
  /** Runs `pass` on every mini-batch and adds up what it writes, weighted by rows. */
  const overRows = (batches: readonly Batch[], pass: (batch: TensorMap, share: number) => void): void => {
    const pieces = batches.flatMap((batch) => {
      const rows = rowsOf(batch);
      const step = network.rowsIndependent ? rowsPerPass : Math.max(rows, 1);
      return Array.from({ length: Math.ceil(rows / step) }, (_, i) =>
        sliceRows(batch, i * step, Math.min((i + 1) * step, rows)),
      );
    });
    const all = pieces.reduce((sum, piece) => sum + rowsOf(piece), 0);
    if (all === 0) throw diagError('batch-empty', {});
    for (const piece of pieces)
      inScope(() => {
        const inputs = new Map<string, Tensor>();
        for (const [name, { shape, data }] of piece)
          inputs.set(name, tf.tensor(data, [...shape], data instanceof Int32Array ? 'int32' : 'float32'));
        pass(inputs, rowsOf(piece) / all);
      });
  };
  /** Gradients of all passes, weighted by rows: in float64, unless one pass has all the rows. */
  const gradientSum = (into: Float32Array = new Float32Array(size)) => {
    let sum: Float64Array | undefined;
    return {
      add: (grads: readonly (Tensor | undefined)[], share: number): void => {
        if (share === 1) into.fill(0);
        else sum ??= new Float64Array(size);
        for (const [i, { offset }] of tensors.entries()) {
          const gradient = grads[i];
          if (gradient === undefined) continue;
          const values = backend.valuesOf(gradient);
          if (sum === undefined) into.set(values, offset);
          else addScaled(sum, offset, share, values);
        }
      },
      result: (): Float32Array => {
        if (sum !== undefined) into.set(sum);
        return into;
      },
    };
  };
  const lossesOf = (ws: readonly Tensor[], batch: TensorMap): readonly Tensor[] =>
    network.losses(network.outputs(ws, batch), batch);
  const lossSums = () => {
    const taskLosses = new Array<number>(network.tasks.length).fill(0);
    return {
      add: (losses: readonly Tensor[], share: number): void => {
        for (const [i, loss] of losses.entries()) taskLosses[i]! += share * loss.dataSync()[0]!;
      },
      result: (): Losses => ({
        loss: taskLosses.reduce((sum, loss, i) => sum + network.tasks[i]!.weight * loss, 0),
        taskLosses,
      }),
    };
  };

  /** What the last product left for the next; anything else that is computed frees it. */
  let held: HeldPoint | undefined;
  const release = (): void => {
    for (const { tape } of held?.passes ?? []) tape.dispose();
    for (const tensor of held?.tensors ?? []) tensor.dispose();
    held = undefined;
  };

  return {
    tensors,
    size,
    inputs: network.inputs,
    tasks: network.tasks.map(({ name }) => name),
    backend: backend.name,
    notes: [...backend.notes, ...network.notes],
    check: (batches) => {
      for (const batch of batches) network.check(batch);
    },
    loss: async (w, batches) => {
      release();
      const sums = lossSums();
      overRows(batches, (batch, share) => sums.add(lossesOf(leavesOf(w), batch), share));
      return sums.result();
    },
    gradient: async (w, batches, task, into) => {
      const weights = weightsFor(task);
      release();
      const sums = lossSums();
      const out = gradientSum(into);
      overRows(batches, (batch, share) => {
        const ws = leavesOf(w);
        let losses: readonly Tensor[] = [];
        const { grads } = gradientsOf(
          tf,
          () => {
            losses = lossesOf(ws, batch);
            // Kept beyond the tidy of the engine's forward pass.
            for (const loss of losses) tf.keep(loss);
            return weighted(losses, weights);
          },
          ws,
        );
        sums.add(losses, share);
        for (const loss of losses) loss.dispose();
        out.add(grads, share);
      });
      return { ...sums.result(), gradient: out.result() };
    },
    hvp: async (w, v, batches, task, into) => {
      const weights = weightsFor(task);
      const out = gradientSum(into);
      const add = ({ tape, share }: Pass): void => out.add(tape.transposedProduct(directions(v)), share);
      if (held === undefined || !isAt(held, w, batches, task)) {
        release();
        const record = (batch: TensorMap, ws: readonly Tensor[]): Tape =>
          recordTape(tf, () => gradientsOf(tf, () => weighted(lossesOf(ws, batch), weights), ws).grads, ws);
        const rows = batches.reduce((sum, batch) => sum + rowsOf(batch), 0);
        if (rows > rowsPerPass) {
          // The activations of one pass at a time are all that memory has to hold.
          overRows(batches, (batch, share) => {
            const tape = record(batch, leavesOf(w));
            try {
              add({ tape, share });
            } finally {
              tape.dispose();
            }
          });
          return out.result();
        }
        held = { w: w.slice(), batches, task, passes: [], tensors: [] };
        const { passes, tensors: closedOver } = held;
        try {
          overRows(batches, (batch, share) => {
            const ws = leavesOf(w);
            // Leaves of the network itself are its own to free.
            const own = [...batch.values(), ...(network.leaves === undefined ? ws : [])];
            for (const tensor of own) closedOver.push(tf.keep(tensor));
            passes.push({ tape: record(batch, ws), share });
          });
        } catch (error) {
          release();
          throw error;
        }
      }
      for (const pass of held.passes) inScope(() => add(pass));
      return out.result();
    },
    gaussNewton: async (w, v, batches, task, into) => {
      if (network.withoutOutputs !== undefined)
        throw diagError('gauss-newton-unknown', { reason: network.withoutOutputs });
      const weights = weightsFor(task);
      release();
      const out = gradientSum(into);
      overRows(batches, (batch, share) => {
        const ws = leavesOf(w);
        const vs = directions(v);
        // J·v without forward mode: Jᵀu is linear in u, so that ∂/∂u ⟨Jᵀu, v⟩ = J·v at any u.
        const shapes = network.outputs(ws, batch);
        const us = shapes.map((z) => tf.zerosLike(z));
        const jv = gradientsOf(
          tf,
          () => inner(gradientsOf(tf, () => inner(network.outputs(ws, batch), us), ws).grads, vs),
          us,
        ).grads.map((g, i) => g ?? tf.zerosLike(us[i]!));
        const hjv = gradientsOf(
          tf,
          () =>
            inner(gradientsOf(tf, () => weighted(network.losses(shapes, batch), weights), shapes).grads, jv),
          shapes,
        ).grads.map((g, i) => g ?? tf.zerosLike(us[i]!));
        const { grads } = gradientsOf(tf, () => inner(network.outputs(ws, batch), hjv), ws);
        out.add(grads, share);
      });
      return out.result();
    },
    close: async () => {
      release();
      network.dispose?.();
    },
  };
}

/** A function of its own, which V8 compiles for these types. */
function addScaled(out: Float64Array, offset: number, share: number, values: Float32Array): void {
  for (let j = 0; j < values.length; j++) out[offset + j] = out[offset + j]! + share * values[j]!;
}

/** Whether products at `w` on `batches` are those of the point held: the same numbers, whatever arrays they lie in. */
function isAt(
  held: HeldPoint,
  w: Float32Array,
  batches: readonly Batch[],
  task: string | undefined,
): boolean {
  return (
    held.task === task &&
    held.batches.length === batches.length &&
    held.batches.every((batch, i) => sameBatch(batch, batches[i]!)) &&
    sameValues(held.w, w)
  );
}
const sameBatch = (one: Batch, other: Batch): boolean =>
  one === other ||
  (one.size === other.size &&
    [...one].every(([name, { shape, data }]) => {
      const twin = other.get(name);
      return (
        twin !== undefined &&
        twin.data.constructor === data.constructor &&
        twin.shape.length === shape.length &&
        shape.every((length, axis) => length === twin.shape[axis]) &&
        sameValues(data, twin.data)
      );
    }));
/** What tfjs throws for reasons that a user can act on, as one of ours; anything else unchanged. */
function codedError(error: unknown, backend: string): unknown {
  const message = String((error as Error | undefined)?.message ?? error);
  const gradient = /gradient function not found for (\w+)/.exec(message);
  if (gradient) return diagError('op-not-differentiable', { op: gradient[1]! }, undefined, error);
  const kernel = /Kernel '(\w+)' not registered for backend/.exec(message);
  if (kernel) return diagError('op-missing', { op: kernel[1]!, backend }, undefined, error);
  if (/memory access out of bounds|Array buffer allocation failed|allocation failed/i.test(message))
    return diagError('backend-memory', { backend }, undefined, error);
  return error;
}
