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
const { loadBackend } = await import(${JSON.stringify(join(projectRoot, 'src/autodiff/backend.ts'))});
try {
  const { name, notes } = await loadBackend(process.argv[2] || undefined, Number(process.argv[3] ?? Infinity));
  console.log(JSON.stringify({ name, notes }));
} catch (error) {
  console.log(JSON.stringify({ code: (error as any).code }));
}
`,
);

function load(tfjsNode: string | undefined, wanted: string[] = []) {
  const path = mkdtempSync(join(folder, 'modules-'));
  const place = join(path, '@tensorflow/tfjs-node');
  mkdirSync(place, { recursive: true });
  if (tfjsNode !== undefined) writeFileSync(join(place, 'index.js'), tfjsNode);
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(folder, 'load.mts'), ...wanted],
    { cwd: projectRoot, env: { ...process.env, NODE_PATH: path }, encoding: 'utf8' },
  );
  expect(stderr).toBe('');
  return JSON.parse(stdout) as { name?: string; notes?: string[]; code?: string };
}

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
    const { name, notes } = load(`throw ${thrown};`);
    expect(name).toBe('wasm');
    expect(notes).toEqual([expect.stringMatching(/^tfjs-node does not load \(.*\): slower backend in use$/)]);
  }
  expect(load("throw new Error('no');", ['tfjs-node'])).toEqual({ code: 'backend-unavailable' });
});

it.skipIf(installed())(
  'for large models, on Node 23 and newer too: what tfjs-node calls is there again',
  () => {
    const calls =
      "const util = require('util'); if (!util.isNullOrUndefined(null) || !util.isArray([])) throw 1;";
    expect(load(calls + standIn)).toEqual({ name: 'tfjs-node', notes: [] });
    // For a small model it is slower, and nothing is said; it can be asked for.
    expect(load(calls + standIn, ['', '100000'])).toEqual({ name: 'wasm', notes: [] });
    expect(load(calls + standIn, ['tfjs-node', '100000'])).toEqual({ name: 'tfjs-node', notes: [] });
  },
);

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
  const { name, notes } = load(wrong);
  expect(name).toBe('wasm');
  expect(notes).toEqual([
    expect.stringMatching(/^backend tfjs-node has wrong second derivatives \(sigmoid.* and is not used$/),
  ]);
  expect(load(wrong, ['tfjs-node'])).toEqual({ code: 'backend-wrong' });
});
