/** The Keras recorder, run for real wherever TensorFlow is: what it writes against what the training did. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';
import { readCapture } from './read-capture.ts';

interface Scenario {
  truth: Record<number, { loss: number; gradients: number[][]; parameters: number[][] }>;
  disabled: string | null;
}

const python = pythonWith('tensorflow');
const NAMES = ['user/embeddings', 'hidden/kernel', 'hidden/bias', 'out/kernel', 'out/bias'];

describe.skipIf(python === undefined)('Keras recorder (skipped where Python has no tensorflow)', () => {
  const out = mkdtempSync(join(tmpdir(), 'clippy-keras-'));
  let result: { adagrad: Scenario; adam: Scenario; refusals: string[] };
  beforeAll(() => {
    const script = join(projectRoot, 'test/recorders/keras_scenarios.py');
    execFileSync(python!, ['-B', script, join(projectRoot, 'recorders'), out], { stdio: 'pipe' });
    result = JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as typeof result;
  });
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  it('writes gradients, rows of embeddings, parameters and accumulators of an incident', () => {
    const { manifest, initial, steps, extra } = readCapture(join(out, 'adagrad'));
    expect(result.adagrad.disabled).toBeNull();
    expect(extra).toEqual([]);
    expect(steps.map((s) => s.step)).toEqual(Array.from({ length: 24 }, (_, i) => 40 + i));
    expect(manifest.framework).toMatch(/^keras .* on tensorflow \d/);
    expect(manifest.optimizer).toMatchObject({
      name: 'adagrad',
      initialAccumulatorValue: 0.1,
      epsilon: 1e-7,
      epsilonInside: true,
      accumulator: 'standard',
    });
    expect(manifest.clipping).toEqual({ rule: 'global-norm', maxNorm: 1 });
    expect(manifest.parameters.map((p) => [p.name, p.layout, p.embedding])).toEqual([
      ['user/embeddings', 'none', true],
      ['hidden/kernel', 'IO', false],
      ['hidden/bias', 'none', false],
      ['out/kernel', 'IO', false],
      ['out/bias', 'none', false],
    ]);
    const { truth } = result.adagrad;
    NAMES.forEach((name, k) => {
      expect(initial.get(`param/${name}`)!.values).toEqual(truth[40]!.parameters[k]);
    });
    for (const step of steps) {
      expect(step.loss).toBe(truth[step.step]!.loss);
      expect(step.tensors.get('batch/ids')!.shape).toEqual([8, 1]);
      NAMES.slice(1).forEach((name, k) => {
        expect(step.tensors.get(`grad/${name}`)!.values).toEqual(truth[step.step]!.gradients[k + 1]);
      });
      const rows = step.tensors.get('grad/user/embeddings/indices')!.values;
      const values = step.tensors.get('grad/user/embeddings/values')!.values;
      const whole = new Array<number>(10).fill(0);
      rows.forEach((row, i) => {
        for (let d = 0; d < 2; d++) whole[2 * row + d] = values[2 * i + d]!;
      });
      whole.forEach((value, i) => {
        expect(value).toBeCloseTo(truth[step.step]!.gradients[0]![i]!, 3);
      });
    }
  });

  it('holds the accumulator that explains the next parameters, under the clipping that was active', () => {
    const { initial, steps } = readCapture(join(out, 'adagrad'));
    const [first, second] = [result.adagrad.truth[40]!, result.adagrad.truth[41]!];
    const norm = Math.sqrt(first.gradients.flat().reduce((sum, g) => sum + g * g, 0));
    const sums = initial.get('state/accumulator/hidden/kernel')!.values;
    steps[0]!.tensors.get('grad/hidden/kernel')!.values.forEach((raw, i) => {
      const g = raw * Math.min(1, 1 / norm);
      const expected = first.parameters[1]![i]! - (0.1 * g) / Math.sqrt(sums[i]! + g * g + 1e-7);
      expect(second.parameters[1]![i]!).toBeCloseTo(expected, 5);
    });
  });

  it("records Adam's state and the schedule's learning rate at each step", () => {
    const { manifest, initial, steps } = readCapture(join(out, 'adam'));
    expect(result.adam.disabled).toBeNull();
    expect(manifest.optimizer).toMatchObject({ name: 'adam', beta1: 0.9, beta2: 0.999, epsilonHat: true });
    for (const step of steps) expect(step.learningRate).toBeCloseTo(0.01 * 0.99 ** step.step, 7);
    expect(initial.get('state/step/out/bias')!.values).toEqual([40]);
    const g = steps[0]!.tensors.get('grad/out/bias')!.values[0]!;
    const m = 0.9 * initial.get('state/m/out/bias')!.values[0]! + 0.1 * g;
    const v = 0.999 * initial.get('state/v/out/bias')!.values[0]! + 0.001 * g * g;
    const rate = (0.01 * 0.99 ** 40 * Math.sqrt(1 - 0.999 ** 41)) / (1 - 0.9 ** 41);
    const expected = result.adam.truth[40]!.parameters[4]![0]! - (rate * m) / (Math.sqrt(v) + 1e-7);
    expect(result.adam.truth[41]!.parameters[4]![0]!).toBeCloseTo(expected, 5);
  });

  it('refuses what cannot be replayed, with a message', () => {
    expect(result.refusals[0]).toContain('Ftrl cannot be replayed');
    expect(result.refusals[1]).toContain('decouples the weight decay of SGD');
    expect(result.refusals[2]).toContain('pass its inner optimizer');
  });
});
