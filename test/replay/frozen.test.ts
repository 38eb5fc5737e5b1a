/** A closed loop where a layer is frozen at first: it takes no part in the steps at which the record has no gradient of it. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { trainRuns } from '../../src/experiment/replay/closed-loop.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

const COUNT = 8;
const UNTIL = 4;
const source = join(projectRoot, 'fixtures/incident/capture');

/** Losses of a training in which the first two tensors are frozen up to a step. */
async function byHand(): Promise<number[]> {
  const capture = await openCapture(source);
  const model = await openCaptureModel(capture, undefined, {});
  const { setup, tensors } = await prepareReplay(capture, 'float32');
  const [rule] = parseRule('none');
  const stepper = createStepper({ rule: rule!, optimizers: setup.optimizers, precision: 'float32' });
  const losses: number[] = [];
  for (let i = 0; i < COUNT; i++) {
    const flat = model.flatten(tensors.map(({ w }) => w));
    const { loss, gradient } = await model.objective.gradient(flat, [await captureBatch(capture, i)]);
    const values = tensors.map(({ w }) => new Float32Array(w.length));
    model.unflatten(gradient, values);
    const gradients = values.map((own, t) =>
      i < UNTIL && t < 2 ? ({ values: own, absent: true } as const) : { values: own },
    );
    stepper.step(tensors, gradients, capture.steps[i]!.learningRates);
    losses.push(loss);
  }
  return losses;
}

async function closedLoop(frozen: boolean) {
  const whole = await openCapture(source);
  const names = whole.manifest.parameters.map(({ name }) => name);
  const trained = async (i: number) => new Set(frozen && i < UNTIL ? names.slice(2) : names);
  const capture = { ...whole, trained };
  const model = await openCaptureModel(capture, undefined, {});
  const batch = (index: number) => captureBatch(capture, index);
  const { baseline } = await trainRuns({ capture, model, batch, steps: COUNT }, []);
  return baseline.loss;
}

it('trains on as the layer was, frozen and then not', async () => {
  const expected = await byHand();
  expect(await closedLoop(true)).toEqual(expected);
  expect(await closedLoop(false)).not.toEqual(expected);
});

it('a capture says of each step which parameters had a gradient', async () => {
  const capture = await openCapture(source);
  expect([...(await capture.trained!(0))!]).toEqual(capture.manifest.parameters.map(({ name }) => name));
});
