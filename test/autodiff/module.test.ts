import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { differentiate } from '../../src/differentiate/autodiff/differentiate.ts';
import { moduleNetwork } from '../../src/differentiate/autodiff/module-network.ts';
import type { Batch } from '../../src/differentiate/autodiff/objective.ts';
import { openObjective } from '../../src/differentiate/autodiff/open-objective.ts';
import { runClosedLoop } from '../../src/experiment/measure/closed-loop.ts';
import { captureBatch, openCaptureModel } from '../../src/experiment/measure/point.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'clippy-diag-module-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const sources = [
  { name: 'param/w', shape: [2], layout: 'none' as const },
  { name: 'param/b', shape: [], layout: 'none' as const },
];
const batch: Batch = new Map([
  ['x', { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
  ['label/y', { shape: [3], data: Float32Array.of(1, 0, 1) }],
]);
const w = Float32Array.of(0.1, -0.2, 0.3);

function open(code: string, limits: { seconds?: number; memory?: number } = {}) {
  const path = join(folder, `model-${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(path, code);
  return openObjective(path, sources, 'checkpoint', { trusted: true, limits, backend: 'wasm' });
}
const LOGISTIC = `
export function loss(tf, p, batch) {
  const z = tf.add(tf.reshape(tf.matMul(batch.x, tf.reshape(p.w, [2, 1])), [-1]), p.b);
  return tf.losses.sigmoidCrossEntropy(batch['label/y'], z);
}`;

it('differentiates: loss, gradient and Hessian product of a logistic regression in closed form', async () => {
  const { objective } = await open(LOGISTIC);
  try {
    const rows = [
      [1, 2, 1],
      [3, 4, 1],
      [5, 6, 1],
    ];
    const y = [1, 0, 1];
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
      [0, 1, 2].reduce((s, i) => s + a[i]! * b[i]!, 0);
    const z = rows.map((row) => dot(row, w));
    const p = z.map((x) => 1 / (1 + Math.exp(-x)));
    const mean = (f: (i: number) => number): number => (f(0) + f(1) + f(2)) / 3;
    const { loss, gradient } = await objective.gradient(w, [batch]);
    expect(loss).toBeCloseTo(
      mean((i) => Math.log1p(Math.exp(z[i]!)) - y[i]! * z[i]!),
      5,
    );
    for (const j of [0, 1, 2])
      expect(gradient[j]).toBeCloseTo(
        mean((i) => (p[i]! - y[i]!) * rows[i]![j]!),
        5,
      );
    const v = Float32Array.of(1, -2, 0.5);
    const hv = await objective.hvp(w, v, [batch]);
    for (const j of [0, 1, 2])
      expect(hv[j]).toBeCloseTo(
        mean((i) => p[i]! * (1 - p[i]!) * rows[i]![j]! * dot(rows[i]!, v)),
        5,
      );
    await expect(objective.gaussNewton(w, v, [batch])).rejects.toMatchObject({
      code: 'gauss-newton-unknown',
    });
  } finally {
    await objective.close();
  }
});

const refused = async (code: string, limits?: { seconds?: number; memory?: number }) => {
  try {
    const { objective } = await open(code, limits);
    try {
      await objective.gradient(w, [batch]);
    } finally {
      await objective.close();
    }
  } catch (error) {
    return error as { code: string; where?: { path: string; line?: number } };
  }
  return { code: 'accepted' };
};

it.each([
  [
    'throws',
    'export function loss() {\n  const x = 1;\n  throw new Error("no such feature");\n}',
    'user-model',
    3,
  ],
  ['throws while it loads', '\n\nthrow new Error("at import");', 'user-model', 3],
  ['does not parse', 'export function loss( {', 'user-model', undefined],
  ['exits', 'export const loss = () => process.exit(0);', 'user-model-ended', undefined],
] as const)('%s', async (_name, code, expected, line) => {
  const error = await refused(code);
  expect(error.code).toBe(expected);
  if (line !== undefined && 'where' in error) expect(error.where?.line).toBe(line);
});

/** The same network in this process: what it refuses needs no other. */
const refusedHere = async (code: string): Promise<unknown> => {
  const backend = await loadBackend('wasm');
  const plain = sources.map((source) => ({ ...source, name: source.name.replace('param/', '') }));
  const module: unknown = await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(code)}`);
  const run = async (): Promise<unknown> =>
    differentiate(backend, moduleNetwork(backend.tf, module, plain)).gradient(w, [batch]);
  return run().then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  );
};

it.each([
  ['exports no loss', 'export const x = 1;', 'user-model-shape'],
  ['returns no scalar', 'export const loss = (tf, p) => p.w;', 'user-model-shape'],
  ['returns a number', 'export const loss = () => 3;', 'user-model-shape'],
  [
    'returns a whole number, which has no derivative',
    'export const loss = (tf, p) => tf.cast(tf.sum(p.w), "int32");',
    'user-model-shape',
  ],
  [
    'returns too few',
    'export const tasks = ["a", "b"]; export const loss = (tf, p) => tf.sum(p.w);',
    'user-model-shape',
  ],
  [
    'uses what has no derivative',
    'export const loss = (tf, p) => tf.sum(tf.acosh(tf.exp(p.w)));',
    'op-not-differentiable',
  ],
] as const)('%s', async (_name, code, expected) => {
  expect(await refusedHere(code)).toBe(expected);
});

it('hangs: ended when its time is over', async () => {
  expect((await refused('export const loss = () => { for (;;); };', { seconds: 1 })).code).toBe(
    'user-model-time',
  );
});

it.each([
  [
    'on the heap',
    'const all = []; export const loss = () => { for (;;) all.push(new Array(1e5).fill(1)); };',
  ],
  [
    'beside the heap',
    'const all = []; export const loss = () => { for (;;) all.push(new Uint8Array(1e7).fill(1)); };',
  ],
])('allocates without end %s', async (_name, code) => {
  expect((await refused(code, { memory: 400, seconds: 3600 })).code).toBe('user-model-memory');
});

it('is run for a capture where the user names it, never because the capture does', async () => {
  const capture = await openCapture(join(projectRoot, 'fixtures/captures/seed-2'));
  const path = join(folder, 'named.mjs');
  writeFileSync(path, "export const loss = (tf, p) => tf.sum(tf.square(p['shared/0/bias']));");
  const { objective, flatten } = await openCaptureModel(capture, path, {});
  try {
    const { parameters } = await capture.initial('float32');
    const { loss } = await objective.gradient(flatten(parameters), [await captureBatch(capture, 0)]);
    const bias = parameters[capture.manifest.parameters.findIndex(({ name }) => name === 'shared/0/bias')]!;
    expect(loss).toBeCloseTo(
      [...bias].reduce((sum, x) => sum + x * x, 0),
      4,
    );
  } finally {
    await objective.close();
  }
  const naming = (model: string) => ({ ...capture, manifest: { ...capture.manifest, model } });
  for (const [model, code] of [
    ['../seed-2/model.json', 'accepted'],
    ['../embedding/model.json', 'path-leaves-folder'],
    ['missing.mjs', 'file-missing'],
  ] as const)
    expect(
      await openCaptureModel(naming(model), undefined, {}).then(
        () => 'accepted',
        (error: { code: string }) => error.code,
      ),
    ).toBe(code);
});

it('is never run because a file names it', async () => {
  await expect(openObjective('model.mjs', sources, 'capture')).rejects.toMatchObject({
    code: 'model-untrusted',
  });
});

it('randomness in the loss is refused in a closed loop, and an async loss by name', async () => {
  const capture = await openCapture(join(projectRoot, 'fixtures/incident/capture'));
  const random = join(folder, 'random.mjs');
  writeFileSync(
    random,
    // Two numbers drawn at random may lie as near as rounding leaves them.
    `let calls = 0;
    export function loss(tf, p, batch) {
      return tf.mul(tf.mean(tf.square(p['shared/0/bias'])), tf.scalar(1 + 0.001 * calls++));
    }`,
  );
  const rules = parseRule('none');
  await expect(runClosedLoop(capture, { rules, model: random, clock: Date.now })).rejects.toMatchObject({
    code: 'closed-loop-not-repeatable',
  });
  const { objective } = await open('export const loss = async (tf) => tf.scalar(1);');
  await expect(objective.loss(w, [batch])).rejects.toThrow(/returned a promise/);
  await objective.close();
});
