/** The net of a study against the objective of tfjs: two routes, one loss and one gradient. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { differentiate } from '../../src/differentiate/autodiff/differentiate.ts';
import type { BatchTensor } from '../../src/differentiate/autodiff/objective.ts';
import { parseRanking, rankingNetwork } from '../../src/differentiate/autodiff/ranking.ts';
import { randomVectors } from '../../src/differentiate/curvature/random.ts';
import { type Rows, studyNet } from '../../src/experiment/study/network.ts';

const width = fc.integer({ min: 1, max: 9 });
const features = fc.array(
  fc.oneof(
    fc.record({ type: fc.constant('dense'), size: width }),
    fc.record({ type: fc.constant('categorical'), vocabulary: width, dim: width }),
  ),
  { minLength: 1, maxLength: 3 },
);
const activation = fc.constantFrom(
  'relu',
  'elu',
  'selu',
  'sigmoid',
  'tanh',
  'softplus',
  'swish',
  'gelu',
  'linear',
);
const shared = fc.oneof(
  fc.record({
    type: fc.constant('shared-bottom'),
    units: fc.array(width, { maxLength: 2 }),
    activation,
    layerNorm: fc.boolean(),
    // Small ones make a derivative of LayerNorm that float32 has few digits of.
    epsilon: fc.constant(0.1),
  }),
  fc.record({
    type: fc.constant('mmoe'),
    experts: fc.integer({ min: 1, max: 3 }),
    units: fc.array(width, { minLength: 1, maxLength: 2 }),
    activation,
  }),
);
const tasks = fc.array(
  fc.record({
    units: fc.array(width, { maxLength: 1 }),
    loss: fc.constantFrom('sigmoid-cross-entropy', 'mean-squared-error', 'poisson'),
    weight: fc.constantFrom(1, 0.5),
  }),
  { minLength: 1, maxLength: 3 },
);
const document = fc
  .record({ features, shared, tasks, crossLayers: fc.integer({ min: 0, max: 2 }) })
  .map(({ crossLayers, ...spec }) => ({
    kind: 'ranking',
    version: 1,
    features: spec.features.map((one, i) => ({ ...one, name: `f${i}` })),
    shared: spec.shared,
    tasks: spec.tasks.map((one, i) => ({ ...one, name: `t${i}` })),
    ...(crossLayers === 0 ? {} : { cross: { type: 'dcn-v2', layers: crossLayers } }),
  }));

it('loss and gradient are those of tfjs', async () => {
  const backend = await loadBackend('wasm');
  const net = fc.tuple(document, fc.integer({ min: 1, max: 13 }), fc.integer());
  await fc.assert(
    fc.asyncProperty(net, async ([spec, count, seed]) => {
      const parsed = parseRanking(spec, 'model.json');
      const random = randomVectors(seed);
      const objective = differentiate(backend, rankingNetwork(backend.tf, parsed));
      const w = Float32Array.from(random.gaussian(objective.size), (x) => 0.4 * x);
      const batch: Rows = {
        count,
        features: parsed.features.map((feature) =>
          feature.type === 'dense'
            ? Float32Array.from(random.gaussian(count * feature.size))
            : Int32Array.from(random.gaussian(count), (x) =>
                Math.min(feature.vocabulary - 1, Math.floor(Math.abs(4 * x))),
              ),
        ),
        labels: parsed.tasks.map(() => Float32Array.from(random.signs(count), (x) => (x + 1) / 2)),
      };
      const own = studyNet(parsed, 16, 0);
      for (const [i, tensor] of objective.tensors.entries())
        own.parameters[i]!.set(w.subarray(tensor.offset, tensor.offset + tensor.size));
      own.load();
      const losses = own.gradient(batch);
      const expected = await objective.gradient(w, [
        new Map<string, BatchTensor>([
          ...parsed.features.map((feature, i): [string, BatchTensor] => [
            feature.name,
            { shape: feature.type === 'dense' ? [count, feature.size] : [count], data: batch.features[i]! },
          ]),
          ...parsed.tasks.map((task, i): [string, BatchTensor] => [
            `label/${task.name}`,
            { shape: [count], data: batch.labels[i]! },
          ]),
        ]),
      ]);
      const close = (a: number, b: number, scale: number): boolean =>
        Object.is(a, b) || Math.abs(a - b) <= 2e-4 * (1 + scale);
      for (const [t, loss] of losses.entries())
        expect(close(loss, expected.taskLosses[t]!, Math.abs(loss)), `loss ${t}`).toBe(true);
      const largest = expected.gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      for (const [i, { name, offset, size }] of objective.tensors.entries())
        for (let j = 0; j < size; j++)
          expect(
            close(own.gradients[i]![j]!, expected.gradient[offset + j]!, largest),
            `${name}[${j}]: ${own.gradients[i]![j]} for ${expected.gradient[offset + j]}`,
          ).toBe(true);
    }),
    { numRuns: Number(process.env.CLIPPY_DIAG_FUZZ ?? 25), seed: 18 },
  );
});
