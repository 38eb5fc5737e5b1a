/** The ledger of the tfjs recorder, on the cpu backend: what it holds, and that `compare` and `who` read it. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as Tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { batchAt } from '../../src/app/engine/batch-at.ts';
import { comparePaths } from '../../src/app/engine/compare-inputs.ts';
import { type CaptureFiles, clippyRecorder } from '../../src/experiment/recorder/tfjs-recorder.ts';
import { type Ledger, openLedger } from '../../src/read/ledger/read.ts';
import { checksum, sketch } from '../../src/step/tensor/sketch.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const require = createRequire(import.meta.url);
const scratch = scratchFolders('tfjs-ledger');

describe('the ledger of tfjs', () => {
  let tf: typeof Tf;
  beforeAll(async () => {
    tf = require('@tensorflow/tfjs-core') as typeof Tf;
    require('@tensorflow/tfjs-layers'); // registers gradients
    require('@tensorflow/tfjs-backend-cpu');
    tf.enableProdMode();
    await tf.setBackend('cpu');
  });

  interface Fault {
    readonly steps?: number;
    /** Changes a step before it is recorded. */
    at?(step: number, x: Tf.Tensor2D, optimizer: Tf.Optimizer, weights: Tf.Variable): Tf.Tensor2D;
    readonly options?: object;
  }

  /** Trains a linear map; returns the folder of the run and what its weights were after each step. */
  const train = (folder: string, { steps = 12, at = (_, x) => x, options = {} }: Fault = {}) => {
    tf.disposeVariables();
    const weights = tf.variable(tf.randomNormal([4, 2], 0, 1, 'float32', 7), true, 'w');
    const bias = tf.variable(tf.zeros([2]), true, 'b');
    const optimizer = tf.train.adam(0.05);
    const recorder = clippyRecorder({
      variables: [weights, bias],
      optimizer,
      folder: join(folder, 'capture'),
      ledger: true,
      ...options,
    });
    const after: Float32Array[] = [];
    for (let step = 0; step < steps; step++)
      tf.tidy(() => {
        const x = at(step, tf.randomNormal([8, 4], 0, 1, 'float32', step + 1), optimizer, weights);
        const loss = () =>
          tf.mean(tf.square(tf.sub(tf.add(tf.matMul(x, weights as never), bias), 1))) as Tf.Scalar;
        const { value, grads } = optimizer.computeGradients(loss, [weights, bias]);
        const ids = step % 2 === 0 ? [8 * step, 8 * step + 3] : `shard-${step}`;
        recorder.record(step, value, grads, { batch: { x }, batchId: ids });
        optimizer.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
        after.push(weights.dataSync<'float32'>().slice());
      });
    return after;
  };
  const open = (folder: string): Promise<Ledger> => openLedger(join(folder, 'ledger'));

  it('has a line of every step, and sketches from before it and of what it did', async () => {
    const folder = scratch();
    const after = train(folder);
    const ledger = await open(folder);
    expect([...ledger.steps.keys()]).toEqual(Array.from({ length: 12 }, (_, k) => k));
    expect(ledger.lost).toBe(0);
    expect(new Set([...ledger.steps.values()].map(({ batch }) => batch)).size).toBe(12);
    expect(ledger.sessions[0]!.tensors).toEqual([
      { name: 'w', shape: [4, 2], dtype: 'float32' },
      { name: 'b', shape: [2], dtype: 'float32' },
    ]);
    for (let step = 0; step < 11; step++) {
      const tensors = (await ledger.tensors(step))!;
      expect([...tensors.keys()].sort()).toEqual([
        'gradient',
        'state',
        'stateNext',
        'weights',
        'weightsNext',
      ]);
      expect(tensors.get('weightsNext')![0]).toEqual({
        sketch: sketch(after[step]!, 'w'),
        checksum: checksum(after[step]!),
      });
      expect(tensors.get('state')![0]!.checksum).not.toBe(tensors.get('stateNext')![0]!.checksum);
      expect(tensors.get('gradient')![0]!.sketch.some((sum) => sum !== 0)).toBe(true);
    }
    expect([...(await ledger.tensors(11))!.keys()].sort()).toEqual(['gradient', 'state', 'weights']);
  });

  it('is that of the same training, to the bit, and compare names what differs first', async () => {
    const runs = Object.fromEntries(
      ['a', 'b', 'batch', 'rate', 'weights'].map((name) => [name, scratch()]),
    ) as Record<'a' | 'b' | 'batch' | 'rate' | 'weights', string>;
    train(runs.a);
    train(runs.b);
    train(runs.batch, { at: (step, x) => (step === 5 ? tf.add(x, 0.01) : x) });
    train(runs.rate, {
      at: (step, x, optimizer) => {
        if (step === 6) (optimizer as unknown as { learningRate: number }).learningRate = 0.06;
        return x;
      },
    });
    train(runs.weights, {
      at: (step, x, _, weights) => {
        if (step === 7) weights.assign(tf.mul(weights, 1.01));
        return x;
      },
    });
    const compare = (other: string) => comparePaths({ a: [runs.a], b: [other] }, {});
    expect(await compare(runs.b)).toMatchObject({ verdict: 'same', differsAt: null });
    expect(await compare(runs.batch)).toMatchObject({
      verdict: 'apart',
      differsAt: { step: 5, link: 'batch' },
    });
    expect(await compare(runs.rate)).toMatchObject({
      verdict: 'apart',
      differsAt: { step: 6, link: 'options', tensor: '0.learningRate' },
    });
    // A loop does not say when it has stepped: what was written between is part of what step 6 did.
    expect(await compare(runs.weights)).toMatchObject({
      verdict: 'apart',
      differsAt: { step: 6, link: 'update', tensor: 'w' },
    });
  });

  it('is asked by who for the rows of a step', async () => {
    const folder = scratch();
    train(folder);
    expect(await batchAt(folder, 4)).toMatchObject({ recorded: true, ids: [32, 35] });
    expect(await batchAt(folder, 5)).toMatchObject({ recorded: true, ids: ['shard-5'] });
  });

  it('keeps tensors of the first steps and of every N-th', async () => {
    const folder = scratch();
    train(folder, { steps: 40, options: { ledgerEvery: 16 } });
    const ledger = await open(folder);
    expect(ledger.taken).toEqual([0, 1, 2, 3, 16, 32]);
    expect([...(await ledger.tensors(16))!.keys()]).toContain('weightsNext');
    expect(ledger.steps.size).toBe(40);
  });

  it('goes on after half a line that a killed process left', async () => {
    const folder = scratch();
    train(folder, { steps: 5 });
    appendFileSync(join(folder, 'ledger', 'steps.jsonl'), '{"step":5,"lo');
    train(folder, { steps: 7 });
    const ledger = await open(folder);
    expect([ledger.sessions.length, ledger.steps.size, ledger.lost]).toEqual([2, 7, 1]);
    expect(ledger.steps.get(6)!.session.id).toBe(ledger.sessions[1]!.id);
    expect(await ledger.tensors(6)).toBeDefined();
  });

  it('is whole after kill -9', async () => {
    const folder = scratch();
    const program = `
      import { createRequire } from 'node:module';
      import { clippyRecorder } from ${JSON.stringify(join(projectRoot, 'src/experiment/recorder/tfjs-recorder.ts'))};
      const require = createRequire(${JSON.stringify(join(projectRoot, 'package.json'))});
      const tf = require('@tensorflow/tfjs-core');
      require('@tensorflow/tfjs-layers');
      require('@tensorflow/tfjs-backend-cpu');
      await tf.setBackend('cpu');
      const w = tf.variable(tf.ones([3, 1]), true, 'w');
      const optimizer = tf.train.sgd(0.1);
      const recorder = clippyRecorder({ variables: [w], optimizer, folder: ${JSON.stringify(join(folder, 'capture'))}, ledger: true });
      for (let step = 0; ; step++) {
        const x = tf.randomNormal([4, 3], 0, 1, 'float32', step + 1);
        const { value, grads } = optimizer.computeGradients(() => tf.mean(tf.square(tf.matMul(x, w))));
        recorder.record(step, value, grads, { batch: { x } });
        optimizer.applyGradients(grads);
        if (step === 20) process.kill(process.pid, 'SIGKILL');
      }`;
    const done = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      cwd: projectRoot,
      encoding: 'utf8',
    });
    expect(done.signal, done.stderr).toBe('SIGKILL');
    const ledger = await open(folder);
    expect([ledger.steps.size, ledger.lost, ledger.taken.length]).toEqual([21, 0, 21]);
    expect([...(await ledger.tensors(20))!.keys()]).toContain('weights');
  });

  it('keeps the first and the last thousand steps, and every tenth between', async () => {
    const folder = scratch();
    train(folder, { steps: 2600 });
    const { taken } = await open(folder);
    const kept = new Set(taken);
    expect(Array.from({ length: 1000 }, (_, k) => k).every((step) => kept.has(step))).toBe(true);
    expect(Array.from({ length: 1000 }, (_, k) => 1600 + k).every((step) => kept.has(step))).toBe(true);
    const between = taken.filter((step) => step >= 1000 && step < 1500);
    expect(between.length).toBe(50);
    expect(between.every((step) => step % 10 === 0)).toBe(true);
    expect(readdirSync(join(folder, 'ledger', 'tensors')).length).toBeLessThan(70);
  });

  it('is kept unasked from 100,000 parameters on, where files can be added to', () => {
    const step = (variables: readonly Tf.Variable[], options: object): string => {
      const folder = scratch();
      const optimizer = tf.train.adam(0.05);
      const recorder = clippyRecorder({
        ...{ variables, optimizer, folder: join(folder, 'capture') },
        ...options,
      } as never);
      recorder.record(0, 1, Object.fromEntries(variables.map((one) => [one.name, tf.onesLike(one)])));
      return join(folder, 'ledger');
    };
    const large = [tf.variable(tf.zeros([400, 250]))];
    const small = [tf.variable(tf.zeros([400, 249]))];
    const whole = { exists: () => false, write: () => {}, rename: () => {} } satisfies CaptureFiles;
    expect(existsSync(step(large, {}))).toBe(true);
    expect(existsSync(step(large, { ledger: false }))).toBe(false);
    expect(existsSync(step(large, { files: whole }))).toBe(false);
    expect(existsSync(step(small, {}))).toBe(false);
    expect(existsSync(step(small, { ledger: true }))).toBe(true);
  });

  it('fails at the start for a wrong option, and later never', () => {
    const folder = scratch();
    const files = { exists: () => false, write: () => {}, rename: () => {} } satisfies CaptureFiles;
    expect(() => train(folder, { options: { files } })).toThrow('append');
    expect(() => train(folder, { options: { ledgerEvery: 0 } })).toThrow('from 1 on');
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const failing = {
      ...files,
      append: () => {
        throw new Error('disk full');
      },
      remove: () => {},
    };
    expect(train(folder, { options: { files: failing } }).length).toBe(12);
    expect(warned).toHaveBeenCalledExactlyOnceWith(
      'clippy-recorder: the ledger stopped, training goes on: disk full',
    );
    warned.mockRestore();
    expect(existsSync(join(folder, 'ledger'))).toBe(false);
    expect(readFileSync(join(projectRoot, 'src/experiment/recorder/tfjs-ledger.ts'), 'utf8')).not.toContain(
      "'node:",
    );
  });
});
