/** The PyTorch recorder, run for real: what it writes against what the training did. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCapture } from '../../src/captures/read.ts';
import { recordedReplays } from '../../src/replay/recorded.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';
import { readCapture } from './read-capture.ts';

interface Step {
  loss: number;
  rates: number[];
  gradients: Record<string, number[]>;
  parameters: Record<string, number[]>;
}
interface Scenario {
  truth: Record<number, Step>;
  held: number;
  warnings: string[];
}
interface Result {
  jump: Scenario;
  groups: Scenario;
  sparse: Scenario;
  quiet: Scenario;
  amp: Scenario;
  ampUnseen: Scenario;
  closedLoops: { loss: number[]; minClipFactor: number[] }[];
  refusals: Record<string, string | null>;
  curvature: [number, number];
  nan: string[];
}

const python = pythonWith('torch', 'numpy');
const recorders = join(projectRoot, 'recorders');

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe.skipIf(python === undefined)('PyTorch recorder (skipped where Python has no torch)', () => {
  const out = mkdtempSync(join(tmpdir(), 'clippy-recorder-'));
  let result: Result;
  const capture = (name: string) => readCapture(join(out, name));
  beforeAll(() => {
    const script = join(projectRoot, 'test/recorders/pytorch_scenarios.py');
    execFileSync(python!, ['-B', script, recorders, out], { stdio: 'pipe' });
    result = JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as Result;
  });
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  it('writes K to 2K steps before the jump and the wanted number after it', () => {
    const { manifest, initial, steps, extra } = capture('jump');
    expect(result.jump.warnings).toEqual([]);
    expect(steps.map((s) => s.step)).toEqual(range(40, 63));
    expect(extra).toEqual([]);
    expect(manifest.version).toBe(1);
    expect(manifest.framework).toMatch(/^pytorch \d/);
    expect(manifest.optimizer).toEqual({
      name: 'adagrad',
      learningRate: 0.1,
      initialAccumulatorValue: 0.1,
      epsilon: 1e-10,
      epsilonInside: false,
      accumulator: 'standard',
      learningRateDecay: 0,
      weightDecay: 0,
    });
    expect(manifest.clipping).toEqual({ rule: 'none' });
    expect(manifest.parameters).toEqual([
      { name: 'first.weight', shape: [3, 4], layout: 'OI', embedding: false },
      { name: 'first.bias', shape: [3], layout: 'none', embedding: false },
      { name: 'last.weight', shape: [1, 3], layout: 'OI', embedding: false },
      { name: 'last.bias', shape: [1], layout: 'none', embedding: false },
    ]);
    expect(manifest.history.steps).toEqual(range(0, 39));
    expect(manifest.history.loss).toEqual(range(0, 39).map((step) => result.jump.truth[step]!.loss));
    for (const [name, values] of Object.entries(result.jump.truth[40]!.parameters)) {
      expect(initial.get(`param/${name}`)!.values).toEqual(values);
      expect(initial.get(`state/step/${name}`)!.values).toEqual([40]);
    }
    for (const step of steps) {
      const truth = result.jump.truth[step.step]!;
      expect(step.loss).toBe(truth.loss);
      expect(step.tasks).toEqual({ only: truth.loss });
      expect(step.tensors.get('batch/x')!.shape).toEqual([8, 4]);
      expect(step.tensors.get('batch/label/y')!.shape).toEqual([8]);
      for (const [name, values] of Object.entries(truth.gradients))
        expect(step.tensors.get(`grad/${name}`)!.values).toEqual(values);
      for (const [name, values] of Object.entries(truth.parameters))
        expect(step.tensors.get(`param/${name}`)?.values).toEqual(
          [50, 60].includes(step.step) ? values : undefined,
        );
    }
  });

  it('holds the accumulator that explains the recorded parameters', () => {
    const { initial, steps } = capture('jump');
    const w = [...initial.get('param/first.weight')!.values];
    const sum = [...initial.get('state/accumulator/first.weight')!.values];
    for (const step of steps.filter((s) => s.step < 60)) {
      step.tensors.get('grad/first.weight')!.values.forEach((g, i) => {
        sum[i]! += g * g;
        w[i]! -= (0.1 * g) / (Math.sqrt(sum[i]!) + 1e-10);
      });
    }
    steps
      .find((s) => s.step === 60)!
      .tensors.get('param/first.weight')!
      .values.forEach((value, i) => {
        expect(value).toBeCloseTo(w[i]!, 5);
      });
  });

  it('gives a second run of the same folder its own name', () => {
    expect(capture('jump-2').steps.map((s) => s.step)).toEqual(range(40, 63));
  });

  it('records parameter groups, several optimizers, their learning rates and the active clipping', () => {
    const { manifest, initial, steps } = capture('groups');
    expect(manifest.clipping).toEqual({ rule: 'global-norm', maxNorm: 1 });
    expect(manifest.parameters.map((p) => [p.name, p.group])).toEqual([
      ['first.weight', undefined],
      ['first.bias', 0],
      ['last.weight', 1],
      ['last.bias', 1],
    ]);
    expect(manifest.groups).toMatchObject([
      { name: 'adagrad', epsilon: 1e-8, initialAccumulatorValue: 0 },
      { name: 'adamw', beta1: 0.8, beta2: 0.99, weightDecay: 0.02, epsilon: 1e-8, amsgrad: false },
    ]);
    for (const step of steps)
      expect([step.learningRate, ...step.groupLearningRates!]).toEqual(result.groups.truth[step.step]!.rates);
    expect([...initial.keys()].filter((key) => key.includes('last.bias')).sort()).toEqual([
      'param/last.bias',
      'state/m/last.bias',
      'state/step/last.bias',
      'state/v/last.bias',
    ]);
  });

  it('gives closed loops that follow the run, with each group under its own optimizer', () => {
    const { steps } = capture('groups');
    const [none, , , clippy] = result.closedLoops;
    steps.forEach((step, i) => {
      expect(Math.abs(none!.loss[i]! - Number(step.loss))).toBeLessThanOrEqual(1e-4 * Number(step.loss));
    });
    // Clippy's factor of the first step, from what the run's own update was; weight decay of AdamW is no part of it.
    const { step } = steps[0]!;
    const [now, next] = [result.groups.truth[step]!, result.groups.truth[step + 1]!];
    let sigma = 1;
    for (const [name, values] of Object.entries(now.parameters)) {
      const keep = name.startsWith('last') ? 1 - now.rates[2]! * 0.02 : 1;
      values.forEach((w, i) => {
        const update = keep * w - next.parameters[name]![i]!;
        sigma = Math.min(sigma, (0.5 * Math.abs(w) + 0.01) / Math.abs(update));
      });
    }
    expect(sigma).toBeLessThan(1);
    expect(clippy!.minClipFactor[0]! / sigma).toBeCloseTo(1, 3);
  });

  it('records sparse gradients as rows, and flushes on request', () => {
    const { manifest, steps } = capture('sparse');
    expect(manifest.parameters[0]).toEqual({
      name: 'first.weight',
      shape: [7, 4],
      layout: 'none',
      embedding: true,
    });
    expect(steps.map((s) => s.step)).toEqual(range(20, 28));
    for (const step of steps) {
      const rows = step.tensors.get('grad/first.weight/indices')!;
      const values = step.tensors.get('grad/first.weight/values')!;
      expect(rows.dtype).toBe('I64');
      expect(values.shape).toEqual([rows.shape[0], 4]);
      const whole = new Array<number>(28).fill(0);
      rows.values.forEach((row, i) => {
        for (let k = 0; k < 4; k++) whole[4 * row + k] = values.values[4 * i + k]!;
      });
      expect(whole).toEqual(result.sparse.truth[step.step]!.gradients['first.weight']);
    }
  });

  it('writes nothing and holds at most 2K steps while the loss is quiet', () => {
    expect(result.quiet.held).toBe(14);
    expect(existsSync(join(out, 'quiet'))).toBe(false);
  });

  it('unscales under a GradScaler, leaves out the step that it skips, and stops with a message where it was not passed', () => {
    const { steps } = capture('amp');
    expect(steps.map((s) => s.step)).toEqual([...range(50, 53), ...range(55, 60)]);
    for (const step of steps)
      for (const [name, values] of Object.entries(result.amp.truth[step.step]!.gradients))
        expect(step.tensors.get(`grad/${name}`)!.values).toEqual(values);
    expect(result.ampUnseen.warnings).toHaveLength(1);
    expect(result.ampUnseen.warnings[0]).toContain('pass it as record(..., scaler=scaler)');
    expect(existsSync(join(out, 'amp-unseen'))).toBe(false);
  });

  it('refuses an optimizer that cannot be replayed and parameters that are not in the model', () => {
    expect(result.refusals.optimizer).toContain('Rprop cannot be replayed');
    expect(result.refusals.strangers).toContain('4 parameters of the optimizer are not in the model');
  });

  it('writes one capture of a loss that is NaN to the end', () => {
    expect(result.nan).toEqual(['nan']);
    const { steps } = capture('nan');
    expect(steps.map((s) => [s.step, s.loss])).toEqual([
      ...range(25, 29).map((step) => [step, 1]),
      ...range(30, 33).map((step) => [step, 'NaN']),
    ]);
  });

  it('computes the top eigenvalues of the dense Hessian, plain and preconditioned', () => {
    const { curvature } = capture('curvature').manifest;
    expect(curvature!.map((entry) => entry.operator)).toEqual(['hessian', 'preconditioned-hessian']);
    curvature!.forEach((entry, i) => {
      const { value, residualNorm, converged } = entry.eigenvalues[0]!;
      const exact = result.curvature[i]!;
      expect(converged).toBe(true);
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(1e-4 * exact);
      expect(residualNorm).toBeLessThanOrEqual(1e-3 * exact);
    });
    expect(curvature![0]!.stability.limit).toBeNull();
    expect(curvature![1]!.stability.limit).toBeCloseTo(20, 10);
  });

  it('leaves a whole capture, or none, wherever the job is killed', () => {
    const whole: number[] = [];
    for (const n of range(14, 35)) {
      const folder = join(out, `kill-${n}`);
      if (!existsSync(folder)) continue;
      const { steps, extra } = readCapture(folder);
      expect(steps.map((s) => s.step)).toEqual(range(40, 39 + steps.length));
      expect(steps.length).toBeGreaterThanOrEqual(18);
      expect(extra.length).toBeLessThanOrEqual(1);
      whole.push(steps.length);
    }
    expect(whole.length).toBeGreaterThan(10);
    expect(Math.max(...whole)).toBe(24);
    expect(Math.min(...whole)).toBe(18);
  });
});

describe.skipIf(python === undefined)('closed_loop.py on the shipped captures', () => {
  const out = mkdtempSync(join(tmpdir(), 'clippy-closed-loop-'));
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  it('agrees with the oracle of closed loops; its traces in capture.json are shown with verdicts', async () => {
    const folder = join(out, 'capture');
    const source = join(projectRoot, 'fixtures/captures/embedding');
    cpSync(source, folder, { recursive: true });
    const program = `
import json, sys, torch
sys.path[:0] = [sys.argv[1] + '/python', sys.argv[1] + '/pytorch', sys.argv[2]]
torch.set_num_threads(1)
from closed_loop import closed_loop
from ranking_net import losses, total
from record_captures import TorchNet
model = json.load(open(sys.argv[3] + "/model.json"))
net = TorchNet(model)
closed_loop(sys.argv[3], net, lambda net, batch: total(model, losses(model, net(batch), batch)))
`;
    execFileSync(python!, ['-B', '-c', program, recorders, join(projectRoot, 'fixtures/make'), folder], {
      stdio: 'pipe',
    });
    const { manifest } = readCapture(folder);
    const { entries, notes } = recordedReplays((await openCapture(folder)).manifest);
    const oracle = JSON.parse(readFileSync(join(source, 'closed-loop.json'), 'utf8')) as {
      rules: { rule: string; float32: { verdict: string; loss: number[]; minClipFactor: number[] } }[];
    };
    const spelled = ['none', 'global-norm:1.0', 'agc:0.01', 'clippy:paper'];
    expect(notes).toEqual([]);
    expect(entries.map((entry) => entry.label)).toEqual([
      'none',
      'global-norm:1',
      'agc:0.01',
      'clippy:paper',
    ]);
    entries.forEach((entry, i) => {
      const expected = oracle.rules.find((rule) => rule.rule === spelled[i])!.float32;
      expect(entry).toMatchObject({
        mode: 'closed-loop',
        source: 'recorded',
        confidence: 'exact',
        verdict: expected.verdict,
        ended: { reason: 'completed', step: manifest.steps.at(-1)!.step },
        steps: manifest.steps.map((s) => s.step),
      });
      for (const key of ['loss', 'minClipFactor'] as const) {
        const mine = entry[key]!;
        expect(mine).toHaveLength(manifest.steps.length);
        for (let k = 0; k < 10; k++)
          expect(Math.abs(mine[k]! - expected[key][k]!)).toBeLessThanOrEqual(
            1e-3 * Math.abs(expected[key][k]!),
          );
      }
    });
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});
