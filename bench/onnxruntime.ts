/**
 * The gradient of the net of curvature.ts by onnxruntime-node beside the wasm backend; it is no dependency.
 *
 *     python3 bench/onnx_gradient.py OUT/gradient.onnx
 *     ONNXRUNTIME_NODE_INSTALL=skip npm install --prefix OUT/ort onnxruntime-node
 *     npx tsx bench/onnxruntime.ts OUT/gradient.onnx OUT/ort [REPEATS]
 */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { loadBackend } from '../src/differentiate/autodiff/backend.ts';
import { differentiate } from '../src/differentiate/autodiff/differentiate.ts';
import type { Batch, BatchTensor } from '../src/differentiate/autodiff/objective.ts';
import { parseRanking, rankingNetwork } from '../src/differentiate/autodiff/ranking.ts';
import { randomVectors } from '../src/differentiate/curvature/random.ts';

interface OnnxRuntime {
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => object;
  readonly InferenceSession: {
    create(
      path: string,
      options: object,
    ): Promise<{ run(feeds: object): Promise<Record<string, { data: Float32Array }>> }>;
  };
}

const [graph = '', packages = '', count = '20'] = process.argv.slice(2);
const ort = createRequire(join(resolve(packages), 'package.json'))('onnxruntime-node') as OnnxRuntime;
const TASKS = ['a', 'b', 'c', 'd'];
const backend = await loadBackend('wasm');
const network = rankingNetwork(
  backend.tf,
  parseRanking(
    {
      kind: 'ranking',
      version: 1,
      features: [{ name: 'x', type: 'dense', size: 256 }],
      shared: { type: 'shared-bottom', units: [512, 256, 128], activation: 'relu' },
      tasks: TASKS.map((name) => ({ name, units: [64], loss: 'sigmoid-cross-entropy' })),
    },
    'bench',
  ),
);
const objective = differentiate(backend, network);
const random = randomVectors(0);
const w = Float32Array.from(random.gaussian(objective.size), (x) => 0.05 * x);
const x = Float32Array.from(random.gaussian(1024 * 256));
const labels = TASKS.map(() => Float32Array.from(random.signs(1024), (sign) => (sign + 1) / 2));
const batch: Batch = new Map<string, BatchTensor>([
  ['x', { shape: [1024, 256], data: x }],
  ...TASKS.map((task, t) => [`label/${task}`, { shape: [1024], data: labels[t]! }] as const),
]);
const session = await ort.InferenceSession.create(graph, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const feeds: Record<string, object> = { x: new ort.Tensor('float32', x, [1024, 256]) };
for (const [t, y] of labels.entries()) feeds[`y${t}`] = new ort.Tensor('float32', y, [1024]);
const nameOf = (i: number): string => `${i % 2 === 0 ? 'w' : 'b'}${i >> 1}`;
for (const [i, { offset, size, shape }] of objective.tensors.entries())
  feeds[nameOf(i)] = new ort.Tensor('float32', w.subarray(offset, offset + size), shape);

const { gradient } = await objective.gradient(w, [batch]);
const found = await session.run(feeds);
let difference = 0;
let largest = 0;
for (const [i, { offset, size }] of objective.tensors.entries())
  for (let k = 0; k < size; k++) {
    const theirs = found[`g${nameOf(i)}`]!.data[k]!;
    difference = Math.max(difference, Math.abs(theirs - gradient[offset + k]!));
    largest = Math.max(largest, Math.abs(theirs));
  }
console.log(`largest difference ${(difference / largest).toExponential(1)} of the largest entry`);

const time = async (f: () => Promise<unknown>): Promise<number> => {
  const start = process.cpuUsage();
  await f();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
};
const ours: number[] = [];
const theirs: number[] = [];
for (let i = 0; i < Number(count); i++) {
  ours.push(await time(() => objective.gradient(w, [batch])));
  theirs.push(await time(() => session.run(feeds)));
}
for (const [name, times] of [
  ['wasm', ours],
  ['onnxruntime', theirs],
] as const) {
  const sorted = [...times].sort((a, b) => a - b);
  console.log(
    `${name}: ${sorted[sorted.length >> 1]!.toFixed(0)} ms of processor time (${sorted[0]!.toFixed(0)} to ${sorted.at(-1)!.toFixed(0)})`,
  );
}
