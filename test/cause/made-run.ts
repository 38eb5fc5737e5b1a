/** Runs of which the truth is known because they are made: the incident's own net and batches, trained with one thing changed. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import type { Options } from '../../src/model/options.ts';
import { type Capture, openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

const source = join(projectRoot, 'fixtures/incident/capture');
/** Positions of the surge in the recorded incident. */
export const SURGE = [20, 21, 22, 23, 24, 25, 26, 27];
export const CLEAN = Array.from({ length: 56 }, (_, i) => i).filter((i) => !SURGE.includes(i));

export interface Made {
  /** Which recorded batch each step takes. */
  readonly batches: readonly number[];
  rate?(step: number): number;
  readonly rule?: string;
  /** The step whose gradient overflows, as one in half precision does. */
  readonly overflowAt?: number;
  /** The step before which the accumulators begin anew, unseen by the recorder. */
  readonly resetAt?: number;
  /** Before a step all weights are multiplied, unseen by the recorder, as where others are loaded. */
  readonly weights?: { readonly at: number; readonly times: number };
  /** Whether the capture goes without the optimizer's state at the beginning. */
  readonly withoutState?: boolean;
  /** Another optimizer than the incident's Adagrad, without a past. */
  readonly optimizer?: { readonly name: string; readonly learningRate: number; readonly options: Options };
  /** What the weights of the beginning are multiplied by: small ones are of a net that has learnt nothing. */
  readonly scale?: number;
  /** Recorded batch whose features or labels, by the name of their tensor, are multiplied. */
  readonly spoilt?: { readonly batch: number; readonly tensor: string; readonly times: number };
  /** Rows of recorded batches, by the batch, whose features or labels are multiplied. */
  readonly spoiltRows?: {
    readonly rows: ReadonlyMap<number, readonly number[]>;
    readonly tensor: string;
    readonly times: number;
  };
  /** Options that are written into the optimizer before a step, and recorded. */
  readonly written?: { readonly at: number; readonly options: Options };
  /** From a step on the gradients are multiplied between the loss and the recorder. */
  readonly multiplied?: { readonly at: number; readonly times: number };
  /** Whether the capture goes without the model, so that nothing can be trained again. */
  readonly withoutModel?: boolean;
  /** Steps that were taken and logged before the capture, under clipping that it does not have. */
  readonly before?: { readonly batches: readonly number[]; readonly rule: string; readonly told?: true };
}

function withSpoilt(capture: Capture, spoilt: Made['spoilt']): Capture {
  if (spoilt === undefined) return capture;
  const { batch: which, tensor, times } = spoilt;
  const batch: Capture['batch'] = async (index) => {
    const whole = await capture.batch(index);
    const own = whole.get(tensor);
    if (index !== which) return whole;
    if (!(own?.data instanceof Float32Array)) throw new Error(`${tensor} among ${[...whole.keys()]}`);
    return new Map([...whole, [tensor, { ...own, data: own.data.map((value) => times * value) }]]);
  };
  return { ...capture, batch };
}

/** Adds what a recorder of Python stores with the steps: the options before the first step, and those that were written. */
function recordWritten(
  folder: string,
  options: Options,
  { at, options: written }: NonNullable<Made['written']>,
) {
  const path = join(folder, 'capture.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as {
    version: number;
    steps: { options?: object[] }[];
  };
  manifest.version = 3;
  manifest.steps[0]!.options = [{ group: 0, ...options }];
  manifest.steps[at]!.options = [{ group: 0, ...options, ...written }];
  writeFileSync(path, JSON.stringify(manifest));
}

/** Rows of batches are multiplied. */
function withSpoiltRows(capture: Capture, spoilt: Made['spoiltRows']): Capture {
  if (spoilt === undefined) return capture;
  const { rows, tensor, times } = spoilt;
  const batch: Capture['batch'] = async (index) => {
    const whole = await capture.batch(index);
    const own = whole.get(tensor);
    const bad = rows.get(index);
    if (bad === undefined) return whole;
    if (!(own?.data instanceof Float32Array)) throw new Error(`${tensor} among ${[...whole.keys()]}`);
    const width = own.data.length / own.shape[0]!;
    const data = own.data.map((value, i) => (bad.includes(Math.floor(i / width)) ? times * value : value));
    return new Map([...whole, [tensor, { ...own, data }]]);
  };
  return { ...capture, batch };
}

/** Trains and records a run, and analyzes it. */
export async function analyzed(made: Made) {
  const { batches, rate = () => 1, rule = 'none', overflowAt, resetAt, before, scale = 1, written } = made;
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-cause-'));
  try {
    const capture = withSpoiltRows(withSpoilt(await openCapture(source), made.spoilt), made.spoiltRows);
    const model = await openCaptureModel(capture, undefined, {});
    const recorded = await prepareReplay(capture, 'float32');
    const other = made.optimizer && chooseOptimizer(made.optimizer.name, made.optimizer.options);
    const optimizers = other === undefined ? recorded.setup.optimizers : [other];
    const tensors = recorded.tensors.map((one) =>
      other === undefined
        ? one
        : freshTensor(
            one,
            one.w.map((value) => scale * value),
            other,
            'float32',
            0,
          ),
    );
    const [choice] = parseRule(rule);
    const stepper = createStepper({ rule: choice!, optimizers, precision: 'float32' });
    const { name, learningRate, options } = made.optimizer ?? capture.manifest.optimizers[0]!;
    const [part] = choice!.parts;
    const log: object[] = [];
    const gradientAt = async (index: number, from: Capture) => {
      const flat = model.flatten(tensors.map(({ w }) => w));
      const { loss, gradient } = await model.objective.gradient(flat, [await captureBatch(from, index)]);
      const gradients = tensors.map(({ w }) => ({ values: new Float32Array(w.length) }));
      model.unflatten(
        gradient,
        gradients.map(({ values }) => values),
      );
      return { loss, gradients };
    };
    const start = made.optimizer === undefined ? 1000 : 0;
    const first = start + (before?.batches.length ?? 0);
    const earlier = createStepper({
      rule: parseRule(before?.rule ?? 'none')[0]!,
      optimizers,
      precision: 'float32',
    });
    for (const [step, index] of (before?.batches ?? []).entries()) {
      const { loss, gradients } = await gradientAt(index, capture);
      log.push({ step: start + step, loss, lr: learningRate! * rate(0) });
      earlier.step(tensors, gradients, [learningRate! * rate(0)]);
    }
    const writer = await createCapture(
      folder,
      {
        framework: 'pytorch',
        optimizer: { name, learningRate: learningRate!, ...options },
        clipping: { rule: part!.rule.id, ...part!.options } as never,
        parameters: capture.manifest.parameters.map(({ name: own, shape, layout, embedding }) => ({
          name: own,
          shape,
          layout,
          embedding,
        })),
        ...(made.withoutModel === true ? {} : { model: 'model.json' }),
      },
      tensors.map(({ w }) => w.slice()),
      tensors.map(({ slots }) =>
        made.withoutState === true
          ? {}
          : Object.fromEntries(Object.entries(slots).map(([slot, v]) => [slot, v.slice()])),
      ),
    );
    for (const [step, index] of batches.entries()) {
      if (step === written?.at)
        stepper.use(
          optimizers.map((one) => ({
            ...one,
            options: { ...one.options, ...written.options } as typeof one.options,
          })),
        );
      if (step === resetAt) for (const { slots } of tensors) slots.accumulator!.fill(0.1);
      if (step === made.weights?.at)
        for (const { w } of tensors) for (const i of w.keys()) w[i]! *= made.weights.times;
      const { loss, gradients } = await gradientAt(index, capture);
      if (made.multiplied !== undefined && step >= made.multiplied.at)
        for (const { values } of gradients)
          for (const i of values.keys()) values[i]! *= made.multiplied.times;
      if (step === overflowAt) gradients[0]!.values[0] = Number.POSITIVE_INFINITY;
      const rates = [learningRate! * rate(step)];
      log.push({ step: first + step, loss, lr: rates[0]! });
      await writer.step({
        step: first + step,
        learningRate: rates[0]!,
        loss,
        gradients: gradients.map(({ values }) => ({ values: values.slice() })),
        batch: await capture.batch(index),
      });
      stepper.step(tensors, gradients, rates);
    }
    await writer.finish();
    if (written !== undefined) recordWritten(folder, optimizers[0]!.options, written);
    await model.objective.close();
    if (made.withoutModel !== true) cpSync(join(source, 'model.json'), join(folder, 'model.json'));
    const logFile = join(folder, 'train.jsonl');
    const limit = before?.rule.split(':')[1];
    if (before?.told === true)
      writeFileSync(join(folder, 'args.json'), JSON.stringify({ max_grad_norm: Number(limit) }));
    if (before !== undefined) writeFileSync(logFile, log.map((line) => JSON.stringify(line)).join('\n'));
    const named = before === undefined ? [folder] : [logFile, folder];
    const report = await analyze(named, { toolVersion: '0', now: () => new Date(), budget: 600 });
    expect(report.warnings).toEqual([]);
    return report.runs[0]!;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Batches of a run in which nothing changes. */
export const calm = [...CLEAN, ...CLEAN.slice(0, 14)];
