/** What becomes of a tfjs-node that is broken, wrong, or on a Node that lacks what it calls: stand-ins on a module path. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

const require = createRequire(import.meta.url);
const installed = (): boolean => {
  try {
    require.resolve('@tensorflow/tfjs-node');
    return true;
  } catch {
    return false;
  }
};
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-backend-'));
afterAll(() => rmSync(folder, { recursive: true }));
// As on Node 23, which removed these.
writeFileSync(
  join(folder, 'load.mts'),
  `import util from 'node:util';
delete (util as any).isNullOrUndefined;
delete (util as any).isArray;
const { loadBackend } = await import(${JSON.stringify(join(projectRoot, 'src/differentiate/autodiff/backend.ts'))});
try {
  const { name, notes } = await loadBackend(process.argv[2]);
  console.log(JSON.stringify({ name, notes }));
} catch (error) {
  console.log(JSON.stringify({ code: (error as any).code }));
}
`,
);

// Opens a net of `units` × 512 parameters and more with a batch.
writeFileSync(
  join(folder, 'choose.mts'),
  `import { writeFileSync } from 'node:fs';
const { openObjective } = await import(${JSON.stringify(join(projectRoot, 'src/differentiate/autodiff/open-objective.ts'))});
const { parseRanking, rankingTensors } = await import(${JSON.stringify(join(projectRoot, 'src/differentiate/autodiff/ranking.ts'))});
const [units, backend] = [Number(process.argv[2]), process.argv[3]];
const path = ${JSON.stringify(join(folder, 'model.json'))};
const model = {
  kind: 'ranking', version: 1, features: [{ name: 'x', type: 'dense', size: 512 }],
  shared: { type: 'shared-bottom', units: [units], activation: 'relu' },
  tasks: [{ name: 'a', units: [], loss: 'sigmoid-cross-entropy' }],
};
writeFileSync(path, JSON.stringify(model));
const sources = rankingTensors(parseRanking(model, path));
const { objective } = await openObjective(path, sources, 'the test', {
  ...(backend === '' ? {} : { backend }),
  sample: async () => [new Map([
    ['x', { shape: [64, 512], data: Float32Array.from({ length: 64 * 512 }, (_, i) => Math.sin(i)) }],
    ['label/a', { shape: [64], data: Float32Array.from({ length: 64 }, (_, i) => i % 2) }],
  ])],
});
console.log(JSON.stringify({ backend: objective.backend, notes: objective.notes }));
await objective.close();
`,
);

// Two objectives whose gradients take so many milliseconds.
writeFileSync(
  join(folder, 'faster.mts'),
  `import { setTimeout as wait } from 'node:timers/promises';
const { fasterObjective } = await import(${JSON.stringify(join(projectRoot, 'src/differentiate/autodiff/faster-backend.ts'))});
const closed = [];
const taking = (backend, milliseconds) => ({
  backend, size: 2 ** 20, notes: [], check() {}, gradient: () => wait(milliseconds), close: async () => closed.push(backend),
});
const [ours, its] = process.argv.slice(2).map(Number);
const { backend, notes } = await fasterObjective(
  taking('wasm', ours), 'a net', async () => [new Map()], async () => taking('tfjs-node', its));
console.log(JSON.stringify({ backend, notes, closed }));
`,
);

interface Printed {
  readonly name?: string;
  readonly backend?: string;
  readonly notes?: string[];
  readonly code?: string;
  readonly closed?: string[];
}

function run(tfjsNode: string | undefined, script: string, args: readonly string[]): Printed {
  const path = mkdtempSync(join(folder, 'modules-'));
  const place = join(path, '@tensorflow/tfjs-node');
  mkdirSync(place, { recursive: true });
  if (tfjsNode !== undefined) writeFileSync(join(place, 'index.js'), tfjsNode);
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', join(folder, script), ...args], {
    cwd: projectRoot,
    env: { ...process.env, NODE_PATH: path },
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Printed;
}

const load = (tfjsNode: string | undefined, wanted: string[] = []): Printed =>
  run(tfjsNode, 'load.mts', wanted);
const choose = (tfjsNode: string, units = 512, backend = ''): Printed =>
  run(tfjsNode, 'choose.mts', [`${units}`, backend]);

/** The kernels of the cpu backend under the name of tfjs-node's; like it, it exports tfjs-core and tfjs-layers. */
const standIn = `
const tf = require(${JSON.stringify(require.resolve('@tensorflow/tfjs-core'))});
const { MathBackendCPU } = require(${JSON.stringify(require.resolve('@tensorflow/tfjs-backend-cpu'))});
tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
tf.copyRegisteredKernels('cpu', 'tensorflow');
module.exports = { ...tf, ...require(${JSON.stringify(require.resolve('@tensorflow/tfjs-layers'))}) };
`;

it.skipIf(installed())('no tfjs-node: not a word of it, unless it is asked for', () => {
  expect(load(undefined)).toEqual({ name: 'wasm', notes: [] });
  expect(load(undefined, ['tfjs-node'])).toEqual({ code: 'backend-unavailable' });
});

it.skipIf(installed())('a broken install, which throws without a code: one quiet note, and wasm', () => {
  for (const thrown of ["new Error('The native addon cannot be found')", 'undefined', "'text'"]) {
    const { backend, notes } = choose(`throw ${thrown};`);
    expect(backend).toBe('wasm');
    expect(notes).toEqual([
      expect.stringMatching(/^tfjs-node is not used: no backend for differentiation loads \(tfjs-node\): /),
    ]);
  }
  expect(load("throw new Error('no');", ['tfjs-node'])).toEqual({ code: 'backend-unavailable' });
});

it.skipIf(installed())('on Node 23 and newer too: what tfjs-node calls is there again', () => {
  const calls =
    "const util = require('util'); if (!util.isNullOrUndefined(null) || !util.isArray([])) throw 1;";
  expect(load(calls + standIn, ['tfjs-node'])).toEqual({ name: 'tfjs-node', notes: [] });
  // Unless it is asked for, it is looked at for large nets alone.
  expect(load(calls + standIn)).toEqual({ name: 'wasm', notes: [] });
});

it.skipIf(installed())('a large net runs where its gradient takes less, and the report says so', () => {
  // The kernels of the cpu backend are slower than wasm's.
  const { backend, notes } = choose(standIn);
  expect([backend, notes]).toEqual([
    'wasm',
    [
      expect.stringMatching(
        /^a gradient of this net takes .* ms on wasm and .* ms on tfjs-node, so wasm runs$/,
      ),
    ],
  ]);
  expect(run(standIn, 'faster.mts', ['20', '2'])).toEqual({
    backend: 'tfjs-node',
    notes: [expect.stringMatching(/^a gradient .*, so tfjs-node runs$/)],
    closed: ['wasm'],
  });
  // A tenth less is what other work on the machine may take.
  expect(run(standIn, 'faster.mts', ['20', '18'])).toMatchObject({ backend: 'wasm', closed: ['tfjs-node'] });
  // A small one is not measured: nothing is said.
  expect(choose(standIn, 16)).toEqual({ backend: 'wasm', notes: [] });
  // One asked for runs.
  expect(choose(standIn, 512, 'tfjs-node')).toEqual({ backend: 'tfjs-node', notes: [] });
});

it.skipIf(installed())('wrong second derivatives: refused by the self-test, and wasm', () => {
  const wrong = `${standIn}
const { kernelFunc } = tf.getKernel('Sigmoid', 'cpu');
tf.unregisterKernel('Sigmoid', 'tensorflow');
tf.registerKernel({ kernelName: 'Sigmoid', backendName: 'tensorflow', kernelFunc: (all) => {
  const out = kernelFunc(all);
  const values = all.backend.data.get(out.dataId).values;
  for (let i = 0; i < values.length; i++) values[i] *= 1.01;
  return out;
} });`;
  const { backend, notes } = choose(wrong);
  expect(backend).toBe('wasm');
  expect(notes).toEqual([
    expect.stringMatching(
      /^tfjs-node is not used: the backend tfjs-node computes wrong second derivatives: sigmoid″/,
    ),
  ]);
  expect(load(wrong, ['tfjs-node'])).toEqual({ code: 'backend-wrong' });
});
