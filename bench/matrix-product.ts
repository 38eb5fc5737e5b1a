/**
 * Our product of matrices on the wasm backend against tfjs's own, PyTorch's and what WebAssembly's 128 bits can do at most.
 *
 *     npx tsx bench/matrix-product.ts [REPEATS]
 *
 * Products of a gradient of the net of curvature.ts, float32, one thread; ours and tfjs's alternate in one run. The second
 * argument is a new tensor each time, as in training: tfjs keeps what it packed of the last ones. PyTorch follows, with the
 * interpreter that CLIPPY_DIAG_PYTHON names.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type { Rank } from '@tensorflow/tfjs-core';
import { loadBackend } from '../src/autodiff/backend.ts';
import {
  assemble,
  constant,
  get,
  I32,
  int,
  loop,
  newMemory,
  op,
  set,
  store,
  V128,
  vec,
} from '../src/kernels/wasm-assembler.ts';
import { pythonWith } from '../test/support/python.ts';

const repeats = Number(process.argv[2] ?? 30);
const { tf } = await loadBackend('wasm');
/** Milliseconds of processor time of this process, so that other work on the machine does not count. */
const now = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const median = (x: readonly number[]): number => [...x].sort((a, b) => a - b)[x.length >> 1]!;

/** Steps s ← s + s·a on so many vectors that no step waits for another, in GFLOP/s; null where it does not compile. */
function peak(fused: boolean): number | null {
  // f32x4.relaxed_madd of Relaxed SIMD, which Node has from version 21 on, and before that behind a flag.
  const multiplyAdd = [0xfd, 0x85, 0x02];
  const [count, factor, first, sums] = [0, 1, 2, 14] as const;
  const each = (make: (i: number) => number[]): number[] =>
    Array.from({ length: sums }, (_, i) => make(first + i)).flat();
  const step = (sum: number): number[] =>
    set(
      sum,
      fused
        ? op(multiplyAdd, get(sum), get(factor), get(sum))
        : op(vec.add, get(sum), op(vec.mul, get(sum), get(factor))),
    );
  const body = [
    ...loop([...each(step), ...each(step), ...set(count, op(int.sub, get(count), constant(1)))], get(count)),
    ...each((sum) => store(count, get(sum), 16 * sum)),
  ];
  const locals = new Array<number>(1 + sums).fill(V128);
  let run: (count: number) => void;
  try {
    ({ run } = assemble<{ run(count: number): void }>(
      [{ name: 'run', parameters: [I32], results: [], locals, body }],
      newMemory(65536),
    ));
  } catch {
    return null;
  }
  const rounds = 2 ** 20;
  const times = Array.from({ length: repeats + 3 }, () => {
    const start = now();
    run(rounds);
    return now() - start;
  });
  return (1e-6 * 2 * 4 * 2 * sums * rounds) / median(times.slice(3));
}
setFlagsFromString('--experimental-wasm-relaxed-simd');
const [plain, fused] = [peak(false), peak(true)].map((x) => x?.toFixed(1) ?? 'not here');
console.log(`most of 128-bit SIMD, from registers: ${plain} GFLOP/s, with fused multiply-add ${fused}`);

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
