/** A Keras model, as three files, against TensorFlow in float64 (fixtures/curvature/keras_model.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { readBatch } from '../../src/differentiate/autodiff/batches.ts';
import { differentiate } from '../../src/differentiate/autodiff/differentiate.ts';
import { readTopology } from '../../src/differentiate/autodiff/layers-config.ts';
import { layersNetwork, parseLayersObjective } from '../../src/differentiate/autodiff/layers-model.ts';
import { checkLayers } from '../../src/differentiate/autodiff/layers-options.ts';
import type { Batch } from '../../src/differentiate/autodiff/objective.ts';
import { openObjective } from '../../src/differentiate/autodiff/open-objective.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/curvature/keras');
const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as {
  names: string[];
  loss: number;
  gradient: number[];
  hvp: number[];
};

describe.each(['model.keras', 'model.h5', 'keras2.h5'])('%s', (file) => {
  it('loss, gradient and Hessian product with the batch’s statistics and without dropout', async () => {
    const { tf } = await loadBackend();
    const before = tf.memory().numTensors;
    const checkpoint = await openCheckpoint(join(folder, file));
    const sources = checkpoint.tensors.filter(({ role }) => role === 'parameter');
    const { objective, flatten } = await openObjective(
      join(folder, `objective-${file.replace('.', '-')}.json`),
      sources,
      file,
    );
    const w = flatten(
      await Promise.all(sources.map(async ({ name }) => (await checkpoint.read(name)) as Float32Array)),
    );
    await checkpoint.close();
    const batch = await readBatch(join(folder, 'batch.npz'), objective.inputs, new Map());
    await objective.check([batch]);
    const directions = await openCheckpoint(join(folder, 'v.npz'));
    const v = new Float32Array(objective.size);
    for (const { name, offset } of objective.tensors)
      v.set((await directions.read(name.replace('/', '.'))) as Float32Array, offset);
    await directions.close();

    // The oracle's order of the tensors is its own.
    const inOrder = (values: Float32Array): number[] =>
      expected.names.flatMap((name) => {
        const { offset, size } = objective.tensors.find((t) => t.name === name)!;
        return [...values.subarray(offset, offset + size)];
      });
    const error = (found: Float32Array, right: readonly number[]): number => {
      const ordered = inOrder(found);
      expect(ordered).toHaveLength(right.length);
      const largest = Math.max(...right.map(Math.abs));
      return Math.max(...ordered.map((x, i) => Math.abs(x - right[i]!))) / largest;
    };
    const { loss, gradient } = await objective.gradient(w, [batch]);
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-5);
    expect(error(gradient, expected.gradient)).toBeLessThan(1e-4);
    const hv = await objective.hvp(w, v, [batch]);
    expect(error(hv, expected.hvp)).toBeLessThan(1e-4);
    // Dropout would draw anew.
    expect(await objective.hvp(w, v, [batch])).toEqual(hv);
    expect((await objective.gradient(w, [batch])).loss).toBe(loss);
    await objective.close();
    expect(tf.memory().numTensors).toBe(before);
  });
});

it('BatchNormalization: the statistics of the batch, and running averages that stay as they are', async () => {
  const backend = await loadBackend();
  const { tf } = backend;
  const network = await layersNetwork(
    backend,
    {
      class_name: 'Sequential',
      config: {
        name: 'bn',
        layers: [
          {
            class_name: 'BatchNormalization',
            config: { name: 'norm', batch_input_shape: [null, 1], epsilon: 0.25, momentum: 0.5 },
          },
        ],
      },
    } as never,
    parseLayersObjective(
      { version: 1, model: 'm', tasks: [{ name: 'y', loss: 'mean-squared-error' }] },
      'objective.json',
    ),
    'm',
  );
  const [x] = network.inputs;
  const objective = differentiate(backend, network);
  const batch = (...values: number[]): Batch =>
    new Map([
      [x!.name, { shape: [values.length, 1], data: Float32Array.from(values) }],
      ['label/y', { shape: [values.length], data: new Float32Array(values.length) }],
    ]);
  // γ = 2, β = 3: the mean of (2(x − μ)/√(σ² + ε) + 3)² is 4σ²/(σ² + ε) + 9.
  const w = new Float32Array(2);
  for (const { name, offset } of objective.tensors) w[offset] = name.endsWith('gamma') ? 2 : 3;
  const first = (await objective.gradient(w, [batch(-1, 1)])).loss;
  expect(first).toBeCloseTo(4 / 1.25 + 9, 5);
  // Another batch in between moves nothing: were running averages written or used, these would differ.
  expect((await objective.gradient(w, [batch(90, 100, 140)])).loss).not.toBeCloseTo(first, 3);
  await objective.hvp(w, w, [batch(-7, 5)]);
  expect((await objective.gradient(w, [batch(-1, 1)])).loss).toBe(first);
  const averages = tf.engine().state.registeredVariables;
  const moving = Object.entries(averages).filter(([name]) => /norm.*moving_/.test(name));
  expect(moving.map(([, variable]) => [...variable.dataSync()])).toEqual([[0], [1]]);
  await objective.close();
});

it('refuses a Lambda and a layer that it cannot build, by name', async () => {
  const backend = await loadBackend();
  const objective = parseLayersObjective(
    { version: 1, model: 'm', tasks: [{ name: 'y', loss: 'mean-squared-error' }] },
    'objective.json',
  );
  const topology = (className: string) => ({
    class_name: 'Sequential',
    config: {
      name: 's',
      layers: [
        { class_name: 'Dense', config: { name: 'first', units: 2, batch_input_shape: [null, 3] } },
        { class_name: className, config: { name: 'odd' } },
      ],
    },
  });
  for (const className of ['Lambda', 'MultiHeadAttention'])
    await expect(layersNetwork(backend, topology(className), objective, 'm')).rejects.toMatchObject({
      code: 'model-layer',
      message: expect.stringContaining(`"odd" of class ${className}`) as string,
    });
  await expect(
    layersNetwork(
      backend,
      await readTopology(join(projectRoot, 'fixtures/checkpoints/keras3/lambda.keras')),
      objective,
      'm',
    ),
  ).rejects.toMatchObject({ code: 'model-layer' });
});

it('builds the model of a tfjs model.json', async () => {
  const path = join(projectRoot, 'fixtures/checkpoints/tfjs/layers/model.json');
  const backend = await loadBackend();
  const { tf } = backend;
  const before = tf.memory().numTensors;
  const topology = await readTopology(path);
  const objective = parseLayersObjective(
    { version: 1, model: 'm', tasks: [{ name: 'y', loss: 'mean-squared-error' }] },
    'objective.json',
  );
  const network = await layersNetwork(backend, topology, objective, path);
  const checkpoint = await openCheckpoint(path);
  for (const { name, shape } of network.tensors)
    expect(checkpoint.tensors.find((t) => t.name === name)?.shape).toEqual(shape);
  expect(network.tensors.length).toBeGreaterThan(1);
  await checkpoint.close();
  network.dispose!();
  expect(tf.memory().numTensors).toBe(before);
});

const dense = (config: object) => ({ class_name: 'Dense', config: { name: 'dense', units: 1, ...config } });
const sequential = (...layers: object[]) => ({
  class_name: 'Sequential',
  config: { name: 'model', layers },
});
const squares = (more: object = {}) =>
  parseLayersObjective(
    { version: 1, model: 'm', tasks: [{ name: 'y', loss: 'mean-squared-error' }], ...more },
    'objective.json',
  );

it('an id beyond the table of an embedding is refused, and no tensor is left behind', async () => {
  const backend = await loadBackend();
  const embedding = { name: 'table', input_dim: 3, output_dim: 2, batch_input_shape: [null, 2] };
  const flat = { class_name: 'Flatten', config: { name: 'flat' } };
  const topology = sequential({ class_name: 'Embedding', config: embedding }, flat, dense({}));
  const network = await layersNetwork(backend, topology, squares(), 'm');
  const objective = differentiate(backend, network);
  const batch = (...ids: number[]): Batch =>
    new Map([
      [network.inputs[0]!.name, { shape: [2, 2], data: Int32Array.from(ids) }],
      ['label/y', { shape: [2], data: new Float32Array(2) }],
    ]);
  const w = new Float32Array(objective.size).fill(1);
  expect((await objective.gradient(w, [batch(0, 1, 2, 0)])).loss).toBe(25);
  const before = backend.tf.memory().numTensors;
  for (const id of [3, -1])
    await expect(objective.hvp(w, w, [batch(0, 1, 2, id)])).rejects.toMatchObject({
      code: 'batch-id-range',
      message: `"table" of the batch has the id ${id} in row 1, the vocabulary has 3`,
    });
  expect(backend.tf.memory().numTensors).toBe(before);
  await objective.close();
});

it('regularizers are refused unless the objective leaves them out; more than one value a row is refused', async () => {
  const backend = await loadBackend();
  const l2 = { class_name: 'L2', config: { l2: 0.1 } };
  const topology = sequential(dense({ batch_input_shape: [null, 2], kernel_regularizer: l2 }));
  await expect(layersNetwork(backend, topology, squares(), 'm')).rejects.toMatchObject({
    code: 'model-layer',
    message: expect.stringMatching(/"dense" of class Dense .* its kernel_regularizer is/),
  });
  const left = await layersNetwork(backend, topology, squares({ regularizers: 'left-out' }), 'm');
  expect(left.notes).toEqual(['penalties of regularizers are left out']);
  left.dispose!();
  const wide = sequential(dense({ batch_input_shape: [null, 2], units: 3 }));
  await expect(layersNetwork(backend, wide, squares(), 'm')).rejects.toThrow(/one value a row, not 3/);
});

it('weights without a model, and an objective that is none', async () => {
  await expect(
    readTopology(join(projectRoot, 'fixtures/checkpoints/keras2/weights-keras2.h5')),
  ).rejects.toMatchObject({ code: 'model-invalid' });
  expect(() =>
    parseLayersObjective({ version: 1, model: 'm', tasks: [{ name: 'y', loss: 'no' }] }, 'o'),
  ).toThrow(/tasks\[0\].loss must be one of/);
});

it.each([
  [{ tasks: [null] }, /tasks\[0\] must be an object/],
  [
    { tasks: [{ name: 'y', loss: 'poisson', wieght: 5 }] },
    /"wieght" in tasks\[0\] must be one of the fields/,
  ],
  [{ task: [] }, /"task" in the objective/],
  [{ tasks: [0, 0].map(() => ({ name: 'y', loss: 'poisson' })) }, /distinct/],
  [{ inputs: 'text', tasks: [{ name: 'y', loss: 'poisson' }] }, /inputs must be an object/],
])('an objective with a slip is refused: %j', (fields, message) => {
  expect(() => parseLayersObjective({ kind: 'layers', version: 1, model: 'm', ...fields }, 'o')).toThrow(
    message,
  );
});

it('an input that the model has not is refused', async () => {
  const topology = sequential(dense({ batch_input_shape: [null, 2] }));
  await expect(
    layersNetwork(await loadBackend(), topology, squares({ inputs: { nope: 'x' } }), 'm'),
  ).rejects.toMatchObject({ code: 'model-invalid', message: expect.stringContaining('"nope" in inputs') });
});

it.each([
  [
    'a circle',
    [
      ['a', 'b'],
      ['b', 'a'],
    ],
    'a',
  ],
  ['itself', [['a', 'a']], 'a'],
  ['what is not there', [['a', 'other']], 'a'],
  [
    'a name that stands twice',
    [
      ['a', 'x'],
      ['a', 'x'],
    ],
    undefined,
  ],
])('layers that hang on %s are refused at once', (_what, edges, stuck) => {
  const layer = (name: string, from: string) => ({
    class_name: 'Dense',
    name,
    config: { name, units: 1 },
    inbound_nodes: [[[from, 0, 0, {}]]],
  });
  const input = {
    class_name: 'InputLayer',
    name: 'x',
    config: { name: 'x', batch_input_shape: [null, 1] },
    inbound_nodes: [],
  };
  const layers = [input, ...edges.map(([name, from]) => layer(name!, from!))];
  expect(() => checkLayers({ class_name: 'Model', config: { name: 'm', layers } }, false, 'm')).toThrow(
    stuck === undefined ? 'the same name' : `nothing leads to its layer "${stuck}"`,
  );
});
