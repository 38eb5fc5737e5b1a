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
  const { tensors } = network;
  const passes = new Passes(backend, network, rowsPerPass);
  const products = new HessianProducts(passes);
  return {
    tensors,
    size: passes.size,
    inputs: network.inputs,
    tasks: network.tasks.map(({ name }) => name),
    backend: backend.name,
    notes: [...backend.notes, ...network.notes],
    check: (batches) => {
      for (const batch of batches) network.check(batch);
    },
    loss: async (w, batches) => {
      products.release();
      const sums = new LossSums(network);
      passes.over(batches, (batch, share) => sums.add(passes.losses(passes.leaves(w), batch), share));
      return sums.result();
    },
    gradient: async (w, batches, task, into) => {
      const weights = passes.weightsFor(task);
      products.release();
      return gradientAndLosses(passes, w, batches, weights, into);
    },
    hvp: async (w, v, batches, task, into) => products.product(w, v, batches, task, into),
    gaussNewton: async (w, v, batches, task, into) => {
      if (network.withoutOutputs !== undefined)
        throw diagError('gauss-newton-unknown', { reason: network.withoutOutputs });
      const weights = passes.weightsFor(task);
      products.release();
      const out = passes.gradientSum(into);
      passes.over(batches, (batch, share) =>
        out.add(gaussNewtonProduct(passes, passes.leaves(w), passes.like(v), batch, weights), share),
      );
      return out.result();
    },
    close: async () => {
      products.release();
      network.dispose?.();
    },
  };
}

/** A network on mini-batches, one pass after another. */
class Passes {
  readonly tf: Backend['tf'];
  readonly size: number;

  constructor(
    private readonly backend: Backend,
    readonly network: Network,
    readonly rowsPerPass: number,
  ) {
    this.tf = backend.tf;
    this.size = network.tensors.reduce((sum, tensor) => sum + tensor.size, 0);
  }

  /** What each loss counts for: of one task, or of all. @throws task-unknown */
  weightsFor(task: string | undefined): readonly number[] {
    const { tasks } = this.network;
    if (task !== undefined && !tasks.some(({ name }) => name === task))
      throw diagError('task-unknown', { task, known: tasks.map(({ name }) => name) });
    return tasks.map(({ name, weight }) => (task === undefined || name === task ? weight : 0));
  }

  leaves(w: Float32Array): Tensor[] {
    return this.network.leaves?.(w) ?? this.like(w);
  }

  /** A vector as tensors of the shapes of the parameters. */
  like(v: Float32Array): Tensor[] {
    return this.network.tensors.map(({ offset, size, shape }) =>
      this.tf.tensor(v.subarray(offset, offset + size), [...shape], 'float32'),
    );
  }

  losses(ws: readonly Tensor[], batch: TensorMap): readonly Tensor[] {
    return this.network.losses(this.network.outputs(ws, batch), batch);
  }

  weighted(losses: readonly Tensor[], weights: readonly number[]): Tensor {
    const { tf } = this;
    const terms = losses.flatMap((loss, i) => (weights[i] === 0 ? [] : [tf.mul(loss, weights[i]!)]));
    // The part of a task whose weight is 0.
    return terms.length === 0 ? tf.mul(losses[0]!, 0) : tf.addN(terms);
  }

  gradientSum(into: Float32Array | undefined): GradientSum {
    return new GradientSum(this.backend, this.network.tensors, into ?? new Float32Array(this.size));
  }

  /** Tensors made in `f` live as long as it runs, but for those that are kept. */
  inScope(f: () => void): void {
    const engine = this.tf.engine();
    engine.startScope('pass');
    try {
      f();
    } catch (error) {
      throw codedError(error, this.backend.name);
    } finally {
      engine.endScope();
    }
  }

  /** Runs `pass` on every mini-batch; `share` is that of its rows in all. @throws batch-empty */
  over(batches: readonly Batch[], pass: (batch: TensorMap, share: number) => void): void {
    const { tf, network } = this;
    const pieces = batches.flatMap((batch) => {
      const rows = rowsOf(batch);
      const step = network.rowsIndependent ? this.rowsPerPass : Math.max(rows, 1);
      return Array.from({ length: Math.ceil(rows / step) }, (_, i) =>
        sliceRows(batch, i * step, Math.min((i + 1) * step, rows)),
      );
    });
    const all = pieces.reduce((sum, piece) => sum + rowsOf(piece), 0);
    if (all === 0) throw diagError('batch-empty', {});
    for (const piece of pieces)
      this.inScope(() => {
        const inputs = new Map<string, Tensor>();
        for (const [name, { shape, data }] of piece)
          inputs.set(name, tf.tensor(data, [...shape], data instanceof Int32Array ? 'int32' : 'float32'));
        pass(inputs, rowsOf(piece) / all);
      });
  }
}

/** Gradients of all passes, weighted by rows: in float64, unless one pass has all the rows. */
class GradientSum {
  #sum: Float64Array | undefined;

  constructor(
    private readonly backend: Backend,
    private readonly tensors: Network['tensors'],
    private readonly into: Float32Array,
  ) {}

  add(grads: readonly (Tensor | undefined)[], share: number): void {
    if (share === 1) this.into.fill(0);
    else this.#sum ??= new Float64Array(this.into.length);
    for (const [i, { offset }] of this.tensors.entries()) {
      const gradient = grads[i];
      if (gradient === undefined) continue;
      const values = this.backend.valuesOf(gradient);
      if (this.#sum === undefined) this.into.set(values, offset);
      else addScaled(this.#sum, offset, share, values);
    }
  }

  result(): Float32Array {
    if (this.#sum !== undefined) this.into.set(this.#sum);
    return this.into;
  }
}

class LossSums {
  readonly #taskLosses: number[];

  constructor(private readonly network: Network) {
    this.#taskLosses = new Array<number>(network.tasks.length).fill(0);
  }

  add(losses: readonly Tensor[], share: number): void {
    for (const [i, loss] of losses.entries()) this.#taskLosses[i]! += share * loss.dataSync()[0]!;
  }

  result(): Losses {
    const taskLosses = this.#taskLosses;
    return {
      loss: taskLosses.reduce((sum, loss, i) => sum + this.network.tasks[i]!.weight * loss, 0),
      taskLosses,
    };
  }
}

function gradientAndLosses(
  passes: Passes,
  w: Float32Array,
  batches: readonly Batch[],
  weights: readonly number[],
  into: Float32Array | undefined,
): Losses & { gradient: Float32Array } {
  const { tf } = passes;
  const sums = new LossSums(passes.network);
  const out = passes.gradientSum(into);
  passes.over(batches, (batch, share) => {
    const ws = passes.leaves(w);
    let losses: readonly Tensor[] = [];
    const { grads } = gradientsOf(
      tf,
      () => {
        losses = passes.losses(ws, batch);
        // Kept beyond the tidy of the engine's forward pass.
        for (const loss of losses) tf.keep(loss);
        return passes.weighted(losses, weights);
      },
      ws,
    );
    sums.add(losses, share);
    for (const loss of losses) loss.dispose();
    out.add(grads, share);
  });
  return { ...sums.result(), gradient: out.result() };
}

/** Products with the Hessian; what the last one left serves the next at the same point. */
class HessianProducts {
  #held: HeldPoint | undefined;

  constructor(private readonly passes: Passes) {}

  /** Frees what the last product left. */
  release(): void {
    for (const { tape } of this.#held?.passes ?? []) tape.dispose();
    for (const tensor of this.#held?.tensors ?? []) tensor.dispose();
    this.#held = undefined;
  }

  product(
    w: Float32Array,
    v: Float32Array,
    batches: readonly Batch[],
    task: string | undefined,
    into: Float32Array | undefined,
  ): Float32Array {
    const { passes } = this;
    const weights = passes.weightsFor(task);
    const out = passes.gradientSum(into);
    const add = ({ tape, share }: Pass): void => out.add(tape.transposedProduct(passes.like(v)), share);
    if (this.#held === undefined || !isAt(this.#held, w, batches, task)) {
      this.release();
      const rows = batches.reduce((sum, batch) => sum + rowsOf(batch), 0);
      if (rows > passes.rowsPerPass) {
        // The activations of one pass at a time are all that memory has to hold.
        passes.over(batches, (batch, share) => {
          const tape = this.#record(batch, passes.leaves(w), weights);
          try {
            add({ tape, share });
          } finally {
            tape.dispose();
          }
        });
        return out.result();
      }
      this.#held = { w: w.slice(), batches, task, passes: [], tensors: [] };
      this.#hold(this.#held, weights);
    }
    for (const pass of this.#held.passes) passes.inScope(() => add(pass));
    return out.result();
  }

  #record(batch: TensorMap, ws: readonly Tensor[], weights: readonly number[]): Tape {
    const { passes } = this;
    const { tf } = passes;
    return recordTape(
      tf,
      () => gradientsOf(tf, () => passes.weighted(passes.losses(ws, batch), weights), ws).grads,
      ws,
    );
  }

  #hold(held: HeldPoint, weights: readonly number[]): void {
    const { passes } = this;
    try {
      passes.over(held.batches, (batch, share) => {
        const ws = passes.leaves(held.w);
        // Leaves of the network itself are its own to free.
        const own = [...batch.values(), ...(passes.network.leaves === undefined ? ws : [])];
        for (const tensor of own) held.tensors.push(passes.tf.keep(tensor));
        held.passes.push({ tape: this.#record(batch, ws, weights), share });
      });
    } catch (error) {
      this.release();
      throw error;
    }
  }
}

/** Jᵀ·H·J·v, with J the derivative of the outputs and H the Hessian of the losses by the outputs. */
function gaussNewtonProduct(
  passes: Passes,
  ws: Tensor[],
  vs: readonly Tensor[],
  batch: TensorMap,
  weights: readonly number[],
): readonly (Tensor | undefined)[] {
  const { tf, network } = passes;
  // J·v without forward mode: Jᵀu is linear in u, so that ∂/∂u ⟨Jᵀu, v⟩ = J·v at any u.
  const shapes = network.outputs(ws, batch);
  const us = shapes.map((z) => tf.zerosLike(z));
  const transposed = (): Tensor => inner(tf, network.outputs(ws, batch), us);
  const jv = gradientsOf(tf, () => inner(tf, gradientsOf(tf, transposed, ws).grads, vs), us);
  const jvs = jv.grads.map((g, i) => g ?? tf.zerosLike(us[i]!));
  const loss = (): Tensor => passes.weighted(network.losses(shapes, batch), weights);
  const hjv = gradientsOf(tf, () => inner(tf, gradientsOf(tf, loss, shapes).grads, jvs), shapes);
  const hjvs = hjv.grads.map((g, i) => g ?? tf.zerosLike(us[i]!));
  return gradientsOf(tf, () => inner(tf, network.outputs(ws, batch), hjvs), ws).grads;
}

/** ⟨x, y⟩; what is not there counts as zero. */
function inner(tf: Backend['tf'], xs: readonly (Tensor | undefined | null)[], ys: readonly Tensor[]): Tensor {
  const terms = xs.flatMap((x, i) => (x == null ? [] : [tf.sum(tf.mul(x, ys[i]!))]));
  return terms.length === 0 ? tf.scalar(0) : tf.addN(terms);
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
