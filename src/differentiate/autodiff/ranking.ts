/**
 * The `ranking` spec: the multitask ranking models of arXiv 2302.09178 in JSON, and their losses in tfjs.
 *
 * Features are concatenated in the order listed; DCN-v2 layers x ← x₀ ⊙ (x·K + b) + x (arXiv 2008.13535, equation 1);
 * shared layers activation(layerNorm?(x·K + b)); or MMoE, experts mixed by a softmax gate per task on the input (Ma et
 * al. 2018, equations 6 and 7); towers of the same activation with one linear output. Kernels are [in, out].
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { diagError } from '../../model/errors.ts';
import type { Network } from './differentiate.ts';
import type { Tf } from './gradients.ts';
import { checkRows, checkTensor, LOSSES } from './losses.ts';
import { objectOf } from './model-fields.ts';
import { type Batch, layOut, type ParameterTensor } from './objective.ts';
import type { Activation, Feature, LossName, Mmoe, RankingSpec, SharedBottom, Task } from './ranking-spec.ts';

const ACTIVATIONS = {
  relu: (tf: Tf, x: Tensor) => tf.relu(x),
  elu: (tf: Tf, x: Tensor) => tf.elu(x),
  selu: (tf: Tf, x: Tensor) => tf.selu(x),
  sigmoid: (tf: Tf, x: Tensor) => tf.sigmoid(x),
  tanh: (tf: Tf, x: Tensor) => tf.tanh(x),
  softplus: (tf: Tf, x: Tensor) => tf.softplus(x),
  swish: (tf: Tf, x: Tensor) => tf.mul(x, tf.sigmoid(x)),
  gelu: (tf: Tf, x: Tensor) => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.div(x, Math.SQRT2)))),
  linear: (_tf: Tf, x: Tensor) => x,
} as const satisfies Readonly<Record<Activation, unknown>>;

/**
 * Checks a `ranking` document.
 *
 * @throws model-invalid with the place and what was expected there
 */
export function parseRanking(document: unknown, path: string): RankingSpec {
  const check = new ModelCheck(path);
  const { kind, version } = (document ?? {}) as { kind?: unknown; version?: unknown };
  if (typeof document === 'object' && document !== null && kind !== 'ranking')
    check.fail('kind', 'ranking or layers');
  const known = ['kind', 'version', 'features', 'cross', 'shared', 'tasks', 'rename'];
  const root = check.record(document, 'the model', known);
  if (version !== 1) check.fail('version', '1');
  const features = check
    .list(root.features, 'features')
    .map((value, i) => parseFeature(check, value, `features[${i}]`));
  if (features.length === 0) check.fail('features', 'at least one feature');
  check.distinct(features, 'features');
  const crossLayers = root.cross === undefined || root.cross === null ? 0 : parseCross(check, root.cross);
  const shared = parseShared(check, root.shared);
  const tasks = check.list(root.tasks, 'tasks').map((value, i) => parseTask(check, value, `tasks[${i}]`));
  if (tasks.length === 0) check.fail('tasks', 'at least one task');
  check.distinct(tasks, 'tasks');
  const stacks = shared.type === 'mmoe' ? shared.experts : 1;
  const layers =
    crossLayers + stacks * shared.units.length + tasks.reduce((sum, t) => sum + t.units.length + 2, 0);
  if (stacks + layers > MOST_LAYERS)
    check.fail('the model', `one of at most ${MOST_LAYERS} layers and experts`);
  return { features, crossLayers, shared, tasks };
}

/** Values of a model file, each of which is what is asked for or fails with its place. */
class ModelCheck {
  constructor(private readonly path: string) {}

  fail(place: string, expected: string): never {
    throw diagError('model-invalid', { place, expected }, { path: this.path });
  }
  record(value: unknown, place: string, fields: readonly string[]): Record<string, unknown> {
    const placeOf = (field: string): string => (place === 'the model' ? field : `${place}.${field}`);
    return objectOf(value, place, fields, this.path, placeOf);
  }
  list(value: unknown, place: string): readonly unknown[] {
    return Array.isArray(value) ? value : this.fail(place, 'an array');
  }
  name(value: unknown, place: string): string {
    return typeof value === 'string' && value !== '' ? value : this.fail(place, 'a name');
  }
  count(value: unknown, place: string): number {
    return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 2 ** 31
      ? (value as number)
      : this.fail(place, 'a whole number from 1 on');
  }
  /** @param otherwise where it is left out */
  number(value: unknown, place: string, otherwise: number): number {
    if (value === undefined) return otherwise;
    return typeof value === 'number' && Number.isFinite(value) ? value : this.fail(place, 'a number');
  }
  oneOf<T extends string>(value: unknown, place: string, known: readonly T[]): T {
    return known.find((k) => k === value) ?? this.fail(place, `one of ${known.join(', ')}`);
  }
  units(value: unknown, place: string): number[] {
    return this.list(value, place).map((u, i) => this.count(u, `${place}[${i}]`));
  }
  distinct(named: readonly { readonly name: string }[], place: string): void {
    if (new Set(named.map(({ name }) => name)).size !== named.length) this.fail(place, 'distinct names');
  }
}

function parseFeature(check: ModelCheck, value: unknown, place: string): Feature {
  const f = check.record(value, place, ['name', 'type', 'size', 'vocabulary', 'dim']);
  const name = check.name(f.name, `${place}.name`);
  const type = check.oneOf(f.type, `${place}.type`, ['categorical', 'dense']);
  if (type === 'dense') return { name, type, size: check.count(f.size, `${place}.size`) };
  const vocabulary = check.count(f.vocabulary, `${place}.vocabulary`);
  return { name, type, vocabulary, dim: check.count(f.dim, `${place}.dim`) };
}

function parseCross(check: ModelCheck, value: unknown): number {
  const cross = check.record(value, 'cross', ['type', 'layers']);
  check.oneOf(cross.type, 'cross.type', ['dcn-v2']);
  return check.count(cross.layers, 'cross.layers');
}

function parseShared(check: ModelCheck, value: unknown): SharedBottom | Mmoe {
  const known = ['type', 'units', 'activation', 'layerNorm', 'epsilon', 'experts'];
  const s = check.record(value, 'shared', known);
  const activations = Object.keys(ACTIVATIONS) as Activation[];
  const activation = check.oneOf(s.activation, 'shared.activation', activations);
  const type = check.oneOf(s.type, 'shared.type', ['shared-bottom', 'mmoe']);
  if (type === 'mmoe') {
    const experts = check.count(s.experts, 'shared.experts');
    return { type, experts, units: check.units(s.units, 'shared.units'), activation };
  }
  const units = check.units(s.units, 'shared.units');
  const epsilon = check.number(s.epsilon, 'shared.epsilon', 1e-6);
  return { type, units, activation, layerNorm: s.layerNorm === true, epsilon };
}

function parseTask(check: ModelCheck, value: unknown, place: string): Task {
  const t = check.record(value, place, ['name', 'units', 'loss', 'weight']);
  return {
    name: check.name(t.name, `${place}.name`),
    units: check.units(t.units, `${place}.units`),
    loss: check.oneOf(t.loss, `${place}.loss`, Object.keys(LOSSES) as LossName[]),
    weight: check.number(t.weight, `${place}.weight`, 1),
  };
}

/** Far beyond what is trained; a number with a slip would fill the memory. */
const MOST_LAYERS = 100_000;

const widthOf = (spec: RankingSpec): number =>
  spec.features.reduce((sum, f) => sum + (f.type === 'dense' ? f.size : f.dim), 0);

/** The parameters of a spec, in the order of its layers. */
export function rankingTensors(spec: RankingSpec): ParameterTensor[] {
  const tensors: Omit<ParameterTensor, 'offset' | 'size'>[] = [];
  const vector = (name: string, size: number): void => {
    tensors.push({ name, shape: [size], layout: 'none', embedding: false });
  };
  const dense = (name: string, from: number, to: number): void => {
    tensors.push({ name: `${name}/kernel`, shape: [from, to], layout: 'IO', embedding: false });
    vector(`${name}/bias`, to);
  };
  const stack = (name: string, from: number, units: readonly number[], layerNorm = false): number => {
    let width = from;
    for (const [i, to] of units.entries()) {
      dense(`${name}/${i}`, width, to);
      if (layerNorm) {
        vector(`${name}/${i}/gamma`, to);
        vector(`${name}/${i}/beta`, to);
      }
      width = to;
    }
    return width;
  };

  for (const f of spec.features)
    if (f.type === 'categorical')
      tensors.push({
        name: `embedding/${f.name}`,
        shape: [f.vocabulary, f.dim],
        layout: 'none',
        embedding: true,
      });
  const width = widthOf(spec);
  for (let i = 0; i < spec.crossLayers; i++) dense(`cross/${i}`, width, width);
  let bottom = width;
  if (spec.shared.type === 'mmoe') {
    for (let e = 0; e < spec.shared.experts; e++) bottom = stack(`expert/${e}`, width, spec.shared.units);
    for (const task of spec.tasks) dense(`gate/${task.name}`, width, spec.shared.experts);
  } else bottom = stack('shared', width, spec.shared.units, spec.shared.layerNorm);
  for (const task of spec.tasks) stack(`task/${task.name}`, bottom, [...task.units, 1]);
  return layOut(tensors);
}

/** The network of a spec. */
export function rankingNetwork(tf: Tf, spec: RankingSpec): Network {
  const tensors = rankingTensors(spec);
  const indexOf = new Map(tensors.map((tensor, i) => [tensor.name, i]));
  const { shared } = spec;
  const activate = (x: Tensor): Tensor => ACTIVATIONS[shared.activation](tf, x);

  return {
    tensors,
    tasks: spec.tasks,
    rowsIndependent: true,
    notes: [],
    inputs: [
      ...spec.features.map(({ name, ...f }) =>
        f.type === 'dense' ? { name, width: f.size } : { name, width: 1, ids: true },
      ),
      ...spec.tasks.map((task) => ({ name: `label/${task.name}`, width: 1 })),
    ],
    check: (batch) => checkBatch(spec, batch),
    outputs: (parameters, batch) => {
      const p = (name: string): Tensor => parameters[indexOf.get(name)!]!;
      const dense = (x: Tensor, name: string): Tensor =>
        tf.add(tf.matMul(x as Tensor2D, p(`${name}/kernel`) as Tensor2D), p(`${name}/bias`));
      const stack = (x: Tensor, name: string, layers: number): Tensor => {
        let h = x;
        for (let i = 0; i < layers; i++) h = activate(dense(h, `${name}/${i}`));
        return h;
      };
      const parts = spec.features.map((f) => {
        const x = batch.get(f.name)!;
        return f.type === 'categorical'
          ? // Ids from a table are floating numbers.
            tf.gather(p(`embedding/${f.name}`), tf.cast(tf.reshape(x, [-1]), 'int32'))
          : // A concatenation takes the type of its first part: whole numbers would cut off the others.
            tf.reshape(tf.cast(x, 'float32'), [-1, f.size]);
      });
      const input = parts.length === 1 ? parts[0]! : tf.concat(parts, 1);
      let x = input;
      for (let i = 0; i < spec.crossLayers; i++) x = tf.add(tf.mul(input, dense(x, `cross/${i}`)), x);

      let bottoms: Tensor[];
      if (shared.type === 'mmoe') {
        const experts = Array.from({ length: shared.experts }, (_, e) =>
          stack(x, `expert/${e}`, shared.units.length),
        );
        bottoms = spec.tasks.map((task) => {
          const gate = tf.softmax(dense(x, `gate/${task.name}`));
          return tf.addN(experts.map((expert, e) => tf.mul(expert, tf.slice(gate, [0, e], [-1, 1]))));
        });
      } else {
        let h = x;
        for (let i = 0; i < shared.units.length; i++) {
          h = dense(h, `shared/${i}`);
          if (shared.layerNorm)
            h = layerNorm(tf, h, p(`shared/${i}/gamma`), p(`shared/${i}/beta`), shared.epsilon);
          h = activate(h);
        }
        bottoms = spec.tasks.map(() => h);
      }
      return spec.tasks.map((task, t) => {
        const tower = stack(bottoms[t]!, `task/${task.name}`, task.units.length);
        return tf.reshape(dense(tower, `task/${task.name}/${task.units.length}`), [-1]);
      });
    },
    losses: (outputs, batch) =>
      spec.tasks.map((task, t) =>
        LOSSES[task.loss].mean(tf, outputs[t]!, tf.reshape(batch.get(`label/${task.name}`)!, [-1])),
      ),
  };
}

function layerNorm(tf: Tf, x: Tensor, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon))), gamma), beta);
}

function checkBatch(spec: RankingSpec, batch: Batch): void {
  const rows = checkRows(batch);
  for (const f of spec.features) {
    const { data } = checkTensor(
      batch,
      f.name,
      [[rows, f.type === 'dense' ? f.size : 1]],
      f.type === 'categorical' || f.size === 1,
    );
    if (f.type === 'dense') continue;
    for (let i = 0; i < data.length; i++)
      if (!(Number.isInteger(data[i]) && data[i]! >= 0 && data[i]! < f.vocabulary))
        throw diagError('batch-id-range', { name: f.name, id: data[i]!, row: i, vocabulary: f.vocabulary });
    const rounded = data instanceof Float32Array ? data.findIndex((id) => id >= 2 ** 24) : -1;
    if (rounded >= 0)
      throw diagError('batch-values', {
        name: f.name,
        row: rounded,
        found: `about ${data[rounded]} as a floating number`,
        expected: 'an integer, which is not rounded from 2²⁴ on',
      });
  }
  for (const task of spec.tasks) {
    const name = `label/${task.name}`;
    LOSSES[task.loss].checkLabels(name, checkTensor(batch, name, [[rows, 1]], true).data);
  }
}
