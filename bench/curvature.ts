/**
 * Gradient and Hessian-vector product against PyTorch, the search of the top eigenvalue against power iteration in PyTorch,
 * and products of Lanczos against power iteration.
 *
 *     npx tsx bench/curvature.ts [REPEATS]
 *
 * MLP 256-512-256-128 with four towers of 64, batch 1024, float32, one thread each; sides alternate in one run. The
 * products are counted on the shipped nets, to a residual of 1 %.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadBackend } from '../src/autodiff/backend.ts';
import { differentiate } from '../src/autodiff/differentiate.ts';
import type { Batch, BatchTensor, Objective } from '../src/autodiff/objective.ts';
import { parseRanking, rankingNetwork } from '../src/autodiff/ranking.ts';
import { sharedObjective } from '../src/autodiff/remote.ts';
import { openCapture } from '../src/captures/read.ts';
import type { LinearOperator } from '../src/curvature/operator.ts';
import { randomVectors } from '../src/curvature/random.ts';
import { type EigenResult, topEigenpairs } from '../src/curvature/top-eigenpairs.ts';
import { measureCurvature } from '../src/measure/curvature.ts';
import { capturePoint } from '../src/measure/point.ts';
import { pythonWith } from '../test/support/python.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const repeats = Number(process.argv[2] ?? 10);
const TASKS = ['a', 'b', 'c', 'd'];
const document = {
  kind: 'ranking',
  version: 1,
  features: [{ name: 'x', type: 'dense', size: 256 }],
  shared: { type: 'shared-bottom', units: [512, 256, 128], activation: 'relu' },
  tasks: TASKS.map((name) => ({ name, units: [64], loss: 'sigmoid-cross-entropy' })),
};

const backend = await loadBackend();
const network = rankingNetwork(backend.tf, parseRanking(document, 'bench'));
const objective = differentiate(backend, network);
const random = randomVectors(0);
const w = Float32Array.from(random.gaussian(objective.size), (x) => 0.05 * x);
const v = Float32Array.from(random.gaussian(objective.size));
const batch: Batch = new Map<string, BatchTensor>([
  ['x', { shape: [1024, 256], data: Float32Array.from(random.gaussian(1024 * 256)) }],
  ...TASKS.map(
    (task) =>
      [
        `label/${task}`,
        { shape: [1024], data: Float32Array.from(random.signs(1024), (x) => (x + 1) / 2) },
      ] as const,
  ),
]);

/** Processor time of this process, so that other work on the machine does not count; `wall` for two threads. */
async function time(f: () => Promise<unknown>, wall: boolean): Promise<number> {
  const start = wall ? 1000 * performance.now() : process.cpuUsage();
  await f();
  if (typeof start === 'number') return performance.now() - start / 1000;
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}
const median = (x: readonly number[]): number => [...x].sort((a, b) => a - b)[x.length >> 1]!;
const show = (x: readonly number[]): string =>
  `${median(x).toFixed(0)} ms (${Math.min(...x).toFixed(0)} to ${Math.max(...x).toFixed(0)})`;

async function measure(o: Objective, wall = false): Promise<{ gradient: number[]; hvp: number[] }> {
  await o.hvp(w, v, [batch]);
  const gradient: number[] = [];
  const hvp: number[] = [];
  for (let i = 0; i < repeats; i++) {
    gradient.push(await time(() => o.gradient(w, [batch]), wall));
    hvp.push(await time(() => o.hvp(w, v, [batch]), wall));
  }
  return { gradient, hvp };
}

const one = await measure(objective);
const scratch = await mkdtemp(join(tmpdir(), 'clippy-diag-bench-'));
const pointFile = join(scratch, 'point.f32');
await writeFile(
  pointFile,
  Float32Array.from(
    ['x', ...TASKS.map((task) => `label/${task}`)].reduce<number[]>(
      (all, name) => all.concat(Array.from(batch.get(name)!.data as Float32Array)),
      Array.from(w),
    ),
  ),
);
const interpreter = pythonWith('torch') ?? '/usr/bin/python3';
const torch = spawnSync(interpreter, [join(root, 'bench/curvature_torch.py'), String(repeats), pointFile], {
  env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
  encoding: 'utf8',
});
const operator: LinearOperator = {
  size: objective.size,
  apply: async (u, out) => {
    out.set(await objective.hvp(w, new Float32Array(u), [batch]));
  },
};
const searches: number[] = [];
let found: EigenResult | undefined;
for (let i = 0; i < 3; i++)
  searches.push(
    await time(async () => {
      found = await topEigenpairs(operator, { method: 'lanczos', seed: i });
    }, false),
  );
// The pair is certified, and printed, before a second start asks whether there is a larger one.
const first: number[] = [];
let certified: EigenResult | undefined;
for (let i = 0; i < 3; i++)
  first.push(
    await time(async () => {
      certified = await topEigenpairs(operator, { method: 'lanczos', seed: i, starts: 1 });
    }, false),
  );
const again = await measure(objective);
const ours = { gradient: [...one.gradient, ...again.gradient], hvp: [...one.hvp, ...again.hvp] };
console.log(`${backend.name}: gradient ${show(ours.gradient)}, HVP ${show(ours.hvp)}`);
console.log(`HVP / gradient: ${(median(ours.hvp) / median(ours.gradient)).toFixed(2)}`);
if (torch.status === 0) {
  const peer = JSON.parse(torch.stdout) as {
    torch: string;
    blas: string[];
    gradient: number[];
    hvp: number[];
    search: { products: number; value: number; residual: number; ms: number };
  };
  console.log(
    `PyTorch ${peer.torch} with ${peer.blas.join(', ')}: gradient ${show(peer.gradient)}, HVP ${show(peer.hvp)}`,
  );
  console.log(
    `ours / PyTorch: gradient ${(median(ours.gradient) / median(peer.gradient)).toFixed(2)}, HVP ${(median(ours.hvp) / median(peer.hvp)).toFixed(2)}`,
  );
  console.log(
    `certified by the first start: ${certified!.products} products, ${show(first)}; ${(median(first) / peer.search.ms).toFixed(2)} times PyTorch's search`,
  );
  const [pair] = found!.pairs;
  console.log(
    `top eigenvalue, a second start included: ${pair!.value.toPrecision(6)} ± ${pair!.residualNorm.toPrecision(2)} with ${found!.products} products, ${show(searches)}`,
  );
  console.log(
    `power iteration in PyTorch, as PyHessian stops it: ${peer.search.value.toPrecision(6)} ± ${peer.search.residual.toPrecision(2)} with ${peer.search.products} products, ${peer.search.ms.toFixed(0)} ms; ours takes ${(median(searches) / peer.search.ms).toFixed(2)} times that`,
  );
} else console.log(`no PyTorch to compare with: ${torch.stderr.split('\n').at(-2)}`);

if (backend.name === 'wasm') {
  const path = join(scratch, 'model.json');
  await writeFile(path, JSON.stringify(document));
  const shared = sharedObjective(objective, {
    path,
    sourcePath: path,
    sources: network.tensors.map(({ name, shape, layout }) => ({ name, shape, layout })),
    backend: 'wasm',
  });
  const alone = await measure(objective, true);
  const two = await measure(shared, true);
  console.log(
    `two threads: gradient ${show(two.gradient)}, HVP ${show(two.hvp)}: ${(median(alone.gradient) / median(two.gradient)).toFixed(2)} and ${(median(alone.hvp) / median(two.hvp)).toFixed(2)} times as fast as one (wall time)`,
  );
  await shared.close();
}
await rm(scratch, { recursive: true });

console.log('\nproducts to 1 %, one start:   Lanczos   power');
for (const name of [
  'incident/capture',
  'captures/embedding',
  'captures/seed-2',
  'captures/micro-divergence',
]) {
  const capture = await openCapture(join(root, 'fixtures', name));
  const point = await capturePoint(capture, {});
  const counts: Record<string, number[]> = {};
  for (const method of ['lanczos', 'power'] as const)
    for (let seed = 0; seed < 5; seed++) {
      const { entries } = await measureCurvature(point, {
        method,
        count: 1,
        tolerance: 0.01,
        seed,
        starts: 1,
        maxProducts: 1000,
      });
      for (const entry of entries) {
        const key = `${method} ${entry.operator}`;
        counts[key] = [...(counts[key] ?? []), entry.hvpCount];
      }
    }
  for (const operator of ['hessian', 'preconditioned-hessian'])
    console.log(
      `${name} ${operator}: ${counts[`lanczos ${operator}`]!.join(' ')}   ${counts[`power ${operator}`]!.join(' ')}`,
    );
  await point.model.objective.close();
}
