/**
 * Causes of runs of which the truth is known because they are made here: the incident's own net and clean batches, trained with
 * one thing changed. Controls: nothing changed, and a bad batch that does no harm.
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCapture } from '../../src/captures/read.ts';
import { createCapture } from '../../src/captures/write.ts';
import { analyze } from '../../src/engine/analyze.ts';
import { captureBatch, openCaptureModel } from '../../src/measure/point.ts';
import { prepareReplay } from '../../src/replay/from-capture.ts';
import { createStepper } from '../../src/replay/step.ts';
import { parseRule } from '../../src/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

const source = join(projectRoot, 'fixtures/incident/capture');
/** Positions of the surge in the recorded incident. */
const SURGE = [20, 21, 22, 23, 24, 25, 26, 27];
const CLEAN = Array.from({ length: 56 }, (_, i) => i).filter((i) => !SURGE.includes(i));

interface Made {
  /** Which recorded batch each step takes. */
  readonly batches: readonly number[];
  rate?(step: number): number;
  readonly rule?: string;
  /** The step whose gradient overflows, as one in half precision does. */
  readonly overflowAt?: number;
  /** The step before which the accumulators begin anew, unseen by the recorder. */
  readonly resetAt?: number;
  /** Steps that were taken and logged before the capture, under clipping that it does not have. */
  readonly before?: { readonly batches: readonly number[]; readonly rule: string; readonly told?: true };
}

/** Trains and records a run, and analyzes it. */
async function analyzed({ batches, rate = () => 1, rule = 'none', overflowAt, resetAt, before }: Made) {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-cause-'));
  try {
    const capture = await openCapture(source);
    const model = await openCaptureModel(capture, undefined, {});
    const { setup, tensors } = await prepareReplay(capture, 'float32');
    const [choice] = parseRule(rule);
    const stepper = createStepper({ rule: choice!, optimizers: setup.optimizers, precision: 'float32' });
    const { name, learningRate, options } = capture.manifest.optimizers[0]!;
    const [part] = choice!.parts;
    const log: object[] = [];
    const gradientAt = async (index: number) => {
      const flat = model.flatten(tensors.map(({ w }) => w));
      const { loss, gradient } = await model.objective.gradient(flat, [await captureBatch(capture, index)]);
      const gradients = tensors.map(({ w }) => ({ values: new Float32Array(w.length) }));
      model.unflatten(
        gradient,
        gradients.map(({ values }) => values),
      );
      return { loss, gradients };
    };
    const first = 1000 + (before?.batches.length ?? 0);
    const earlier = createStepper({
      rule: parseRule(before?.rule ?? 'none')[0]!,
      optimizers: setup.optimizers,
      precision: 'float32',
    });
    for (const [step, index] of (before?.batches ?? []).entries()) {
      const { loss, gradients } = await gradientAt(index);
      log.push({ step: 1000 + step, loss, lr: learningRate! * rate(0) });
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
        model: 'model.json',
      },
      tensors.map(({ w }) => w.slice()),
      tensors.map(({ slots }) =>
        Object.fromEntries(Object.entries(slots).map(([slot, v]) => [slot, v.slice()])),
      ),
    );
    for (const [step, index] of batches.entries()) {
      if (step === resetAt) for (const { slots } of tensors) slots.accumulator!.fill(0.1);
      const { loss, gradients } = await gradientAt(index);
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
    await model.objective.close();
    cpSync(join(source, 'model.json'), join(folder, 'model.json'));
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

const calm = [...CLEAN, ...CLEAN.slice(0, 14)];

it('nothing changed: no incident, no cause, nothing to do', async () => {
  const run = await analyzed({ batches: calm });
  expect(run.verdict.onsetStep).toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none', confidence: null });
  expect(run.remedies!.map(({ action }) => action)).toEqual(['none-needed']);
});

it('the surge: the data, shown; leaving the batches out holds, half of the rate does not', async () => {
  const run = await analyzed({ batches: Array.from({ length: 56 }, (_, i) => i) });
  expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown', onsetStep: 1020 });
  expect(run.remedies![0]).toMatchObject({ action: 'skip-batches', holds: true, skipSteps: [1020, 1027] });
  const ended = run.remedies!.filter(({ outcome }) => outcome === 'holds');
  expect(ended.length).toBeGreaterThan(3);
  for (const { perturbations, holds } of ended) {
    expect(perturbations.tried).toBe(3);
    expect(holds).toBe(perturbations.held === 3);
  }
  const half = run.remedies!.find(({ learningRateFactor }) => learningRateFactor === 0.5);
  expect(half).toMatchObject({ holds: false });
});

it('a learning rate ×60 on clean batches: the learning rate, shown; no batch is to be left out', async () => {
  const run = await analyzed({ batches: calm, rate: (step) => (step >= 24 && step < 34 ? 60 : 1) });
  expect(run.verdict.onsetStep).not.toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown' });
  expect(run.remedies!.filter(({ holds }) => holds).map(({ action }) => action)).not.toContain(
    'skip-batches',
  );
  expect(run.remedies![0]).toMatchObject({ action: 'lower-learning-rate', holds: true, interference: 0 });
});

it('a rate ×2.5 for one step, from which the run comes back: only what takes the spike away shows anything', async () => {
  const run = await analyzed({ batches: calm, rate: (step) => (step === 24 ? 2.5 : 1) });
  expect(run.verdict.recoveredStep).not.toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown', alsoTriggers: [] });
  expect(run.remedies![0]!.action).toBe('none-needed');
  const before = run.replay.find(({ arm }) => arm?.learningRate !== undefined);
  expect(before!.verdict).toBe('prevented');
  // It ends as well as the run does without it, and is put back after the spike.
  const restored = run.replay.find(({ arm }) => arm?.kind === 'restore-optimizer-state');
  expect(restored!.verdict).toBe('not-prevented');
});

it('bad batches under a clipping that holds them: the data, the weights unharmed, nothing needed', async () => {
  const batches = [...CLEAN.slice(0, 24), 21, 22, 23, 24, 25, ...CLEAN.slice(24), ...CLEAN.slice(0, 14)];
  const run = await analyzed({ batches, rule: 'global-norm:0.1' });
  expect(run.verdict.class).toBe('micro-divergence');
  expect(run.cause).toMatchObject({ trigger: 'data', mechanism: 'bad-batch-only', step: null });
  expect(run.remedies![0]!.action).toBe('none-needed');
  expect(run.remedies!.some(({ action }) => action === 'clip')).toBe(false);
});

describe('batches that are unlike those before', () => {
  it('up to the last one: the data; leaving them out is no remedy, and with earlier batches the run holds', async () => {
    const lasting = [...CLEAN.slice(0, 24), ...SURGE, ...SURGE, ...SURGE, ...SURGE];
    const run = await analyzed({ batches: lasting });
    expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'likely', step: 1024 });
    expect(run.remedies![0]).toMatchObject({
      action: 'fix-data',
      tried: 'closed-loop',
      holds: true,
      skipSteps: null,
      perturbations: { tried: 3, held: 3 },
    });
    expect(run.remedies!.map(({ action }) => action)).not.toContain('skip-batches');
    const [arm] = run.replay.flatMap(({ arm: one }) => (one?.kind === 'earlier-batches' ? [one] : []));
    expect(arm!.steps).toEqual(Array.from({ length: 32 }, (_, i) => 1024 + i));
  });
  it('one alone is left out, and no data is mended', async () => {
    const run = await analyzed({ batches: [...calm.slice(0, 24), 21, ...calm.slice(24)] });
    expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown' });
    expect(run.remedies![0]).toMatchObject({ action: 'skip-batches', holds: true, skipSteps: [1024, 1024] });
    expect(run.remedies!.map(({ action }) => action)).not.toContain('fix-data');
  });
});

it('a gradient that overflowed: the precision, likely; float32 holds on the same batches, and no batch or rule is blamed', async () => {
  const run = await analyzed({ batches: calm, overflowAt: 26 });
  expect(run.cause).toMatchObject({ trigger: 'precision', mechanism: 'overflow', confidence: 'likely' });
  expect(run.remedies!.map(({ action, tried, holds }) => ({ action, tried, holds }))).toEqual([
    { action: 'raise-precision', tried: 'closed-loop', holds: true },
  ]);
});

it('accumulators that begin anew within the steps: the optimizer state; carried on, the run holds', async () => {
  const run = await analyzed({ batches: calm, resetAt: 26, rate: () => 2 });
  expect(run.cause!.trigger).toBe('optimizer-state');
  expect(run.remedies![0]).toMatchObject({
    action: 'restore-optimizer-state',
    holds: true,
    from: { step: 1026, path: null },
  });
});

describe('clipping that was on before the capture, and is not any more', () => {
  const before = { batches: calm.slice(0, 30), rule: 'global-norm:0.05' };
  it('where the steps are too long without it: sharpness, likely, and what would have kept them short', async () => {
    const run = await analyzed({ batches: calm, before, rate: () => 15 });
    expect(run.cause).toMatchObject({ trigger: 'sharpness', confidence: 'likely' });
    expect(run.cause!.statement).toMatch(/Where clipping was on before step 1030, put it back/);
    expect(run.remedies![0]).toMatchObject({ holds: null, tried: 'closed-loop' });
  });
  it('where the settings beside the log name it, it is what was put back', async () => {
    const run = await analyzed({ batches: calm, before: { ...before, told: true }, rate: () => 15 });
    expect(run.cause!.statement).toMatch(/; with the earlier clipping, global-norm:0\.05, put back the same/);
    expect(run.remedies![0]).toMatchObject({
      action: 'clip',
      rule: 'global-norm:0.05',
      tried: 'closed-loop',
    });
  });
  it('a twin that does without it: nothing', async () => {
    const run = await analyzed({ batches: calm, before });
    expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none' });
    expect(run.remedies!.map(({ action }) => action)).toEqual(['none-needed']);
  });
  it('where the batches are others from then on: not sharpness', async () => {
    const run = await analyzed({ batches: [...SURGE, ...SURGE, ...calm], before });
    expect(run.verdict.onsetStep).not.toBeNull();
    expect(run.cause!.trigger).not.toBe('sharpness');
  });
});
