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
import { checkRows, checkTensor, LOSSES, type LossName } from './losses.ts';
import { objectOf } from './model-fields.ts';
import { type Batch, layOut, type ParameterTensor } from './objective.ts';

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
} as const;
type Activation = keyof typeof ACTIVATIONS;

type Feature =
  | { readonly name: string; readonly type: 'categorical'; readonly vocabulary: number; readonly dim: number }
  | { readonly name: string; readonly type: 'dense'; readonly size: number };

interface SharedBottom {
  readonly type: 'shared-bottom';
  readonly units: readonly number[];
  readonly activation: Activation;
  readonly layerNorm: boolean;
  /** ε of LayerNorm. */
  readonly epsilon: number;
}
interface Mmoe {
  readonly type: 'mmoe';
  readonly experts: number;
  readonly units: readonly number[];
  readonly activation: Activation;
}
interface Task {
  readonly name: string;
  readonly units: readonly number[];
  readonly loss: LossName;
  readonly weight: number;
}

export interface RankingSpec {
  readonly features: readonly Feature[];
  readonly crossLayers: number;
  readonly shared: SharedBottom | Mmoe;
  readonly tasks: readonly Task[];
}

/**
 * Checks a `ranking` document.
 *
 * @throws model-invalid with the place and what was expected there
 */
export function parseRanking(document: unknown, path: string): RankingSpec {
  const fail = (place: string, expected: string): never => {
    throw diagError('model-invalid', { place, expected }, { path });
  };
  const record = (value: unknown, place: string, fields: readonly string[]): Record<string, unknown> =>
    objectOf(value, place, fields, path, (field) => (place === 'the model' ? field : `${place}.${field}`));
  const list = (value: unknown, place: string): readonly unknown[] =>
    Array.isArray(value) ? value : fail(place, 'an array');
  const name = (value: unknown, place: string): string =>
    typeof value === 'string' && value !== '' ? value : fail(place, 'a name');
  const count = (value: unknown, place: string): number =>
    Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 2 ** 31
      ? (value as number)
      : fail(place, 'a whole number from 1 on');
  const number = (value: unknown, place: string): number =>
    typeof value === 'number' && Number.isFinite(value) ? value : fail(place, 'a number');
  const oneOf = <T extends string>(value: unknown, place: string, known: readonly T[]): T =>
    known.find((k) => k === value) ?? fail(place, `one of ${known.join(', ')}`);
  const units = (value: unknown, place: string): number[] =>
    list(value, place).map((u, i) => count(u, `${place}[${i}]`));
  const activations = Object.keys(ACTIVATIONS) as Activation[];
  const distinct = (names: readonly string[], place: string): void => {
    if (new Set(names).size !== names.length) fail(place, 'distinct names');
  };

  const { kind, version } = (document ?? {}) as { kind?: unknown; version?: unknown };
  if (typeof document === 'object' && document !== null && kind !== 'ranking')
    fail('kind', 'ranking or layers');
  const root = record(document, 'the model', [
    'kind',
    'version',
    'features',
    'cross',
    'shared',
    'tasks',
    'rename',
  ]);
  if (version !== 1) fail('version', '1');
  const features = list(root.features, 'features').map((value, i): Feature => {
    const place = `features[${i}]`;
    const f = record(value, place, ['name', 'type', 'size', 'vocabulary', 'dim']);
    const featureName = name(f.name, `${place}.name`);
    return oneOf(f.type, `${place}.type`, ['categorical', 'dense']) === 'dense'
      ? { name: featureName, type: 'dense', size: count(f.size, `${place}.size`) }
      : {
          name: featureName,
          type: 'categorical',
          vocabulary: count(f.vocabulary, `${place}.vocabulary`),
          dim: count(f.dim, `${place}.dim`),
        };
  });
  if (features.length === 0) fail('features', 'at least one feature');
  distinct(
    features.map((f) => f.name),
    'features',
  );

  let crossLayers = 0;
  if (root.cross !== undefined && root.cross !== null) {
    const cross = record(root.cross, 'cross', ['type', 'layers']);
    oneOf(cross.type, 'cross.type', ['dcn-v2']);
    crossLayers = count(cross.layers, 'cross.layers');
  }
  const s = record(root.shared, 'shared', ['type', 'units', 'activation', 'layerNorm', 'epsilon', 'experts']);
  const activation = oneOf(s.activation, 'shared.activation', activations);
  const shared: SharedBottom | Mmoe =
    oneOf(s.type, 'shared.type', ['shared-bottom', 'mmoe']) === 'mmoe'
      ? {
          type: 'mmoe',
          experts: count(s.experts, 'shared.experts'),
          units: units(s.units, 'shared.units'),
          activation,
        }
      : {
          type: 'shared-bottom',
          units: units(s.units, 'shared.units'),
          activation,
          layerNorm: s.layerNorm === true,
          epsilon: s.epsilon === undefined ? 1e-6 : number(s.epsilon, 'shared.epsilon'),
        };
  const tasks = list(root.tasks, 'tasks').map((value, i): Task => {
    const place = `tasks[${i}]`;
    const t = record(value, place, ['name', 'units', 'loss', 'weight']);
    return {
      name: name(t.name, `${place}.name`),
      units: units(t.units, `${place}.units`),
      loss: oneOf(t.loss, `${place}.loss`, Object.keys(LOSSES) as LossName[]),
      weight: t.weight === undefined ? 1 : number(t.weight, `${place}.weight`),
    };
  });
  if (tasks.length === 0) fail('tasks', 'at least one task');
  distinct(
    tasks.map((t) => t.name),
    'tasks',
  );
  const stacks = shared.type === 'mmoe' ? shared.experts : 1;
  const layers =
    crossLayers + stacks * shared.units.length + tasks.reduce((sum, t) => sum + t.units.length + 2, 0);
  if (stacks + layers > MOST_LAYERS) fail('the model', `one of at most ${MOST_LAYERS} layers and experts`);
  return { features, crossLayers, shared, tasks };
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
