/**
 * The net of a `ranking` spec, forward and backward, on the memory of the dense kernels: what a study trains thousands of
 * times. Objectives of tfjs (autodiff/ranking.ts) give the same losses and gradients within float32, at several times the cost
 * of a small net; a property test holds the two together. Why there are two: docs/adr/0007-study-training.md.
 */
import { rankingTensors } from '../../differentiate/autodiff/ranking.ts';
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import { denseKernels } from '../../step/kernels/dense-layers.ts';
import { type Heap, heapsOn } from '../../step/kernels/heap.ts';
import { newMemory } from '../../step/kernels/wasm-assembler.ts';
import {
  activated,
  crossed,
  dense,
  fours,
  type Layers,
  layersFor,
  mixed,
  normalised,
  type Signal,
} from './layers.ts';
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

/** Of the gradient and of the direction: what the stepper changes, one tensor at a time. */
const STEP_BUFFERS = 2;

/**
 * @param capacity rows of the largest batch
 * @param slots arrays of state that the optimizer keeps of a tensor
 */
export function studyNet(spec: RankingSpec, capacity: number, slots: number): StudyNet {
  const net = layersFor(rankingTensors(spec), capacity);
  const { places, steps } = net;
  const learns = spec.features.some(({ type }) => type === 'categorical');
  const width = spec.features.reduce((sum, one) => sum + (one.type === 'dense' ? one.size : one.dim), 0);
  const input = net.signal(width, learns);
  const outputs = wire(net, spec, input);

  // A step's buffers grow from tensor to tensor, to no more than all together.
  const room = (slots + STEP_BUFFERS) * places.reduce((sum, { size }) => sum + fours(size), 0);
  const memory = newMemory(4 * (net.reserved() + room));
  const f = new Float32Array(memory.buffer);
  net.f = f;
  net.kernels = denseKernels(memory);
  const predicted = spec.tasks.map(() => new Float32Array(capacity));
  const [taskOutputs, rowLosses, slopes] = [0, 1, 2].map(() => new Float64Array(capacity)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];

  const forward = (batch: Rows): number => {
    if (batch.count > capacity) throw new RangeError(`${batch.count} rows in a net for ${capacity}`);
    const rows = fill(net, spec, input, batch);
    for (const step of steps) step.forward(rows);
    return rows;
  };
  return {
    parameters: places.map(({ at, size }) => f.subarray(at, at + size)),
    gradients: places.map(({ d, size }) => f.subarray(d, d + size)),
    newHeap: heapsOn(memory, net.reserved()),
    load() {
      for (const one of net.loads) one();
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
      for (const one of net.stores) one();
      if (learns) embeddingGradients(net, spec, input, batch);
      return losses;
    },
  };
}

/** All layers of a spec, from the features to one output a task. */
function wire(net: Layers, spec: RankingSpec, input: Signal): readonly Signal[] {
  const { shared } = spec;
  const layer = (x: Signal, name: string): Signal =>
    shared.activation === 'relu'
      ? dense(net, x, name, true)
      : activated(net, dense(net, x, name), shared.activation);
  let x = input;
  for (let i = 0; i < spec.crossLayers; i++) x = crossed(net, input, x, `cross/${i}`);
  let bottoms: Signal[];
  if (shared.type === 'mmoe') {
    const experts = Array.from({ length: shared.experts }, (_, e) => {
      let h = x;
      for (let i = 0; i < shared.units.length; i++) h = layer(h, `expert/${e}/${i}`);
      return h;
    });
    bottoms = spec.tasks.map((task) => mixed(net, experts, dense(net, x, `gate/${task.name}`)));
  } else {
    let h = x;
    for (let i = 0; i < shared.units.length; i++)
      h = shared.layerNorm
        ? activated(
            net,
            normalised(net, dense(net, h, `shared/${i}`), `shared/${i}`, shared.epsilon),
            shared.activation,
          )
        : layer(h, `shared/${i}`);
    bottoms = spec.tasks.map(() => h);
  }
  return spec.tasks.map((task, t) => {
    let h = bottoms[t]!;
    for (let i = 0; i < task.units.length; i++) h = layer(h, `task/${task.name}/${i}`);
    return dense(net, h, `task/${task.name}/${task.units.length}`);
  });
}

/** The features side by side; rows up to the next four, and unseen categories, are zero. */
function fill({ f, placeOf }: Layers, spec: RankingSpec, input: Signal, { count, features }: Rows): number {
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
}

/** The gradients of the input into those of the tables whose rows it took. */
function embeddingGradients(
  { f, placeOf }: Layers,
  spec: RankingSpec,
  input: Signal,
  { count, features }: Rows,
): void {
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
}
