/**
 * Our product of matrices on the wasm backend against tfjs's own, PyTorch's and what WebAssembly's vectors can do at most.
 *
 *     npx tsx bench/matrix-product.ts [REPEATS]
 *
 * Products of a gradient of the net of curvature.ts, float32, one thread; ours and tfjs's alternate in one run. The second
 * argument is a new tensor each time, as in training: tfjs keeps what it packed of the last ones. PyTorch follows, with the
 * interpreter that CLIPPY_DIAG_PYTHON names.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Rank } from '@tensorflow/tfjs-core';
import { loadBackend } from '../src/differentiate/autodiff/backend.ts';
import { fusedMultiplyAdd } from '../src/step/kernels/fused-multiply-add.ts';
import {
  compileModule,
  constant,
  get,
  I32,
  instantiate,
  int,
  loop,
  moduleOf,
  newMemory,
  op,
  set,
  store,
  V128,
  vec,
} from '../src/step/kernels/wasm-assembler.ts';
import { compileOptimized, mayHaveWideVectors } from '../src/step/kernels/wide-vectors.ts';
import { pythonWith } from '../test/support/python.ts';

const repeats = Number(process.argv[2] ?? 30);
const { tf } = await loadBackend('wasm');
/** Milliseconds of processor time of this process, so that other work on the machine does not count. */
const now = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const median = (x: readonly number[]): number => [...x].sort((a, b) => a - b)[x.length >> 1]!;

/** Steps s ← s + s·a on so many vectors that no step waits for another, in GFLOP/s. */
function peak(fused: boolean, wide: boolean): number {
  const sums = wide ? 24 : 14;
  const [count, factor, first] = [0, 1, 2] as const;
  const each = (make: (i: number) => number[]): number[] =>
    Array.from({ length: sums }, (_, i) => make(first + i)).flat();
  const step = (sum: number): number[] =>
    set(
      sum,
      fused
        ? op(vec.multiplyAdd, get(sum), get(factor), get(sum))
        : op(vec.add, get(sum), op(vec.mul, get(sum), get(factor))),
    );
  const body = [
    ...loop([...each(step), ...each(step), ...set(count, op(int.sub, get(count), constant(1)))], get(count)),
    ...each((sum) => store(count, get(sum), 16 * sum)),
  ];
  const locals = new Array<number>(1 + sums).fill(V128);
  const bytes = moduleOf([{ name: 'run', parameters: [I32], results: [], locals, body }]);
  const module = wide ? compileOptimized(bytes, true) : compileModule(bytes);
  const { run } = instantiate<{ run(count: number): void }>(module, newMemory(65536));
  const rounds = 2 ** 20;
  const times = Array.from({ length: repeats + 3 }, () => {
    const start = now();
    run(rounds);
    return now() - start;
  });
  return (1e-6 * 2 * 4 * 2 * sums * rounds) / median(times.slice(3));
}
const hasFused = fusedMultiplyAdd() === 'fused';
for (const wide of mayHaveWideVectors() ? [false, true] : [false]) {
  const [plain, fused] = [peak(false, wide).toFixed(1), hasFused ? peak(true, wide).toFixed(1) : 'not here'];
  const bits = wide ? 256 : 128;
  console.log(`most of ${bits}-bit SIMD, from registers: ${plain} GFLOP/s, with fused multiply-add ${fused}`);
}

const SHAPES = [
  [1024, 256, 512, false, false],
  [256, 1024, 512, true, false],
  [1024, 512, 256, false, true],
  [1024, 128, 64, false, false],
  [128, 1024, 64, true, false],
  [1024, 64, 128, false, true],
] as const;
const torch = spawnSync(
  pythonWith('torch') ?? 'python3',
  [
    fileURLToPath(new URL('matrix_product_torch.py', import.meta.url)),
    String(repeats),
    JSON.stringify(SHAPES),
  ],
  { env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' }, encoding: 'utf8' },
);
const peer = torch.status === 0 ? (JSON.parse(torch.stdout) as number[]) : null;
if (peer === null) console.log(`no PyTorch to compare with: ${torch.stderr?.split('\n').at(-2)}`);

console.log('rows × depth × columns     ours   tfjs PyTorch (GFLOP/s, medians)');
for (const [at, [rows, depth, columns, transposeA, transposeB]] of SHAPES.entries()) {
  const a = tf.randomNormal<Rank.R3>(transposeA ? [1, depth, rows] : [1, rows, depth]);
  const b = tf.randomNormal<Rank.R3>(transposeB ? [1, columns, depth] : [1, depth, columns]);
  const sides = [
    (fresh: typeof b) => tf.matMul(a, fresh, transposeA, transposeB),
    // The kernel itself: `tf.fused` has been given our product.
    (fresh: typeof b) =>
      tf
        .engine()
        .runKernel(
          '_FusedMatMul',
          { a, b: fresh },
          { transposeA, transposeB, activation: 'linear' },
        ) as typeof a,
  ];
  const times: [number[], number[]] = [[], []];
  for (let i = -3; i < repeats; i++)
    for (const [side, run] of sides.entries()) {
      const fresh = tf.add(b, 0) as typeof b;
      const start = now();
      run(fresh).dispose();
      if (i >= 0) times[side]!.push(now() - start);
      fresh.dispose();
    }
  const speeds = times.map((t) => (2e-6 * rows * depth * columns) / median(t));
  if (peer !== null) speeds.push(peer[at]!);
  const shape = `${rows} × ${depth} × ${columns}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}`;
  console.log(`${shape.padEnd(24)} ${speeds.map((speed) => speed.toFixed(1).padStart(6)).join(' ')}`);
  a.dispose();
  b.dispose();
}
