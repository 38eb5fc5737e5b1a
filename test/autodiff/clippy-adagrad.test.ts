import type { Scalar } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Backend, loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { ClippyAdagrad, type ClippyAdagradOptions } from '../../src/differentiate/autodiff/clippy-adagrad.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import { DiagError } from '../../src/model/errors.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { chooseRules } from '../../src/step/rules/choice.ts';

let backend: Backend;
let before = 0;
beforeAll(async () => {
  backend = await loadBackend('cpu');
  before = backend.tf.memory().numTensors;
});
afterAll(() => {
  expect(backend.tf.memory().numTensors).toBe(before);
});

/** Inputs, one of them thirtyfold at step 5, and what a linear model with noise would answer. */
const inputs = Array.from({ length: 20 }, (_, step) =>
  Array.from({ length: 12 }, (_, i) => Math.sin(1.7 * i + step) * (step === 5 ? 30 : 1)),
);

const CASES: readonly ClippyAdagradOptions[] = [
  {},
  { variableRelativeThreshold: 0.1, absoluteThreshold: 1e-7, accumulator: 'delayed' },
  { accumulator: 'clipped', accumulatorRelativeThreshold: 0.01, absoluteThreshold: 1e-3 },
];

describe('ClippyAdagrad for tfjs', () => {
  it.each(CASES)('%j: 20 training steps as the replay takes them', async (options) => {
    const { tf } = backend;
    const w = tf.variable(tf.tensor2d([0.5, -0.2, 0.1, 0.3], [4, 1]), true, 'w');
    const b = tf.variable(tf.zeros([1]), true, 'b');
    const optimizer = new ClippyAdagrad(0.5, options);
    const adagrad = chooseOptimizer('adagrad', { epsilon: 1e-7 });
    const rule = chooseRules([{ rule: 'clippy', options: { ...options } }]);
    const stepper = createStepper({ rule, optimizers: [adagrad], precision: 'float32' });
    const meta = { layout: 'none', embedding: false } as const;
    const tensors = [
      freshTensor(
        { ...meta, name: 'w', shape: [4, 1] },
        Float32Array.of(0.5, -0.2, 0.1, 0.3),
        adagrad,
        'float32',
      ),
      freshTensor({ ...meta, name: 'b', shape: [1] }, new Float32Array(1), adagrad, 'float32'),
    ];
    let clipped = 0;
    for (const row of inputs) {
      const x = tf.tensor2d(row, [3, 4]);
      const loss = (): Scalar => tf.mean(tf.square(tf.sub(tf.add(tf.matMul(x, w), b), 1)));
      const { grads, value } = tf.variableGrads(loss);
      const gradients = await Promise.all(
        ['w', 'b'].map(async (name) => ({ values: (await grads[name]!.data()) as Float32Array })),
      );
      const { factors } = stepper.step(tensors, gradients, [0.5]);
      tf.dispose([value, grads]);
      optimizer.minimize(loss);
      x.dispose();
      const found = await optimizer.clippingFactors();
      expect(found.get('w')! / factors[0]!).toBeCloseTo(1, 4);
      expect(found.get('b')! / factors[1]!).toBeCloseTo(1, 4);
      if (factors[0]! < 1) clipped++;
    }
    (await w.data()).forEach((value, i) => {
      expect(value).toBeCloseTo(tensors[0]!.w[i]!, 5);
    });
    expect(clipped).toBeGreaterThan(0);
    optimizer.dispose();
    tf.dispose([w, b]);
  });

  it('trains a layers model, is saved and restored; a step leaks nothing', async () => {
    const { tf, layers } = backend;
    const make = (): InstanceType<typeof layers.LayersModel> => {
      const model = layers.sequential({
        layers: [layers.layers.dense({ units: 1, inputShape: [2], kernelInitializer: 'zeros' })],
      });
      return model;
    };
    const model = make();
    const optimizer = new ClippyAdagrad(0.3);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const x = tf.tensor2d([0, 0, 0, 1, 1, 0, 1, 1], [4, 2]);
    const y = tf.tensor2d([1, 3, 0, 2], [4, 1]);
    const { history } = await model.fit(x, y, { epochs: 200, verbose: 0 });
    expect(history.loss!.at(-1)).toBeLessThan(0.05 * (history.loss![0] as number));
    const count = tf.memory().numTensors;
    await model.fit(x, y, { epochs: 5, verbose: 0 });
    expect(tf.memory().numTensors).toBe(count);
    const weights = await optimizer.getWeights();
    const copy = new ClippyAdagrad(0.3);
    await copy.setWeights(weights.map(({ name, tensor }) => ({ name, tensor: tensor.clone() })));
    expect((await copy.getWeights()).map(({ name }) => name).slice(1)).toEqual(
      weights.slice(1).map(({ name }) => name),
    );
    expect(copy.getConfig()).toEqual(optimizer.getConfig());
    tf.dispose([x, y, ...weights.slice(0, 1).map(({ tensor }) => tensor)]);
    optimizer.dispose();
    copy.dispose();
    model.dispose();
    // Layers keep some tensors of their own: the count of afterAll is that of the tests before.
    before = tf.memory().numTensors;
  });

  it('refuses thresholds below zero', () => {
    for (const options of [{ absoluteThreshold: -1 }, { variableRelativeThreshold: Number.NaN }])
      expect(() => new ClippyAdagrad(0.1, options)).toThrow(DiagError);
  });
});
