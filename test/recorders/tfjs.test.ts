/** The tfjs recorder, run for real on the cpu backend: what it writes against what the training did. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Tf from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ClippyAdagrad } from '../../src/differentiate/autodiff/clippy-adagrad.ts';
import { clippyRecorder } from '../../src/experiment/recorder/tfjs-recorder.ts';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';
import { readCapture } from './read-capture.ts';

const require = createRequire(import.meta.url);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe('tfjs recorder', () => {
  const out = mkdtempSync(join(tmpdir(), 'clippy-tfjs-'));
  let tf: typeof Tf;
  let layers: typeof Layers;
  beforeAll(async () => {
    tf = require('@tensorflow/tfjs-core') as typeof Tf;
    layers = require('@tensorflow/tfjs-layers') as typeof Layers;
    require('@tensorflow/tfjs-backend-cpu');
    tf.enableProdMode();
    await tf.setBackend('cpu');
  });
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  const net = () => {
    const model = layers.sequential();
    const seeded = (seed: number) => layers.initializers.glorotUniform({ seed });
    model.add(
      layers.layers.dense({ units: 4, inputShape: [3], activation: 'tanh', kernelInitializer: seeded(1) }),
    );
    model.add(layers.layers.dense({ units: 1, kernelInitializer: seeded(2) }));
    return { model, variables: model.trainableWeights.map((weight) => weight.read() as Tf.Variable) };
  };
  const batch = (step: number, jumpAt: number) => ({
    x: tf.randomNormal([8, 3], 0, 1, 'float32', step),
    y: tf.add(tf.randomNormal([8, 1], 0, 0.1, 'float32', step + 1000), step === jumpAt ? 50 : 1),
  });

  it('writes gradients, parameters and accumulators of an incident, and leaks no tensor', () => {
    const { model, variables } = net();
    const optimizer = tf.train.adagrad(0.1);
    const folder = join(out, 'adagrad');
    const recorder = clippyRecorder({
      variables,
      optimizer,
      folder,
      every: 10,
      after: 6,
      framework: `tfjs ${tf.version_core}`,
    });
    const truth = new Map<
      number,
      { loss: number; gradients: Map<string, number[]>; parameters: Map<string, number[]> }
    >();
    for (let step = 0; step < 70; step++) {
      tf.tidy(() => {
        const { x, y } = batch(step, 57);
        const { value, grads } = optimizer.computeGradients(
          () => tf.mean(tf.square(tf.sub(model.apply(x) as Tf.Tensor, y))) as Tf.Scalar,
        );
        truth.set(step, {
          loss: value.dataSync()[0]!,
          gradients: new Map(variables.map(({ name }) => [name, [...grads[name]!.dataSync()]])),
          parameters: new Map(variables.map((variable) => [variable.name, [...variable.dataSync()]])),
        });
        const before = tf.memory().numTensors;
        recorder.record(step, value, grads, { tasks: { only: 1 }, batch: { x, 'label/y': y } });
        expect(tf.memory().numTensors).toBe(before);
        optimizer.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
      });
      if (step === 55) expect(existsSync(folder)).toBe(false);
    }
    const { manifest, initial, steps, extra } = readCapture(folder);
    expect(extra).toEqual([]);
    expect(manifest.framework).toMatch(/^tfjs 4/);
    expect(manifest.optimizer).toEqual({
      name: 'adagrad',
      learningRate: 0.1,
      weightDecay: 0,
      initialAccumulatorValue: expect.closeTo(0.1, 6),
      epsilon: 1e-7,
      epsilonInside: true,
      accumulator: 'standard',
    });
    expect(manifest.parameters.map((p) => [p.shape, p.layout])).toEqual([
      [[3, 4], 'IO'],
      [[4], 'none'],
      [[4, 1], 'IO'],
      [[1], 'none'],
    ]);
    expect(steps.map((s) => s.step)).toEqual(range(40, 63));
    expect(manifest.history.steps).toEqual(range(0, 39));
    for (const step of steps) {
      const { loss, gradients, parameters } = truth.get(step.step)!;
      expect(step.loss).toBe(loss);
      expect(step.tensors.get('batch/x')!.shape).toEqual([8, 3]);
      for (const [name, values] of gradients)
        expect(step.tensors.get(`grad/${name}`)!.values).toEqual(values);
      for (const [name, values] of parameters)
        expect(step.tensors.get(`param/${name}`)?.values).toEqual(
          [50, 60].includes(step.step) ? values : undefined,
        );
    }
    const { name } = variables[0]!;
    const sums = initial.get(`state/accumulator/${name}`)!.values;
    const next = truth.get(41)!.parameters.get(name)!;
    truth
      .get(40)!
      .gradients.get(name)!
      .forEach((g, i) => {
        const w = initial.get(`param/${name}`)!.values[i]!;
        expect(next[i]!).toBeCloseTo(w - (0.1 * g) / Math.sqrt(sums[i]! + g * g + 1e-7), 5);
      });
  });

  it('one that is asked for while a capture is written begins at the step after', async () => {
    const { model, variables } = net();
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
    const folder = join(out, 'twice');
    const recorder = clippyRecorder({ variables, optimizer: model.optimizer, folder, every: 5, after: 3 });
    recorder.attach();
    for (let step = 0; step < 30; step++) {
      const { x, y } = batch(step, -1);
      if (step === 15 || step === 17) recorder.flush();
      await model.trainOnBatch(x, y);
      tf.dispose([x, y]);
    }
    expect(readCapture(folder).steps.at(-1)!.step).toBe(18);
    expect(readCapture(`${folder}-2`).steps.map((s) => s.step)).toEqual(range(19, 22));
  });

  it('records a model that trains itself, once attached', async () => {
    const { model, variables } = net();
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
    const folder = join(out, 'adam');
    const recorder = clippyRecorder({ variables, optimizer: model.optimizer, folder, every: 5, after: 3 });
    recorder.attach();
    for (let step = 0; step < 30; step++) {
      const { x, y } = batch(step, -1);
      if (step === 22) recorder.flush();
      await model.trainOnBatch(x, y);
      tf.dispose([x, y]);
    }
    const { manifest, initial, steps } = readCapture(folder);
    expect(steps.map((s) => s.step)).toEqual(range(15, 25));
    expect(manifest.optimizer).toMatchObject({ name: 'adam', learningRate: 0.01, epsilon: 1e-7 });
    const { name } = variables[3]!;
    expect(initial.get(`state/step/${name}`)!.values).toEqual([15]);
    expect([...initial.keys()].filter((key) => key.endsWith(`/${name}`))).toEqual([
      `param/${name}`,
      `state/m/${name}`,
      `state/v/${name}`,
      `state/step/${name}`,
    ]);
    // Adam's next step from the recorded state lands on the snapshot five steps later.
    let [w] = initial.get(`param/${name}`)!.values as [number];
    let [m] = initial.get(`state/m/${name}`)!.values as [number];
    let [v] = initial.get(`state/v/${name}`)!.values as [number];
    for (const [k, step] of steps.slice(0, 5).entries()) {
      const g = step.tensors.get(`grad/${name}`)!.values[0]!;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      w -= (0.01 * (m / (1 - 0.9 ** (16 + k)))) / (Math.sqrt(v / (1 - 0.999 ** (16 + k))) + 1e-7);
    }
    expect(steps[5]!.tensors.get(`param/${name}`)!.values[0]!).toBeCloseTo(w, 5);
  });

  it('five times the loss on the way down is captured, once', () => {
    const { variables } = net();
    const folder = join(out, 'falling');
    const recorder = clippyRecorder({ variables, optimizer: tf.train.sgd(0.1), folder, every: 10, after: 4 });
    const grads = Object.fromEntries(variables.map((one) => [one.name, tf.zeros(one.shape)]));
    for (let step = 0; step < 100; step++)
      recorder.record(
        step,
        Math.exp((-2 * step) / 100) * (1 + 0.02 * Math.sin(7 * step)) * (step < 60 ? 1 : 5),
        grads,
        { tasks: {}, batch: {} },
      );
    tf.dispose(grads);
    const { flushed } = readCapture(folder).manifest;
    expect(flushed.step).toBe(60);
    expect(flushed.reason).toMatch(/^loss 1\.\d+ after a median of 0\.3\d+$/);
    expect(existsSync(`${folder}-2`)).toBe(false);
  });

  it('records ClippyAdagrad as Adagrad under Clippy, with the batches of a fit, and the replay follows it', async () => {
    const { model, variables } = net();
    const optimizer = new ClippyAdagrad(0.3, { absoluteThreshold: 1e-3 });
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const folder = join(out, 'clippy');
    const recorder = clippyRecorder({ variables, optimizer, folder, every: 5, after: 12 }).attach(model);
    for (let step = 0; step < 30; step++) {
      const { x, y } = batch(step, -1);
      if (step === 12) recorder.flush();
      await model.trainOnBatch(x, y);
      tf.dispose([x, y]);
    }
    expect(recorder.stopped).toBeNull();
    const { manifest, steps } = readCapture(folder);
    expect(manifest.optimizer).toMatchObject({
      name: 'adagrad',
      accumulator: 'standard',
      epsilonInside: true,
    });
    expect(manifest.clipping).toMatchObject({ rule: 'clippy', absoluteThreshold: 1e-3 });
    const [first] = steps;
    expect(first!.tensors.get(`batch/${model.inputNames[0]}`)!.shape).toEqual([8, 3]);
    expect(first!.tensors.get(`batch/label/${model.outputNames[0]}`)!.shape).toEqual([8, 1]);
    const capture = await openCapture(folder);
    const { findings, snapshots, entries } = await replayCapture(capture, {
      mode: 'as-recorded',
      rules: parseRule('clippy:variableRelativeThreshold=0.5,absoluteThreshold=1e-3'),
    });
    expect([findings, snapshots]).toEqual([[], 3]);
    expect(Math.min(...entries[0]!.minClipFactor)).toBeLessThan(0.5);
    optimizer.dispose();
  });

  it('puts files where it is told, without a file system', () => {
    const written = new Map<string, Uint8Array>();
    const files = {
      exists: (folder: string) => [...written.keys()].some((path) => path.startsWith(`${folder}/`)),
      write: (path: string, bytes: Uint8Array) => void written.set(path, bytes),
      rename(from: string, to: string) {
        for (const [path, bytes] of [...written]) {
          written.delete(path);
          written.set(path.startsWith(`${from}/`) ? to + path.slice(from.length) : path, bytes);
        }
      },
    };
    const variable = { name: 'w', shape: [1], dataSync: () => Float32Array.of(1) };
    const optimizer = tf.train.sgd(0.1);
    const recorder = clippyRecorder({
      variables: [variable],
      optimizer,
      folder: 'x',
      every: 2,
      after: 1,
      files,
    });
    recorder.flush();
    for (let step = 0; step < 3; step++) recorder.record(step, 1, { w: variable });
    expect([...written.keys()].sort()).toEqual([
      'x/capture.json',
      'x/initial.safetensors',
      'x/step-00000000.safetensors',
      'x/step-00000001.safetensors',
    ]);
  });

  it.each(['experiment/recorder/tfjs-recorder', 'differentiate/autodiff/clippy-adagrad'])(
    '%s bundles for browsers',
    async (entry) => {
      const { build } = await import('esbuild');
      const { outputFiles, metafile } = await build({
        entryPoints: [join(projectRoot, `src/${entry}.ts`)],
        bundle: true,
        format: 'esm',
        platform: 'browser',
        external: ['@tensorflow/*'],
        write: false,
        metafile: true,
        outdir: out,
      });
      const imports = Object.values(metafile.outputs).flatMap((one) => one.imports.map(({ path }) => path));
      expect(imports.filter((path) => !path.startsWith('@tensorflow/'))).toEqual([]);
      expect(outputFiles[0]!.text).not.toMatch(/from ["']node:|require\(["']node:/);
    },
  );

  it('a variable that a step does not use is recorded without a gradient', () => {
    const [used, unused] = [tf.variable(tf.scalar(1)), tf.variable(tf.scalar(2))];
    const optimizer = tf.train.adam(0.1);
    const folder = join(out, 'unused');
    const recorder = clippyRecorder({ variables: [used, unused], optimizer, folder, every: 2, after: 1 });
    recorder.flush();
    for (let step = 0; step < 3; step++) {
      const { value, grads } = optimizer.computeGradients(() => tf.square(used) as Tf.Scalar);
      recorder.record(step, value, grads);
      optimizer.applyGradients(grads as never);
    }
    expect(recorder.stopped).toBeNull();
    const [first] = readCapture(folder).steps;
    expect(first!.tensors.has(`grad/${used.name}`)).toBe(true);
    expect(first!.tensors.has(`grad/${unused.name}`)).toBe(false);
  });

  it('the programs of docs/tfjs.md run as printed', async () => {
    const page = readFileSync(join(projectRoot, 'docs/tfjs.md'), 'utf8');
    const programs = [...page.matchAll(/```js\n([\s\S]*?)```/g)].map(([, text]) => text!);
    expect(programs).toHaveLength(4);
    const here = process.cwd();
    const AsyncFunction = (async () => {}).constructor as new (...parts: string[]) => typeof run;
    const run = async (_: unknown): Promise<Record<string, unknown>> => ({});
    const [x, y] = [
      tf.randomNormal([64, 3], 0, 1, 'float32', 1),
      tf.randomNormal([64, 1], 0, 1, 'float32', 2),
    ];
    process.chdir(out);
    try {
      for (const program of programs) {
        const { model, variables } = net();
        model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
        const given = {
          tf,
          model,
          variables,
          x,
          y,
          steps: 30,
          optimizer: tf.train.sgd(0.1),
          batchAt: (step: number) => batch(step, 24),
          loss: (a: Tf.Tensor, b: Tf.Tensor) => tf.losses.meanSquaredError(b, model.apply(a) as Tf.Tensor),
          clippyRecorder,
          ClippyAdagrad,
        };
        const text = program.replace(/^import .*;\n/gm, '').replace(/^const variables = .*\n/m, '');
        const names = ['recorder', 'written', 'factors', 'model'];
        const tail = names.map((name) => `${name}: typeof ${name} === 'undefined' ? null : ${name}`);
        const made = await new AsyncFunction(
          `{ ${Object.keys(given).join(', ')} }`,
          `${text}\nreturn { ${tail.join(', ')} };`,
        )(given);
        const recorder = made.recorder as { stopped: string | null } | null;
        if (recorder !== null) expect(recorder.stopped).toBeNull();
        if (made.factors !== null) expect((made.factors as Map<string, number>).size).toBe(4);
        if (made.written !== null) {
          const written = made.written as Map<string, Uint8Array>;
          for (let step = 0; step < 40; step++) await model.trainOnBatch(x, tf.add(y, step === 30 ? 90 : 0));
          expect([...written.keys()]).toContain('run/capture.json');
        }
      }
    } finally {
      process.chdir(here);
    }
    // The loop of its own met an incident at step 24.
    expect(readCapture(join(out, 'loop')).manifest.flushed.step).toBe(24);
  });

  it('takes the weights of a layer as tfjs types them, and refuses a tensor without a name', () => {
    const { model } = net();
    const options = { optimizer: tf.train.sgd(0.1), folder: join(out, 'typed') };
    // As docs/tfjs.md has it: tfjs types what `read()` gives as a tensor.
    const variables = model.trainableWeights.map((weight) => weight.read());
    expect(clippyRecorder({ ...options, variables }).stopped).toBeNull();
    expect(() => clippyRecorder({ ...options, variables: [tf.zeros([1])] })).toThrow('a tensor was given');
  });

  it('refuses an optimizer that cannot be replayed', () => {
    const { variables } = net();
    expect(() =>
      clippyRecorder({ variables, optimizer: tf.train.adamax(0.1), folder: out, every: 5, after: 3 }),
    ).toThrow('Adamax cannot be replayed');
  });
});
