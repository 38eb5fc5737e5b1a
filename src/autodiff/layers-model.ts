/**
 * A Keras or tfjs layers model as a network, with an objective that names a loss for each output:
 *
 *     { "kind": "layers", "version": 1, "model": "model.keras", "inputs": { "user": "user_id" },
 *       "tasks": [{ "name": "click", "output": "click_head", "loss": "binary-cross-entropy", "weight": 1 }] }
 *
 * `inputs` maps input layers to batch tensors (default: the same name); a task's label is `label/<name>`. Dropout and
 * noise are off; BatchNormalization takes the statistics of the batch, as the optimizer saw them, and its running
 * averages are left as they are.
 */
import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { diagError } from '../model/errors.ts';
import type { Backend } from './backend.ts';
import type { Network } from './differentiate.ts';
import { layersIn, type Topology } from './layers-config.ts';
import { checkRows, checkTensor, LOSSES, type LossName } from './losses.ts';
import { type Batch, layOut } from './objective.ts';

export interface LayersObjective {
  readonly model: string;
  readonly inputs: ReadonlyMap<string, string>;
  readonly tasks: readonly {
    readonly name: string;
    /** Output layer; left out where there is one output. */
    readonly output: string | null;
    readonly loss: LossName;
    readonly weight: number;
  }[];
}

/** @throws model-invalid */
export function parseLayersObjective(document: unknown, path: string): LayersObjective {
  const fail = (place: string, expected: string) => diagError('model-invalid', { place, expected }, { path });
  const root = document as Record<string, unknown>;
  if (root.version !== 1) throw fail('version', '1');
  if (typeof root.model !== 'string') throw fail('model', 'the name of a file');
  const inputs = Object.entries((root.inputs ?? {}) as Record<string, unknown>);
  if (inputs.some(([, name]) => typeof name !== 'string')) throw fail('inputs', 'names of batch tensors');
  if (!Array.isArray(root.tasks) || root.tasks.length === 0) throw fail('tasks', 'an array of tasks');
  return {
    model: root.model,
    inputs: new Map(inputs as [string, string][]),
    tasks: root.tasks.map((task: Record<string, unknown>, i) => {
      const { name, output = null, loss, weight = 1 } = task;
      if (typeof name !== 'string') throw fail(`tasks[${i}].name`, 'a name');
      if (output !== null && typeof output !== 'string')
        throw fail(`tasks[${i}].output`, 'the name of an output layer');
      if (typeof loss !== 'string' || !Object.hasOwn(LOSSES, loss))
        throw fail(`tasks[${i}].loss`, `one of ${Object.keys(LOSSES).join(', ')}`);
      if (typeof weight !== 'number' || !Number.isFinite(weight))
        throw fail(`tasks[${i}].weight`, 'a number');
      return { name, output, loss: loss as LossName, weight };
    }),
  };
}

/** Layers that draw random numbers in training; `Dropout` and `rate` is what most have. */
const RANDOM = ['rate', 'stddev', 'dropout', 'recurrentDropout'] as const;
/** Known to tfjs-layers, but code or not what it seems. */
const REFUSED: ReadonlySet<string> = new Set(['Lambda', 'TFOpLambda', 'SlicingOpLambda']);

/**
 * Builds the model.
 *
 * @throws model-layer for a layer that cannot be built, which is named; a Lambda is never run
 */
export async function layersNetwork(
  { tf, layers }: Backend,
  topology: Topology,
  objective: LayersObjective,
  path: string,
): Promise<Network & { nameOf(source: string): string }> {
  const known = layersIn(topology);
  const code = known.find(([, className]) => REFUSED.has(className));
  if (code !== undefined)
    throw diagError('model-layer', { layer: code[0], className: code[1], reason: 'it is code' }, { path });
  let model: Layers.LayersModel;
  try {
    model = await layers.models.modelFromJSON({ modelTopology: topology } as never);
  } catch (error) {
    const message = String((error as Error).message).split('\n')[0]!;
    const className = /Unknown \w+: (\w+)/.exec(message)?.[1];
    const layer = known.find(([, own]) => own === className);
    throw diagError(
      'model-layer',
      { layer: layer?.[0] ?? '?', className: className ?? '?', reason: message.slice(0, 200) },
      { path },
      error,
    );
  }
  // A Sequential knows its inputs and outputs only by the model that it keeps inside, once it is built.
  if (model.inputNames.length === 0 && model.inputs.length > 0) {
    model.build(model.inputs[0]!.shape);
    model = (model as unknown as { model: Layers.LayersModel }).model;
  }
  if (model.inputNames.length === 0)
    throw diagError(
      'model-invalid',
      { place: 'the first layer', expected: 'one with an input shape' },
      { path },
    );
  const flat = flatLayers(model);
  for (const layer of flat) quieten(layer);
  const normalises = flat.some((layer) => layer.getClassName() === 'BatchNormalization');
  const weights = model.weights.filter((weight) => !/moving_(mean|variance)/.test(weight.originalName));
  const running = model.weights.filter((weight) => /moving_(mean|variance)/.test(weight.originalName));
  const tensors = layOut(
    weights.map((weight) => {
      const embedding = /embeddings$/.test(weight.originalName);
      const shape = weight.shape as number[];
      return {
        name: weight.originalName,
        shape,
        layout: embedding || shape.length < 2 ? 'none' : shape.length === 4 ? 'HWIO' : 'IO',
        embedding,
      };
    }),
  );
  // The tape records variables by their identity: they are what is differentiated by.
  const variables = weights.map((weight) => (weight as unknown as { val: Variable }).val);
  // By layer: tfjs makes the names of tensors unique over the process.
  const inputs = model.inputs.map(({ shape }, i) => {
    const layer = model.inputNames[i]!;
    return { name: objective.inputs.get(layer) ?? layer, shape: shape.slice(1) as number[] };
  });
  const outputOf = objective.tasks.map(({ name, output }) => {
    const index =
      output === null && model.outputNames.length === 1 ? 0 : model.outputNames.indexOf(output ?? name);
    if (index < 0)
      throw diagError(
        'model-invalid',
        { place: `the output of task ${name}`, expected: `one of ${model.outputNames.join(', ')}` },
        { path },
      );
    return index;
  });

  return {
    tensors,
    tasks: objective.tasks,
    rowsIndependent: !normalises,
    notes: normalises ? ['BatchNormalization uses the statistics of the whole batch, in one pass'] : [],
    inputs: [
      ...inputs.map(({ name, shape }) => ({ name, width: shape.length === 1 ? shape[0]! : null })),
      ...objective.tasks.map(({ name }) => ({ name: `label/${name}`, width: 1 })),
    ],
    nameOf: (source) => kerasName(source, model),
    check: (batch: Batch) => {
      const rows = checkRows(batch);
      for (const { name, shape } of inputs) checkTensor(batch, name, [[rows, ...shape]], shape.length === 1);
      for (const { name, loss } of objective.tasks)
        LOSSES[loss].checkLabels(
          `label/${name}`,
          checkTensor(batch, `label/${name}`, [[rows, 1]], true).data,
        );
    },
    leaves: (w) => {
      for (const [i, { offset, size, shape }] of tensors.entries())
        variables[i]!.assign(tf.tensor(w.subarray(offset, offset + size), [...shape], 'float32') as never);
      return variables;
    },
    outputs: (_parameters, batch) => {
      const before = running.map((weight) => tf.clone(weight.read()));
      const xs = inputs.map(({ name, shape }) => tf.reshape(batch.get(name)!, [-1, ...shape]));
      const ys = model.apply(xs.length === 1 ? xs[0]! : xs, { training: true }) as Tensor | Tensor[];
      for (const [i, weight] of running.entries()) weight.write(before[i]!);
      const all = Array.isArray(ys) ? ys : [ys];
      return outputOf.map((index) => tf.reshape(all[index]!, [-1]));
    },
    losses: (outputs, batch) =>
      objective.tasks.map(({ name, loss }, t) =>
        LOSSES[loss].mean(tf, outputs[t]!, tf.reshape(batch.get(`label/${name}`)!, [-1])),
      ),
    dispose: () => void model.dispose(),
  };
}

/** The layers of a model, those of nested models in their place. */
const flatLayers = (model: Layers.LayersModel): Layers.layers.Layer[] =>
  model.layers.flatMap((layer) =>
    'layers' in layer ? flatLayers(layer as unknown as Layers.LayersModel) : [layer],
  );

/** Turns randomness off. */
function quieten(layer: Layers.layers.Layer): void {
  const parts = [layer, (layer as unknown as { cell?: object }).cell] as unknown as (
    | Record<string, unknown>
    | undefined
  )[];
  for (const part of parts)
    if (part !== undefined)
      for (const property of RANDOM) if (typeof part[property] === 'number') part[property] = 0;
}

/**
 * The model's name of a tensor of a Keras file: `model_weights/dense/dense/kernel:0` → `dense/kernel`, and
 * `layers/dense_1/vars/0` of Keras 3, which counts layers by their class, → the weight of that layer.
 */
function kerasName(source: string, model: Layers.LayersModel): string {
  const path = source.replace(/:\d+$/, '').split('/');
  if (path.length >= 4 && path.at(-2) === 'vars') {
    const seen = new Map<string, number>();
    for (const layer of model.layers) {
      const kind = snake(layer.getClassName());
      const count = seen.get(kind) ?? 0;
      seen.set(kind, count + 1);
      if (path.at(-3) === (count === 0 ? kind : `${kind}_${count}`))
        return layer.trainableWeights[Number(path.at(-1))]?.originalName ?? source;
    }
  }
  return path.slice(-2).join('/');
}

/** `BatchNormalization` → `batch_normalization`, `Conv2D` → `conv2d`, as Keras has it. */
const snake = (name: string): string =>
  name
    .replace(/(.)([A-Z][a-z0-9]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
