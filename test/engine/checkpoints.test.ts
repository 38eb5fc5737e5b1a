import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diffCheckpoints } from '../../src/app/engine/checkpoint-diff.ts';
import { inspectCheckpoint } from '../../src/app/engine/checkpoint-inspect.ts';
import { inspectInputs } from '../../src/app/engine/inspect.ts';
import { checkpointOutcomes, restartPoints } from '../../src/judge/findings/outcomes.ts';
import { resolveThresholds } from '../../src/judge/findings/thresholds.ts';
import type { InspectedCheckpoint } from '../../src/model/checkpoint.ts';
import { writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { checkpointText, diffText, trajectoryText } from '../../src/report/checkpoint-text.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = mkdtempSync(join(tmpdir(), 'checkpoints-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);

type Values = Record<string, readonly number[]>;
const write = (name: string, values: Values) =>
  writeSafetensors(
    at(name),
    Object.entries(values).map(([tensor, data]) => ({
      name: tensor,
      shape: [data.length],
      dtype: 'F32' as const,
      values: Float32Array.from(data),
    })),
  );

/** A run: `still` is frozen, `move` grows and breaks at step 400, the accumulator is lost at step 300. */
const RUN: Record<number, Values> = {
  100: { 'param/a.move': [3, 4], 'param/b.still': [1, 2], 'state/accumulator/a.move': [1, 1] },
  200: { 'param/a.move': [6, 8], 'param/b.still': [1, 2], 'state/accumulator/a.move': [10, 17] },
  300: { 'param/a.move': [60, 80], 'param/b.still': [1, 2], 'state/accumulator/a.move': [0.1, 0.1] },
  400: {
    'param/a.move': [Number.NaN, 80],
    'param/b.still': [1, 2],
    'state/accumulator/a.move': [9, Number.POSITIVE_INFINITY],
  },
};
const file = (step: number): string => `run/step-${String(step).padStart(8, '0')}.safetensors`;
const inspected = new Map<number, InspectedCheckpoint>();

beforeAll(async () => {
  mkdirSync(at('run'));
  for (const [step, values] of Object.entries(RUN)) {
    await write(file(Number(step)), values);
    inspected.set(Number(step), await inspectCheckpoint(at(file(Number(step)))));
  }
});

describe('inspectCheckpoint', () => {
  it('gives statistics and flags', async () => {
    await write('flags.safetensors', {
      zero: [0, 0, -0],
      constant: [2, 2],
      single: [2],
      nan: [1, Number.NaN, Number.NEGATIVE_INFINITY],
      exploding: [1, -20_000],
      'state/accumulator/w': [20_000],
      'state/accumulator/x': [2e8],
    });
    const { tensors } = await inspectCheckpoint(at('flags.safetensors'));
    expect(Object.fromEntries(tensors.map(({ name, flags }) => [name, flags]))).toEqual({
      zero: ['all-zero'],
      constant: ['constant'],
      single: [],
      nan: ['non-finite'],
      exploding: ['exploding'],
      'state/accumulator/w': [],
      'state/accumulator/x': ['exploding'],
    });
    expect(tensors.find(({ name }) => name === 'nan')).toMatchObject({
      sum: 1,
      min: 1,
      max: 1,
      norm: 1,
      nan: 1,
      posInf: 0,
      negInf: 1,
    });
  });

  it('lists without statistics, and goes on after a tensor that cannot be read', async () => {
    const path = join(projectRoot, 'fixtures/checkpoints/pytorch/views-zip.pt');
    const listed = await inspectCheckpoint(path, true);
    expect(listed.tensors.every((tensor) => tensor.sum === undefined)).toBe(true);
    const bytes = readFileSync(path);
    // The first storage holds 0, 1, 2, …: one changed bit that its checksum sees.
    bytes[bytes.indexOf(Buffer.from(Float32Array.of(1, 2, 3).buffer)) + 1]! ^= 1;
    writeFileSync(at('damaged.pt'), bytes);
    const damaged = await inspectCheckpoint(at('damaged.pt'));
    expect(damaged.errors).toMatchObject(damaged.errors.map(() => ({ id: 'checksum-mismatch' })));
    expect(damaged.errors.map((error) => error.tensor)).toContain('base');
    expect(damaged.tensors.find(({ name }) => name === 'f64')).toHaveProperty('sum');
    expect(checkpointText(damaged, true).find((line) => line.includes('base'))).toContain('unreadable');
  });

  it('calls variables of TensorFlow by their own names where these are told apart', async () => {
    const folder = join(projectRoot, 'fixtures/checkpoints/tensorflow-keras2');
    const text = checkpointText(await inspectCheckpoint(join(folder, 'slots.index'), true), true).join('\n');
    expect(text).toMatch(/ yak\/kernel +parameter /);
    expect(text).toMatch(/ Adam\/yak\/kernel\/v +v of yak\/kernel /);
    expect(text).not.toContain('.ATTRIBUTES');
    const twins = await inspectCheckpoint(join(folder, 'slots.index'), true);
    const same = twins.tensors.map((tensor) => ({ ...tensor, label: 'one' }));
    expect(checkpointText({ ...twins, tensors: same }, true).join('\n')).toContain(
      ' one (layer_with_weights-0/kernel) ',
    );
  });

  it('names Lambda layers', async () => {
    const path = join(projectRoot, 'fixtures/checkpoints/keras3/lambda.keras');
    expect(checkpointText(await inspectCheckpoint(path, true), true).join('\n')).toMatch(
      /Lambda layers: .*not run/,
    );
  });

  it('counts a SavedModel and a checkpoint with its text file once', async () => {
    const folder = join(projectRoot, 'fixtures/checkpoints');
    mkdirSync(at('tf/saved'), { recursive: true });
    cpSync(join(folder, 'tensorflow-keras2/saved'), at('tf/saved'), { recursive: true });
    for (const name of ['tf1.ckpt-1.index', 'tf1.ckpt-1.data-00000-of-00001'])
      cpSync(join(folder, 'tensorflow', name), at(join('tf', name)));
    cpSync(join(folder, 'tensorflow/newest.txt'), at('tf/checkpoint'));
    const { inputs, skipped, errors } = await inspectInputs([at('tf')], { listOnly: true });
    expect(errors).toEqual([]);
    expect(inputs.map(({ path }) => path)).toEqual([
      at('tf/saved/saved_model.pb'),
      at('tf/tf1.ckpt-1.index'),
    ]);
    expect(skipped.map(({ path }) => path)).toEqual([
      at('tf/checkpoint'),
      at('tf/tf1.ckpt-1.data-00000-of-00001'),
    ]);
  });

  it('is what the JSON contract says', async () => {
    const inspection = await inspectInputs(
      [join(projectRoot, 'fixtures/checkpoints/pytorch/adagrad-zip.pt')],
      {},
    );
    expect(inspection.errors).toEqual([]);
    expect(inspection.inputs[0]).toMatchObject({
      kind: 'checkpoint',
      format: 'pytorch-zip',
      framework: 'pytorch',
      step: 1200,
    });
    const [input] = inspection.inputs as InspectedCheckpoint[];
    for (const tensor of input!.tensors)
      for (const field of [
        'name',
        'dtype',
        'shape',
        'role',
        'elements',
        'sum',
        'min',
        'max',
        'nan',
        'posInf',
        'negInf',
      ])
        expect(tensor).toHaveProperty(field);
  });
});

describe('diffCheckpoints', () => {
  it('orders by what moved relative to its norm, with the closed form of every number', async () => {
    const diff = await diffCheckpoints(at(file(100)), at(file(200)));
    expect(diff.tensors.map(({ name }) => name)).toEqual([
      'state/accumulator/a.move',
      'param/a.move',
      'param/b.still',
    ]);
    // moved (3, 4): ‖·‖ 5 of 5; accumulators grew by (9, 16), so Σ Δ²G / ΣΔG = (9·10 + 16·17) / 25.
    expect(diff.tensors[1]).toMatchObject({
      normBefore: 5,
      normAfter: 10,
      change: 5,
      relative: 1,
      largestChange: 4,
    });
    expect(diff.tensors[1]!.effectiveLearningRate).toBeCloseTo(Math.sqrt((9 * 10 + 16 * 17) / 25), 12);
    expect(diff.tensors[2]).toMatchObject({ change: 0, relative: 0, effectiveLearningRate: null });
    expect(diff.layers).toEqual([
      { layer: 'param/a', tensors: 1, change: 5, relative: 1 },
      { layer: 'param/b', tensors: 1, change: 0, relative: 0 },
    ]);
    expect([diff.before.step, diff.after.step]).toEqual([100, 200]);
    expect(diffText(diff).join('\n')).toMatch(/param\/a.move\s+5\s+10\s+5\s+1\s+4/);
  });

  it('gives back the learning rate of one Adagrad step, to float32', async () => {
    const [w, g, accumulator, lr] = [[0.5, -1, 2], [0.3, -0.2, 4], [0.1, 0.1, 0.1], 0.05];
    const after = accumulator.map((value, i) => value + g[i]! ** 2);
    await write('one-a.safetensors', { 'param/w': w, 'state/accumulator/w': accumulator });
    await write('one-b.safetensors', {
      'param/w': w.map((value, i) => value - (lr * g[i]!) / Math.sqrt(after[i]!)),
      'state/accumulator/w': after,
    });
    const { tensors } = await diffCheckpoints(at('one-a.safetensors'), at('one-b.safetensors'));
    expect(tensors.find(({ name }) => name === 'param/w')!.effectiveLearningRate).toBeCloseTo(lr, 5);
  });

  it('puts what broke first, and names what only one has', async () => {
    await write('other.safetensors', {
      'param/a.move': [1, 2, 3],
      new: [1],
      'param/b.still': [Number.NaN, 0],
    });
    const diff = await diffCheckpoints(at(file(300)), at('other.safetensors'));
    expect(diff.tensors[0]).toMatchObject({
      name: 'param/b.still',
      change: Number.NaN,
      relative: Number.NaN,
    });
    expect(diff).toMatchObject({
      onlyBefore: ['state/accumulator/a.move'],
      onlyAfter: ['new'],
      reshaped: ['param/a.move'],
    });
    await expect(diffCheckpoints(at('gone'), at(file(100)))).rejects.toMatchObject({ code: 'file-missing' });
  });

  it('compares checkpoints of other formats and pieces of other lengths', async () => {
    const path = join(projectRoot, 'fixtures/checkpoints/numpy/deflated.npz');
    const diff = await diffCheckpoints(path, path.replace('deflated', 'stored'));
    expect(diff.tensors.length).toBeGreaterThan(3);
    expect(diff.tensors.every(({ change }) => change === 0)).toBe(true);
  });
});

describe('findings about checkpoints', () => {
  const checkpointFindings = (checkpoints: readonly InspectedCheckpoint[]) => ({
    findings: [...checkpointOutcomes(checkpoints, resolveThresholds().inForce).values()].flatMap((outcome) =>
      outcome.kind === 'fail' ? outcome.findings : [],
    ),
    good: restartPoints(checkpoints),
  });
  const all = (steps: readonly number[]) => steps.map((step) => inspected.get(step)!);

  it('says between which checkpoints a tensor broke, what was reset, what stands still, and where to go back to', () => {
    const { findings, good } = checkpointFindings(all([300, 100, 400, 200]));
    expect(findings.map(({ id, severity, steps }) => [id, severity, steps])).toEqual([
      ['non-finite-tensor', 'error', [300, 400]],
      ['accumulator-reset', 'warning', [200, 300]],
      ['frozen-tensor', 'note', [100, 400]],
    ]);
    expect(findings[0]!.message).toBe(
      '"param/a.move" and 1 more tensor became non-finite between step 300 and step 400',
    );
    expect(findings[0]!.measured!.value).toBe(2);
    expect(good.map(({ step }) => step)).toEqual([100, 200, 300]);
    expect(good.every(({ optimizerState }) => optimizerState)).toBe(true);
    const weights = all([100]).map((one) => ({
      ...one,
      tensors: one.tensors.filter(({ role }) => role === 'parameter'),
    }));
    expect(restartPoints(weights).map(({ optimizerState }) => optimizerState)).toEqual([false]);
    // No reset, though the finite entries sum to less: one became infinite.
    expect(checkpointFindings(all([200, 400])).findings.map(({ id }) => id)).toEqual([
      'non-finite-tensor',
      'frozen-tensor',
    ]);
  });

  it('is silent on a healthy run, on one checkpoint and on none', () => {
    expect(checkpointFindings(all([100, 200])).findings.map(({ id }) => id)).toEqual(['frozen-tensor']);
    expect(checkpointFindings([])).toEqual({ findings: [], good: [] });
    expect(checkpointFindings(all([100])).findings).toEqual([]);
    const first = checkpointFindings(all([400]));
    expect(first.findings.map(({ id }) => id)).toEqual(['non-finite-tensor']);
    expect(first.good).toEqual([]);
  });

  it('notes a tenfold growth', () => {
    const [a, b] = all([200, 300]);
    const doubled = {
      ...b!,
      tensors: b!.tensors.map((t) => (t.role === 'parameter' ? { ...t, norm: t.norm! * 2 } : t)),
    };
    const { findings } = checkpointFindings([a!, doubled, ...all([400])]);
    const jump = findings.find(({ id }) => id === 'parameter-norm-jump');
    expect(jump?.severity).toBe('note');
    expect(jump?.message).toMatch(/: 99 % of it in "param\/a\.move", which grew 20-fold$/);
    expect(jump?.locations[0]?.tensor).toBe('param/a.move');
    expect(findings.find(({ id }) => id === 'non-finite-tensor')?.advice).toBe(
      `go back to ${a!.path} or before`,
    );
  });
});

describe('trajectory', () => {
  it('orders a folder by step and draws the norms, with a gap where entries are not finite', async () => {
    const { trajectories } = await inspectInputs([at('run')], {});
    expect(trajectories).toHaveLength(1);
    const [trajectory] = trajectories;
    expect(trajectory!.checkpoints.map(({ step }) => step)).toEqual([100, 200, 300, 400]);
    expect(trajectory!.totals.map(({ name }) => name)).toEqual(['parameters', 'optimizer accumulator']);
    expect(trajectory!.totals[0]!.norm.map((value) => value! ** 2)).toEqual(
      [25 + 5, 100 + 5, 10_000 + 5, 6400 + 5].map((value) => expect.closeTo(value, 6)),
    );
    expect(trajectory!.totals[0]!.nonFinite).toEqual([0, 0, 0, 1]);
    expect(trajectory!.layers.map(({ name }) => name)).toEqual(['param/a', 'param/b']);
    const text = trajectoryText(trajectory!, { width: 60, colour: false, ascii: true }).join('\n');
    expect(text).toContain('4 checkpoints in the order of their steps');
    expect(text).toContain('norm of parameters');
    expect(text).toMatch(/not finite|NaN|non-finite/);
  });
});
