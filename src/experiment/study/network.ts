/**
 * The net of a `ranking` spec, forward and backward, on the memory of the dense kernels: what a study trains thousands of
 * times. Objectives of tfjs (autodiff/ranking.ts) give the same losses and gradients within float32, at several times the cost
 * of a small net; a property test holds the two together. Why there are two: docs/adr/0007-study-training.md.
 */
import { rankingTensors } from '../../differentiate/autodiff/ranking.ts';
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import { denseKernels, type Matrix, type Start } from '../../step/kernels/dense-layers.ts';
import { HEAP_START, type Heap, heapsOn } from '../../step/kernels/heap.ts';
import { newMemory } from '../../step/kernels/wasm-assembler.ts';
import { ACTIVATIONS } from './activations.ts';
import { TASK_LOSSES } from './task-losses.ts';

/** Rows of a table in the order of the spec's features and tasks. */
export interface Rows {
  readonly count: number;
  /** Of a dense feature [count, size]; of a categorical one an id each, −1 for a category that training has not seen. */
  readonly features: readonly (Float32Array | Int32Array)[];
  /** One array for each task. */
  readonly labels: readonly Float32Array[];
}

export interface StudyNet {
  /** One array for each tensor of the spec, dense, in their order. Written before a pass. */
  readonly parameters: readonly Float32Array[];
  /** The gradients of the last {@link gradient}, in the same order. */
  readonly gradients: readonly Float32Array[];
  /** A heap on the same memory for the state of the optimizer and the buffers of its steps; it takes the place of the last. */
  newHeap(): Heap;
  /** Takes over what was written to `parameters`. */
  load(): void;
  /** One output for each row and task; overwritten by the next pass. */
  outputs(rows: Rows): readonly Float32Array[];
  /** Loss of each task, the mean over the rows; the weighted sum's gradient into `gradients`. */
  gradient(rows: Rows): readonly number[];
}

/** The batch's values in a layer, and their gradients. */
interface Signal extends Matrix {
  readonly width: number;
  /** Position of the gradients, of the same form; −1 where nothing before it learns. */
  readonly d: number;
  /** The reader that comes last, which is the first on the way back and writes where the others add. */
  last: number;
}

/** A tensor in the memory, entry after entry, and its gradient. */
interface Place {
  readonly size: number;
  readonly at: number;
  readonly d: number;
}

interface Step {
  forward(rows: number): void;
  backward(rows: number): void;
}

const fours = (n: number): number => (n + 3) & ~3;

/** Of the gradient and of the direction: what the stepper changes, one tensor at a time. */
const STEP_BUFFERS = 2;

/**
 * @param capacity rows of the largest batch
 * @param slots arrays of state that the optimizer keeps of a tensor
 */
export function studyNet(spec: RankingSpec, capacity: number, slots: number): StudyNet {
  const tensors = rankingTensors(spec);
  const indexOf = new Map(tensors.map(({ name }, i) => [name, i]));
  const rowsRoom = fours(capacity);
  let next = HEAP_START;
  const reserve = (entries: number): number => {
    next += fours(entries);
    return next - fours(entries);
  };
  const places = tensors.map(({ size }): Place => ({ size, at: reserve(size), d: reserve(size) }));
  const steps: Step[] = [];
  const loads: (() => void)[] = [];
  const stores: (() => void)[] = [];
  /** The memory; there once everything has its place. */
  let f = new Float32Array(0);
  let kernels: ReturnType<typeof denseKernels>;

  const signal = (width: number, learns = true): Signal => {
    const stride = fours(width);
    const size = rowsRoom * stride;
    return { at: reserve(size), stride, width, d: learns ? reserve(size) : -1, last: -1 };
  };
  const read = (x: Signal): number => {
    x.last = steps.length;
    return steps.length;
  };
  const startOf = (x: Signal, reader: number): Start => (x.last === reader ? 'zero' : 'add');
  const placeOf = (name: string): Place => places[indexOf.get(name)!]!;

  /** x·K + b, and relu where asked. */
  const dense = (x: Signal, name: string, relu = false): Signal => {
    const kernel = placeOf(`${name}/kernel`);
    const bias = placeOf(`${name}/bias`);
    const width = bias.size;
    const y = signal(width);
    const columns = y.stride;
    // What needs no padding is used where it lies.
    const whole = x.width === x.stride && width === columns;
    const k = whole ? kernel.at : reserve(x.stride * columns);
    const dk = whole ? kernel.d : reserve(x.stride * columns);
    const turned = reserve(columns * x.stride);
    const weights = { at: k, stride: columns };
    const turnedWeights = { at: turned, stride: x.stride };
    const dy = { at: y.d, stride: columns };
    const dWeights = { at: dk, stride: columns };
    const dx = { at: x.d, stride: x.stride };
    loads.push(() => {
      if (!whole)
        for (let i = 0; i < x.width; i++)
          f.copyWithin(k + i * columns, kernel.at + i * width, kernel.at + (i + 1) * width);
      if (x.d >= 0) kernels.transpose(weights, turnedWeights, x.stride, columns);
    });
    stores.push(() => {
      if (!whole)
        for (let i = 0; i < x.width; i++)
          f.copyWithin(kernel.d + i * width, dk + i * columns, dk + i * columns + width);
    });
    const own = read(x);
    steps.push({
      forward(rows) {
        kernels.product[relu ? 'relu' : 'bias'](x, weights, y, rows, x.stride, columns, bias.at);
      },
      backward(rows) {
        if (relu) kernels.cut(y.d, y.at, rows * columns);
        kernels.sumRows(dy, rows, columns, bias.d);
        kernels.transposedProduct(x, dy, dWeights, x.stride, rows, columns);
        if (x.d >= 0) kernels.product[startOf(x, own)](dy, turnedWeights, dx, rows, columns, x.stride);
      },
    });
    return y;
  };

  /** The function of each entry of x, which nothing else reads. */
  const activated = (x: Signal): Signal => {
    const { activation } = spec.shared;
    if (activation === 'linear') return x;
    const y = signal(x.width);
    read(x);
    if (activation === 'relu')
      steps.push({
        forward(rows) {
          for (let i = 0; i < rows * x.stride; i++) {
            const z = f[x.at + i]!;
            f[y.at + i] = z <= 0 ? 0 : z;
          }
        },
        backward(rows) {
          kernels.cut(y.d, y.at, rows * y.stride);
          f.copyWithin(x.d, y.d, y.d + rows * y.stride);
        },
      });
    else {
      const { value, derivative } = ACTIVATIONS[activation];
      steps.push({
        forward(rows) {
          for (let i = 0; i < rows; i++)
            for (let j = i * x.stride; j < i * x.stride + x.width; j++) f[y.at + j] = value(f[x.at + j]!);
        },
        backward(rows) {
          for (let i = 0; i < rows; i++)
            for (let j = i * x.stride; j < i * x.stride + x.width; j++)
              f[x.d + j] = f[y.d + j]! * derivative(f[x.at + j]!);
        },
      });
    }
    return y;
  };

  const layer = (x: Signal, name: string): Signal =>
    spec.shared.activation === 'relu' ? dense(x, name, true) : activated(dense(x, name));

  const normalised = (x: Signal, name: string, epsilon: number): Signal => {
    const gamma = placeOf(`${name}/gamma`);
    const beta = placeOf(`${name}/beta`);
    const { width, stride } = x;
    const y = signal(width);
    const centred = reserve(rowsRoom * stride);
    const inverse = reserve(rowsRoom);
    read(x);
    steps.push({
      forward(rows) {
        for (let i = 0; i < rows; i++) {
          const from = i * stride;
          let mean = 0;
          for (let j = 0; j < width; j++) mean += f[x.at + from + j]!;
          mean /= width;
          let variance = 0;
          for (let j = 0; j < width; j++) variance += (f[x.at + from + j]! - mean) ** 2;
          const scale = 1 / Math.sqrt(variance / width + epsilon);
          f[inverse + i] = scale;
          for (let j = 0; j < width; j++) {
            const hat = (f[x.at + from + j]! - mean) * scale;
            f[centred + from + j] = hat;
            f[y.at + from + j] = hat * f[gamma.at + j]! + f[beta.at + j]!;
          }
        }
      },
      backward(rows) {
        f.fill(0, gamma.d, gamma.d + width);
        f.fill(0, beta.d, beta.d + width);
        for (let i = 0; i < rows; i++) {
          const from = i * stride;
          let mean = 0;
          let along = 0;
          for (let j = 0; j < width; j++) {
            const d = f[y.d + from + j]!;
            const hat = f[centred + from + j]!;
            f[gamma.d + j] = f[gamma.d + j]! + d * hat;
            f[beta.d + j] = f[beta.d + j]! + d;
            mean += d * f[gamma.at + j]!;
            along += d * f[gamma.at + j]! * hat;
          }
          mean /= width;
          along /= width;
          for (let j = 0; j < width; j++)
            f[x.d + from + j] =
              f[inverse + i]! *
              (f[y.d + from + j]! * f[gamma.at + j]! - mean - f[centred + from + j]! * along);
        }
      },
    });
    return y;
  };

  /** x₀ ⊙ (x·K + b) + x, where x₀ is the input. */
  const crossed = (input: Signal, x: Signal, name: string): Signal => {
    const z = dense(x, name);
    const y = signal(x.width);
    // The last reader in the forward pass is the first in the backward pass: it initialises dx, earlier readers accumulate.
    const own = read(x);
    read(input);
    steps.push({
      forward(rows) {
        for (let i = 0; i < rows * x.stride; i++)
          f[y.at + i] = f[input.at + i]! * f[z.at + i]! + f[x.at + i]!;
      },
      backward(rows) {
        const adds = input.last !== own;
        for (let i = 0; i < rows * x.stride; i++) {
          const d = f[y.d + i]!;
          f[z.d + i] = d * f[input.at + i]!;
          if (input.d >= 0) {
            const share = d * f[z.at + i]!;
            f[input.d + i] = adds ? f[input.d + i]! + share : share;
          }
        }
        if (x.d >= 0)
          for (let i = 0; i < rows * x.stride; i++) {
            const d = f[y.d + i]!;
            f[x.d + i] = x === input ? f[x.d + i]! + d : d;
          }
      },
    });
    return y;
  };

  /** Σ over the experts of softmax(gate)ₑ times its output. */
  const mixed = (experts: readonly Signal[], gate: Signal): Signal => {
    const { width, stride } = experts[0]!;
    const y = signal(width);
    const shares = reserve(rowsRoom * experts.length);
    const own = read(gate);
    for (const expert of experts) read(expert);
    steps.push({
      forward(rows) {
        for (let i = 0; i < rows; i++) {
          let most = Number.NEGATIVE_INFINITY;
          for (let e = 0; e < experts.length; e++) most = Math.max(most, f[gate.at + i * gate.stride + e]!);
          let sum = 0;
          const at = shares + i * experts.length;
          for (let e = 0; e < experts.length; e++) {
            f[at + e] = Math.exp(f[gate.at + i * gate.stride + e]! - most);
            sum += f[at + e]!;
          }
          for (let e = 0; e < experts.length; e++) f[at + e] = f[at + e]! / sum;
          for (let j = 0; j < width; j++) {
            let value = 0;
            for (let e = 0; e < experts.length; e++)
              value += f[at + e]! * f[experts[e]!.at + i * stride + j]!;
            f[y.at + i * stride + j] = value;
          }
        }
      },
      backward(rows) {
        const inner = new Float64Array(experts.length);
        for (let i = 0; i < rows; i++) {
          const at = shares + i * experts.length;
          let mean = 0;
          for (const [e, expert] of experts.entries()) {
            let product = 0;
            const adds = expert.last !== own;
            for (let j = i * stride; j < i * stride + width; j++) {
              const d = f[y.d + j]!;
              product += d * f[expert.at + j]!;
              const share = d * f[at + e]!;
              f[expert.d + j] = adds ? f[expert.d + j]! + share : share;
            }
            inner[e] = product;
            mean += product * f[at + e]!;
          }
          for (let e = 0; e < experts.length; e++)
            f[gate.d + i * gate.stride + e] = f[at + e]! * (inner[e]! - mean);
        }
      },
    });
    return y;
  };

  // ---- the net ---------------------------------------------------------------------------------------------------
  const learns = spec.features.some(({ type }) => type === 'categorical');
  const width = spec.features.reduce((sum, one) => sum + (one.type === 'dense' ? one.size : one.dim), 0);
  const input = signal(width, learns);
  let x = input;
  for (let i = 0; i < spec.crossLayers; i++) x = crossed(input, x, `cross/${i}`);
  const { shared } = spec;
  let bottoms: Signal[];
  if (shared.type === 'mmoe') {
    const experts = Array.from({ length: shared.experts }, (_, e) => {
      let h = x;
      for (let i = 0; i < shared.units.length; i++) h = layer(h, `expert/${e}/${i}`);
      return h;
    });
    bottoms = spec.tasks.map((task) => mixed(experts, dense(x, `gate/${task.name}`)));
  } else {
    let h = x;
    for (let i = 0; i < shared.units.length; i++)
      h = shared.layerNorm
        ? activated(normalised(dense(h, `shared/${i}`), `shared/${i}`, shared.epsilon))
        : layer(h, `shared/${i}`);
    bottoms = spec.tasks.map(() => h);
  }
  const outputs = spec.tasks.map((task, t) => {
    let h = bottoms[t]!;
    for (let i = 0; i < task.units.length; i++) h = layer(h, `task/${task.name}/${i}`);
    return dense(h, `task/${task.name}/${task.units.length}`);
  });

  // A step's buffers grow from tensor to tensor, to no more than all together.
  const room = (slots + STEP_BUFFERS) * places.reduce((sum, { size }) => sum + fours(size), 0);
  const memory = newMemory(4 * (next + room));
  f = new Float32Array(memory.buffer);
  kernels = denseKernels(memory);
  const predicted = spec.tasks.map(() => new Float32Array(capacity));
  const [taskOutputs, rowLosses, slopes] = [0, 1, 2].map(() => new Float64Array(capacity)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];

  /** The features side by side; rows up to the next four, and unseen categories, are zero. */
  const fill = ({ count, features }: Rows): number => {
    const rows = fours(count);
    let column = 0;
    if (rows > count) f.fill(0, input.at + count * input.stride, input.at + rows * input.stride);
    for (const [k, feature] of spec.features.entries()) {
      const from = features[k]!;
      const wide = feature.type === 'dense' ? feature.size : feature.dim;
      if (feature.type === 'dense' && wide === input.stride)
        f.set((from as Float32Array).subarray(0, count * wide), input.at);
      else if (feature.type === 'dense')
        for (let i = 0; i < count; i++)
          for (let j = 0; j < wide; j++) f[input.at + i * input.stride + column + j] = from[i * wide + j]!;
      else {
        const table = placeOf(`embedding/${feature.name}`).at;
        for (let i = 0; i < count; i++) {
          const id = from[i]!;
          const at = input.at + i * input.stride + column;
          for (let j = 0; j < wide; j++) f[at + j] = id < 0 ? 0 : f[table + id * wide + j]!;
        }
      }
      column += wide;
    }
    return rows;
  };
  const forward = (batch: Rows): number => {
    if (batch.count > capacity) throw new RangeError(`${batch.count} rows in a net for ${capacity}`);
    const rows = fill(batch);
    for (const step of steps) step.forward(rows);
    return rows;
  };
  const embeddingGradients = ({ count, features }: Rows): void => {
    let column = 0;
    for (const [k, feature] of spec.features.entries()) {
      if (feature.type === 'categorical') {
        const table = placeOf(`embedding/${feature.name}`);
        f.fill(0, table.d, table.d + table.size);
        const ids = features[k]!;
        for (let i = 0; i < count; i++) {
          const id = ids[i]!;
          if (id < 0) continue;
          const from = input.d + i * input.stride + column;
          const to = table.d + id * feature.dim;
          for (let j = 0; j < feature.dim; j++) f[to + j] = f[to + j]! + f[from + j]!;
        }
        column += feature.dim;
      } else column += feature.size;
    }
  };

  return {
    parameters: places.map(({ at, size }) => f.subarray(at, at + size)),
    gradients: places.map(({ d, size }) => f.subarray(d, d + size)),
    newHeap: heapsOn(memory, next),
    load() {
      for (const one of loads) one();
    },
    outputs(batch) {
      forward(batch);
      return outputs.map((z, t) => {
        for (let i = 0; i < batch.count; i++) predicted[t]![i] = f[z.at + i * z.stride]!;
        return predicted[t]!.subarray(0, batch.count);
      });
    },
    gradient(batch) {
      const rows = forward(batch);
      const { count, labels } = batch;
      const losses = spec.tasks.map((task, t) => {
        const z = outputs[t]!;
        for (let i = 0; i < count; i++) taskOutputs[i] = f[z.at + i * z.stride]!;
        TASK_LOSSES[task.loss].evaluate(taskOutputs, labels[t]!, rowLosses, slopes);
        f.fill(0, z.d, z.d + rows * z.stride);
        let sum = 0;
        for (let i = 0; i < count; i++) {
          sum += rowLosses[i]!;
          f[z.d + i * z.stride] = (task.weight * slopes[i]!) / count;
        }
        return sum / count;
      });
      for (let s = steps.length; s-- > 0; ) steps[s]!.backward(rows);
      for (const one of stores) one();
      if (learns) embeddingGradients(batch);
      return losses;
    },
  };
}
