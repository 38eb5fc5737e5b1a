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
import type { Tensor } from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { type DiagError, diagError, firstLineOf } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import type { Backend } from './backend.ts';
import type { Network } from './differentiate.ts';
import type { Topology } from './layers-config.ts';
import { checkLayers, forTfjs, partsOf } from './layers-options.ts';
import { weightNamed, weightsOf } from './layers-weights.ts';
import { checkRows, checkTensor, LOSSES } from './losses.ts';
import { objectOf } from './model-fields.ts';
import { type Batch, layOut } from './objective.ts';
import type { LossName } from './ranking-spec.ts';

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
  /** Accepts that penalties of the layers are no part of the loss. */
  readonly leaveOutRegularizers?: boolean;
}

/** @throws model-invalid */
export function parseLayersObjective(document: unknown, path: string): LayersObjective {
  const fail = (place: string, expected: string) => diagError('model-invalid', { place, expected }, { path });
  const record = (value: unknown, place: string, fields: readonly string[]): Record<string, unknown> =>
    objectOf(value, place, fields, path, (field) => `"${field}" in ${place}`);
  const root = record(document, 'the objective', [
    'kind',
    'version',
    'model',
    'inputs',
    'tasks',
    'regularizers',
    'rename',
  ]);
  if (root.version !== 1) throw fail('version', '1');
  if (typeof root.model !== 'string') throw fail('model', 'the name of a file');
  const inputs = isJsonObject(root.inputs ?? {}) ? Object.entries(root.inputs ?? {}) : undefined;
  if (inputs === undefined || inputs.some(([, name]) => typeof name !== 'string'))
    throw fail('inputs', 'an object with names of batch tensors');
  if (!Array.isArray(root.tasks) || root.tasks.length === 0) throw fail('tasks', 'an array of tasks');
  if (root.regularizers !== undefined && root.regularizers !== 'left-out')
    throw fail('regularizers', '"left-out"');
  const tasks = root.tasks.map((task: unknown, i) => {
    const fields = record(task, `tasks[${i}]`, ['name', 'output', 'loss', 'weight']);
    const { name, output = null, loss, weight = 1 } = fields;
    if (typeof name !== 'string') throw fail(`tasks[${i}].name`, 'a name');
    if (output !== null && typeof output !== 'string')
      throw fail(`tasks[${i}].output`, 'the name of an output layer');
    if (typeof loss !== 'string' || !Object.hasOwn(LOSSES, loss))
      throw fail(`tasks[${i}].loss`, `one of ${Object.keys(LOSSES).join(', ')}`);
    if (typeof weight !== 'number' || !Number.isFinite(weight)) throw fail(`tasks[${i}].weight`, 'a number');
    return { name, output, loss: loss as LossName, weight };
  });
  if (new Set(tasks.map(({ name }) => name)).size !== tasks.length)
    throw fail('the names of tasks', 'distinct');
  return {
    model: root.model,
    leaveOutRegularizers: root.regularizers === 'left-out',
    inputs: new Map(inputs as [string, string][]),
    tasks,
  };
}

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
  checkLayers(topology, objective.leaveOutRegularizers === true, path);
  const model = await buildModel(layers, topology, path);
  const parts = partsOf(topology);
  const normalises = parts.some(({ class_name }) => class_name === 'BatchNormalization');
  const mixed = parts.some(({ config }) => String(config.dtype).startsWith('mixed_'));
  const weights = weightsOf(model, topology);
  const running = weights.filter(({ role }) => role === 'running').map(({ variable }) => variable);
  const parameters = weights.filter(({ role }) => role === 'parameter' || role === 'frozen');
  const tensors = layOut(
    parameters.map(({ name, variable }) => {
      const embedding = /embeddings$/.test(name);
      const shape = variable.shape as number[];
      return {
        name,
        shape,
        layout: embedding || shape.length < 2 ? 'none' : shape.length === 4 ? 'HWIO' : 'IO',
        embedding,
      };
    }),
  );
  // By layer: tfjs makes the names of tensors unique over the process.
  const inputs = model.inputs.map(({ shape }, i) => {
    const layer = model.inputNames[i]!;
    return { name: objective.inputs.get(layer) ?? layer, shape: shape.slice(1) };
  });
  const other = [...objective.inputs.keys()].find((layer) => !model.inputNames.includes(layer));
  if (other !== undefined)
    throw invalid(`"${other}" in inputs`, `one of ${model.inputNames.join(', ')}`, path);
  const outputOf = objective.tasks.map((task) => outputIndex(model, task, path));

  return {
    tensors,
    tasks: objective.tasks,
    rowsIndependent: !normalises,
    notes: [
      ...(normalises ? ['BatchNormalization uses the statistics of the whole batch, in one pass'] : []),
      ...(mixed ? ['everything is computed in float32, not in the mixed precision of the model'] : []),
      ...(objective.leaveOutRegularizers === true ? ['penalties of regularizers are left out'] : []),
    ],
    inputs: [
      ...inputs.map(({ name, shape }) => ({ name, width: shape.length === 1 ? shape[0]! : null })),
      ...objective.tasks.map(({ name }) => ({ name: `label/${name}`, width: 1 })),
    ],
    nameOf: (source) => weightNamed(source, parameters),
    check: (batch: Batch) => {
      const rows = checkRows(batch);
      for (const { name, shape } of inputs) {
        // A size that the model leaves open is that of the batch.
        const sizes = shape.map((size, axis) => size ?? batch.get(name)?.shape[axis + 1] ?? 1);
        checkTensor(batch, name, [[rows, ...sizes]], shape.length === 1);
      }
      for (const { name, loss } of objective.tasks)
        LOSSES[loss].checkLabels(
          `label/${name}`,
          checkTensor(batch, `label/${name}`, [[rows, 1]], true).data,
        );
    },
    leaves: (w) =>
      tensors.map(({ offset, size, shape }, i) => {
        const { value, role } = parameters[i]!;
        const set = tf.tensor(w.subarray(offset, offset + size), [...shape], 'float32');
        value.assign(set as never);
        // The tape records variables by their identity: by another tensor nothing is differentiated.
        return role === 'frozen' ? set : value;
      }),
    outputs: (_parameters, batch) => {
      const before = running.map((weight) => tf.clone(weight.read()));
      const xs = inputs.map(({ name, shape }) => {
        const x = batch.get(name)!;
        return tf.reshape(x, [x.shape[0]!, ...shape.map((size, axis) => size ?? x.shape[axis + 1]!)]);
      });
      const ys = model.apply(xs.length === 1 ? xs[0]! : xs, { training: true }) as Tensor | Tensor[];
      for (const [i, weight] of running.entries()) weight.write(before[i]!);
      const all = Array.isArray(ys) ? ys : [ys];
      return outputOf.map((index) => tf.reshape(all[index]!, [-1]));
    },
    losses: (outputs, batch) =>
      objective.tasks.map(({ name, loss }, t) =>
        LOSSES[loss].mean(tf, outputs[t]!, tf.reshape(batch.get(`label/${name}`)!, [-1])),
      ),
    dispose: () => {
      model.dispose();
      // A layer that is called twice counts as used still.
      for (const { value } of weights) if (!value.isDisposed) value.dispose();
    },
  };
}

const invalid = (place: string, expected: string, path: string): DiagError =>
  diagError('model-invalid', { place, expected }, { path });

/** The model of tfjs, with inputs and outputs. @throws model-layer, model-invalid */
async function buildModel(
  layers: Backend['layers'],
  topology: Topology,
  path: string,
): Promise<Layers.LayersModel> {
  let model: Layers.LayersModel;
  try {
    model = await layers.models.modelFromJSON({ modelTopology: forTfjs(topology) } as never);
  } catch (error) {
    const { message } = error as Error;
    const named = partsOf(topology).find(({ config }) => message.includes(` ${config.name}`));
    const [layer, className] = [String(named?.config.name ?? '?'), named?.class_name ?? '?'];
    throw diagError('model-layer', { layer, className, reason: firstLineOf(error) }, { path }, error);
  }
  // A Sequential knows its inputs and outputs only by the model that it keeps inside, once it is built.
  if (model.inputNames.length === 0 && model.inputs.length > 0) {
    model.build(model.inputs[0]!.shape);
    model = (model as unknown as { model: Layers.LayersModel }).model;
  }
  if (model.inputNames.length === 0) throw invalid('the first layer', 'one with an input shape', path);
  for (const layer of allLayers(model)) {
    if (layer.getClassName() === 'BatchNormalization') checkAxis(layer, path);
    if (layer.getClassName() === 'Embedding') refuseOtherIds(layer);
  }
  return model;
}

/** @throws model-layer where another axis than the last is normalised */
function checkAxis(layer: Layers.layers.Layer, path: string): void {
  const { axis, inputSpec } = layer as unknown as {
    axis?: number | number[];
    inputSpec?: { ndim: number }[];
  };
  if ([-1, inputSpec![0]!.ndim - 1].includes(Number(axis))) return;
  const reason = `its axis is ${axis}, not the last`;
  throw diagError('model-layer', { layer: layer.name, className: 'BatchNormalization', reason }, { path });
}

/** Which output of the model a task has. @throws model-invalid where there is none with one value a row */
function outputIndex(
  model: Layers.LayersModel,
  { name, output }: LayersObjective['tasks'][number],
  path: string,
): number {
  const { outputNames } = model;
  const place = `the output of task ${name}`;
  const index = output === null && outputNames.length === 1 ? 0 : outputNames.indexOf(output ?? name);
  if (index < 0) throw invalid(place, `one of ${outputNames.join(', ')}`, path);
  const shape = model.outputs[index]!.shape.slice(1);
  if (shape.some((size) => size !== 1)) throw invalid(place, `one value a row, not ${shape.join('×')}`, path);
  return index;
}

/** The layers of a model, those of nested models in their place. */
const allLayers = (model: Layers.LayersModel): Layers.layers.Layer[] =>
  model.layers.flatMap((layer) =>
    'layers' in layer ? allLayers(layer as unknown as Layers.LayersModel) : [layer],
  );

/** An id beyond the table would take whatever lies behind it in memory. */
function refuseOtherIds(layer: Layers.layers.Layer): void {
  const { inputDim } = layer as unknown as { inputDim: number };
  const call = layer.call.bind(layer);
  layer.call = (inputs, kwargs) => {
    const x = Array.isArray(inputs) ? inputs[0]! : inputs;
    const ids = x.dataSync();
    const width = ids.length / x.shape[0]!;
    for (const [i, id] of ids.entries())
      if (!(id >= 0 && id < inputDim))
        throw diagError('batch-id-range', {
          name: layer.name,
          id,
          row: Math.floor(i / width),
          vocabulary: inputDim,
        });
    return call(inputs, kwargs);
  };
}
