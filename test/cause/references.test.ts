/** Which batches of a capture are unlike those before: held against what new batches had, not only those that were trained on. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Batch } from '../../src/differentiate/autodiff/objective.ts';
import { isJumpOfWeights } from '../../src/experiment/cause/jump.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { lookAtReferences } from '../../src/experiment/replay/reference.ts';
import { type Capture, openCapture } from '../../src/read/captures/read.ts';
import { projectRoot } from '../support/shared-data.ts';

/**
 * @param before logged and recorded losses before the incident, times the recorded ones
 * @param low steps whose batches have a loss that is lower by five, as where the sign of a cost is wrong
 */
async function unlikeOf(before: number, low: readonly number[] = []) {
  const opened = await openCapture(join(projectRoot, 'fixtures', 'incident', 'capture'));
  const onset = opened.steps.findIndex(({ step }) => step === 400);
  const capture: Capture = {
    ...opened,
    steps: opened.steps.map((step, i) => (i < onset ? { ...step, loss: step.loss! * before } : step)),
  };
  const model = await openCaptureModel(capture, undefined, {});
  const { objective } = model;
  const lowered = new Set<Batch>();
  try {
    const found = await lookAtReferences({
      capture,
      prepared: await prepareReplay(capture, 'float32'),
      model: {
        ...model,
        objective: {
          ...objective,
          check: (batches) => objective.check(batches),
          loss: async (w, batches) => {
            const found = await objective.loss(w, batches);
            const share = batches.filter((one) => lowered.has(one)).length / batches.length;
            return { ...found, loss: found.loss - 5 * share };
          },
        },
      },
      onset,
      batch: async (index) => {
        const batch = await captureBatch(capture, index);
        if (low.includes(capture.steps[index]!.step)) lowered.add(batch);
        return batch;
      },
    });
    const steps = [...found!.unlike].map((index) => capture.steps[index]!.step);
    return { steps: steps.sort((a, b) => a - b), high: found!.usual![1], found: found! };
  } finally {
    await model.objective.close();
  }
}

it('of the incident the eight that were put in, whatever smaller losses came before', async () => {
  const { steps, high, found } = await unlikeOf(1);
  expect(steps).toEqual([400, 401, 402, 403, 404, 405, 406, 407]);
  expect(high).toBeGreaterThan(0.5);
  expect(high).toBeLessThan(1);
  expect((await unlikeOf(0.5)).steps).toEqual(steps);
  // The loss of the onset jumps, and at weights of five steps before that of its batch is high as well.
  const { jumped } = found;
  expect([jumped!.index - jumped!.at, isJumpOfWeights(found)]).toEqual([5, false]);
  expect(isJumpOfWeights({ jumped: { ...jumped!, loss: jumped!.usual![0] } })).toBe(true);
});

it('batches whose loss is far below the usual are unlike too, and no reference', async () => {
  const low = [412, 413, 414];
  const { steps, found } = await unlikeOf(1, low);
  expect(steps).toEqual([400, 401, 402, 403, 404, 405, 406, 407, ...low]);
  const references = [...found.before, ...found.after].map((index) => 380 + index);
  expect(references.filter((step) => low.includes(step))).toEqual([]);
  expect(Math.min(...found.loss)).toBeGreaterThan(0);
});

it('none where new batches had losses as high before', async () => {
  expect((await unlikeOf(20)).steps).toEqual([]);
});
