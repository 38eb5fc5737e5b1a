/** A replay gives the same numbers with and without other threads, to the bit. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { follow } from '../../src/experiment/replay/follow.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { type Capture, openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import { PART } from '../../src/step/threads/in-parts.ts';
import { openThreads } from '../../src/step/threads/pool.ts';
import { workerFile } from '../../src/step/threads/start-thread.ts';

/** Around the length that is spread, and of no whole number of fours. */
const LAYERS = [
  [[5, PART], 'IO'],
  [[3 * PART + 1], 'none'],
  [[1001, 301], 'OI'],
  [[17], 'none'],
] as const;
const SHAPES = LAYERS.map(([shape]): readonly number[] => shape);
const parameters = LAYERS.map(([shape, layout], k) => ({
  name: `layer${k}`,
  shape: [...shape],
  layout,
  embedding: false,
}));
const wave = (k: number, seed: number, size: number): Float32Array =>
  Float32Array.from(
    { length: SHAPES[k]!.reduce((n, side) => n * side, 1) },
    (_, i) => size * Math.sin(12.9898 * (i + 1) + 78.233 * (seed + 10 * k)),
  );
const RULES_OF_ALL = [...Object.keys(RULES), 'value:0.05', 'global-norm:0.1+clippy', 'clippy:tfrs'].flatMap(
  parseRule,
);

describe.each(['adagrad', 'adamw'])('%s', (name) => {
  const rules = RULES_OF_ALL.filter((rule) => {
    try {
      return createStepper({ rule, optimizers: [chooseOptimizer(name, {})], precision: 'float32' });
    } catch {
      return false;
    }
  });
  const folder = mkdtempSync(join(tmpdir(), 'replay-threads-'));
  let capture: Capture;
  beforeAll(async () => {
    const options = name === 'adagrad' ? { epsilon: 1e-7 } : { weightDecay: 0.01 };
    const values = (seed: number, size: number) => parameters.map((_, k) => wave(k, seed, size));
    const state = name === 'adagrad' ? values(2, 0.1).map((x) => ({ accumulator: x.map(Math.abs) })) : [];
    const writer = await createCapture(
      folder,
      { framework: 'test', optimizer: { name, ...options }, parameters },
      values(1, 0.05),
      state,
    );
    for (let step = 0; step < 4; step++) {
      const gradients = values(3 + step, 0.2);
      // In the last step one that is infinite, after which nothing is finite.
      if (step === 3) gradients[0]![PART + 7] = Number.POSITIVE_INFINITY;
      await writer.step({
        step,
        learningRate: 0.05,
        loss: 1,
        gradients: gradients.map((one) => ({ values: one })),
      });
    }
    await writer.finish();
    capture = await openCapture(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const withThreads = async <T>(count: number, use: () => Promise<T>): Promise<T> => {
    const threads = openThreads(workerFile('experiment/replay/parts.worker'), count - 1);
    await threads.ready();
    try {
      return await use();
    } finally {
      await threads.close();
    }
  };

  it.each(['as-recorded', 'open-loop'] as const)('%s, under all rules', async (mode) => {
    const one = await replayCapture(capture, { mode, rules, threads: 1 });
    for (const threads of [2, 3]) {
      const found = await withThreads(threads, () => replayCapture(capture, { mode, rules, threads }));
      expect(found).toEqual(one);
    }
    expect(one.entries.length).toBeGreaterThan(8);
  });

  it('the parameters and the state of the run', async () => {
    const run = async () => {
      const prepared = await prepareReplay(capture, 'float32');
      await follow(capture, prepared, { precision: 'float32', inPlace: true, visit: () => {} });
      return prepared.tensors.flatMap(({ w, slots }) =>
        [w, ...Object.values(slots)].map((x) => Buffer.from(x.slice().buffer).toString('base64')),
      );
    };
    const one = await run();
    for (const threads of [2, 3])
      expect((await withThreads(threads, run)).map((x, k) => x === one[k])).toEqual(one.map(() => true));
  });
});
