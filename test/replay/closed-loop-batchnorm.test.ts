/** The closed loop of a model with BatchNormalization against Keras's own (fixtures/make/batchnorm_capture.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { replayClosedLoop } from '../../src/experiment/replay/closed-loop.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/batchnorm');
const oracle = JSON.parse(readFileSync(join(folder, 'closed-loop.json'), 'utf8')) as {
  steps: number[];
  /** First loss by Keras's running averages. */
  lossByMovingAverages: number;
  movingBefore: number[][];
  rules: { rule: string; loss: number[]; movingAfter: number[][] }[];
};
const relative = (found: number, expected: number): number => Math.abs(found / expected - 1);

it('normalises by the batch as the optimizer saw it, and leaves the running averages as they are', async () => {
  const capture = await openCapture(folder);
  const { tf } = await loadBackend();
  const averages = () =>
    Object.entries(tf.engine().state.registeredVariables).flatMap(([name, variable]) =>
      /norm.*moving_/.test(name) ? [[...variable.dataSync()]] : [],
    );
  const model = await openCaptureModel(capture, undefined, {});
  const before = averages();
  // The mean and the variance of the one layer, six units each.
  expect(before.map((values) => values.length)).toEqual([6, 6]);
  const during: number[][][] = [];
  const { entries, baseline } = await replayClosedLoop({
    capture,
    model,
    rules: oracle.rules.flatMap(({ rule }) => parseRule(rule)),
    steps: oracle.steps.length,
    batch: (index) => captureBatch(capture, index),
    progress: () => void during.push(averages()),
  });
  expect(during.length).toBeGreaterThanOrEqual(2 * oracle.steps.length);
  for (const now of [...during, averages()]) expect(now).toEqual(before);
  await model.objective.close();

  expect(baseline).toMatchObject({ follows: true, departsAt: null });
  expect(baseline.firstSteps).toBeLessThan(1e-4);
  for (const [r, { rule, loss }] of oracle.rules.entries()) {
    expect(entries[r]!.steps).toEqual(oracle.steps);
    for (const [i, expected] of loss.entries())
      expect(relative(entries[r]!.loss![i]!, expected), `${rule} loss ${i}`).toBeLessThan(1e-3);
  }
  // The rule is one that acts, so that its losses are another run's.
  expect(entries[1]!.minClipFactor.every((factor) => factor < 1)).toBe(true);
});

it('is a fixture that tells the statistics of the batch from running averages', () => {
  for (const { loss, movingAfter } of oracle.rules) {
    expect(relative(oracle.lossByMovingAverages, loss[0]!)).toBeGreaterThan(0.05);
    expect(movingAfter).not.toEqual(oracle.movingBefore);
  }
});
