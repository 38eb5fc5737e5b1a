/**
 * Gradient, Hessian-vector products and the search of the top eigenvalue against power iteration in PyTorch, two threads
 * against one, and products of Lanczos against power iteration.
 *
 *     npm run build && npx tsx bench/curvature.ts [REPEATS]
 *
 * MLP 256-512-256-128 with four towers of 64, batch 1024, float32. First processor time on one thread each, so that other
 * work on the machine does not count, PyTorch before and after ours; then what a user waits for, by the clock: ours with the
 * threads that it takes by default, PyTorch with one. Two threads against one are at least 80 calls of each kind, in turns of
 * twenty: a search makes as many products one after the other.
 * The products are counted on the shipped nets, to a residual of 1 %.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBackend } from '../src/differentiate/autodiff/backend.ts';
import { differentiate } from '../src/differentiate/autodiff/differentiate.ts';
import type { Batch, BatchTensor, Objective } from '../src/differentiate/autodiff/objective.ts';
import { parseRanking, rankingNetwork } from '../src/differentiate/autodiff/ranking.ts';
import { sharedObjective } from '../src/differentiate/autodiff/remote.ts';
import { randomVectors } from '../src/differentiate/curvature/random.ts';
import { type EigenResult, topEigenpairs } from '../src/differentiate/curvature/top-eigenpairs.ts';
import { measureCurvature, productsAt } from '../src/experiment/measure/curvature.ts';
import { capturePoint } from '../src/experiment/measure/point.ts';
import { formatNumber } from '../src/model/format-number.ts';
import { openCapture } from '../src/read/captures/read.ts';
import { pythonWith } from '../test/support/python.ts';
import { root, runAsBuilt } from './as-built.ts';

await runAsBuilt(import.meta.url);
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

/** Milliseconds on all processors that this process had, and by the clock. */
interface Taken {
  readonly processor: number;
  readonly wall: number;
}
function stopwatch(): () => Taken {
  const [start, used] = [performance.now(), process.cpuUsage()];
  return () => {
    const { user, system } = process.cpuUsage(used);
    return { processor: (user + system) / 1000, wall: performance.now() - start };
  };
}
const quantile = (x: readonly number[], q: number): number =>
  [...x].sort((a, b) => a - b)[Math.min(x.length - 1, Math.floor(q * x.length))]!;
const median = (x: readonly number[]): number => quantile(x, 0.5);
const show = (x: readonly number[]): string =>
  `${median(x).toFixed(0)} ms (${Math.min(...x).toFixed(0)} to ${Math.max(...x).toFixed(0)})`;
const spread = (x: readonly number[]): string =>
  `${formatNumber(median(x))} (${formatNumber(Math.min(...x))} to ${formatNumber(Math.max(...x))})`;
const against = (ours: readonly number[], theirs: readonly number[]): string =>
  `${show(ours)}, PyTorch ${show(theirs)}: ${(median(ours) / median(theirs)).toFixed(2)} times`;

/** Calls of each kind in a turn. */
const TURN = 20;
const KINDS = ['gradient', 'first product at a point', 'a further product there'] as const;
/** `count` times of each kind of call, which follow each other: a gradient frees what products at its point share. */
async function callsOf(o: Objective, clock: keyof Taken, count: number): Promise<number[][]> {
  const into = new Float32Array(o.size);
  const product = (): Promise<unknown> => o.hvp(w, v, [batch], undefined, into);
  const calls = [() => o.gradient(w, [batch], undefined, into), product, product];
  const times: number[][] = calls.map(() => []);
  for (let i = 0; i < count; i++)
    for (const [kind, call] of calls.entries()) {
      const taken = stopwatch();
      await call();
      times[kind]!.push(taken()[clock]);
    }
  return times;
}
const joined = (parts: readonly number[][][]): number[][] =>
  KINDS.map((_, kind) => parts.flatMap((part) => part[kind]!));

interface Search {
  /** Where the pair is certified, and printed: the search goes on, until a larger one is excluded. */
  readonly certified: Taken & { readonly products: number };
  readonly all: Taken;
  readonly result: EigenResult;
}
const SEEDS = [0, 1, 2, 3, 4];
async function searches(o: Objective): Promise<Search[]> {
  const found: Search[] = [];
  for (const seed of SEEDS) {
    await o.gradient(w, [batch]);
    const taken = stopwatch();
    let certified: Search['certified'] | undefined;
    const result = await topEigenpairs(productsAt(o, w, [batch]), {
      method: 'lanczos',
      seed,
      onSearch: (products, known) => {
        if (known?.converged === true) certified ??= { ...taken(), products };
      },
    });
    found.push({ certified: certified!, all: taken(), result });
  }
  return found;
}

/** What curvature_torch.py prints. */
interface Peer {
  readonly torch: string;
  readonly blas: readonly string[];
  /** Milliseconds of processor time, for each of {@link KINDS}. */
  readonly times: number[][];
  readonly searches: readonly (Taken & { products: number; value: number; residual: number })[];
}
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
function runTorch(seeds: readonly [from: number, end: number]): Peer | null {
  const torch = spawnSync(
    pythonWith('torch') ?? 'python3',
    [join(root, 'bench/curvature_torch.py'), String(repeats), pointFile, ...seeds.map(String)],
    { env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' }, encoding: 'utf8' },
  );
  if (torch.status === 0) return JSON.parse(torch.stdout) as Peer;
  console.log(`no PyTorch to compare with: ${torch.stderr?.split('\n').at(-2)}`);
  return null;
}

await callsOf(objective, 'wall', 3);
const before = runTorch([0, 6]);
const oneThread = await callsOf(objective, 'processor', repeats);
const alone = await searches(objective);
// Of all networks of this backend, so that there is no second one to open.
await loadBackend(backend.name, true);
await callsOf(objective, 'wall', 3);
const fastThread = await callsOf(objective, 'processor', repeats);
const fast = await searches(objective);
await loadBackend(backend.name);
const after = before && runTorch([6, 12]);
const peers = after === null ? [] : [before!, after];
const theirs = peers.flatMap((peer) => peer.searches);

console.log(`load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}, backend ${backend.name}`);
if (after !== null) console.log(`PyTorch ${after.torch} with ${after.blas.join(', ')}`);
const line = (what: string, ours: readonly number[], peer: readonly number[]): void =>
  console.log(`  ${what}: ${peer.length === 0 ? show(ours) : against(ours, peer)}`);
console.log('processor time on one thread');
for (const [kind, what] of KINDS.entries())
  line(what, oneThread[kind]!, joined(peers.map((peer) => peer.times))[kind]!);
const compareSearches = (found: readonly Search[], clock: keyof Taken): void => {
  const peer = theirs.map((search) => search[clock]);
  const counts = (products: readonly number[]): string =>
    [...new Set(products)].sort((a, b) => a - b).join(', ');
  line(
    `certified, ${counts(found.map((s) => s.certified.products))} products`,
    found.map((s) => s.certified[clock]),
    peer,
  );
  line(
    `and a larger one excluded, ${counts(found.map((s) => s.result.products))} products`,
    found.map((s) => s.all[clock]),
    peer,
  );
};
compareSearches(alone, 'processor');
console.log('the same with --fast-math');
for (const [kind, what] of KINDS.entries())
  line(what, fastThread[kind]!, joined(peers.map((peer) => peer.times))[kind]!);
compareSearches(fast, 'processor');
const [pair] = alone[0]!.result.pairs;
console.log(
  `  ours: ${pair!.value.toPrecision(6)} ± ${pair!.residualNorm.toPrecision(2)}, none above ${alone[0]!.result.excludedAbove?.toPrecision(6)}`,
);
if (theirs.length > 0)
  console.log(
    `  power iteration in PyTorch from ${theirs.length} starts, as PyHessian stops it: ${spread(theirs.map((s) => s.value))} ± ${spread(theirs.map((s) => s.residual))} with ${spread(theirs.map((s) => s.products))} products`,
  );

if (backend.name === 'wasm' && availableParallelism() > 1) {
  const path = join(scratch, 'model.json');
  await writeFile(path, JSON.stringify(document));
  const shared = sharedObjective(objective, {
    path,
    sourcePath: path,
    sources: network.tensors.map(({ name, shape, layout }) => ({ name, shape, layout })),
    backend: 'wasm',
  });
  await callsOf(shared, 'wall', 10);
  const turns: [number[][][], number[][][]] = [[], []];
  for (let done = 0; done < Math.max(80, repeats); done += TURN)
    for (const [side, o] of [objective, shared].entries()) turns[side]!.push(await callsOf(o, 'wall', TURN));
  console.log(`by the clock, one thread and two; load ${loadavg()[0]!.toFixed(1)}`);
  const [ofOne, ofTwo] = turns.map(joined) as [number[][], number[][]];
  for (const [kind, what] of KINDS.entries()) {
    const quarters = (x: readonly number[]): string =>
      `${median(x).toFixed(1)} ms (quarters ${quantile(x, 0.25).toFixed(1)} and ${quantile(x, 0.75).toFixed(1)}, least ${Math.min(...x).toFixed(1)})`;
    const [one, two] = [ofOne[kind]!, ofTwo[kind]!];
    const ratios = turns[0].map((turn, i) => median(turn[kind]!) / median(turns[1][i]![kind]!));
    console.log(
      `  ${what}: ${quarters(one)}, ${quarters(two)}: ${(median(one) / median(two)).toFixed(2)} times as fast (turns ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}; least against least ${(Math.min(...one) / Math.min(...two)).toFixed(2)})`,
    );
  }
  console.log('by the clock, ours with the threads that it takes by default, PyTorch with one');
  compareSearches(await searches(shared), 'wall');
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
