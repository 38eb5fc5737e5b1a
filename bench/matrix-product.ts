/**
 * Our product of matrices on the wasm backend against tfjs's own, which its fused product still runs.
 *
 *     npx tsx bench/matrix-product.ts [REPEATS]
 *
 * Products of a gradient of the net of curvature.ts, float32, one thread; sides alternate in one run. The second argument
 * is a new tensor each time, as in training: tfjs keeps what it packed of the last ones.
 */
import { loadBackend } from '../src/autodiff/backend.ts';

const repeats = Number(process.argv[2] ?? 30);
const { tf } = await loadBackend('wasm');
const median = (x: readonly number[]): number => [...x].sort((a, b) => a - b)[x.length >> 1]!;

console.log('rows × depth × columns     ours   tfjs (GFLOP/s, medians)');
for (const [rows, depth, columns, transposeA, transposeB] of [
  [1024, 256, 512, false, false],
  [256, 1024, 512, true, false],
  [1024, 512, 256, false, true],
  [1024, 128, 64, false, false],
  [128, 1024, 64, true, false],
  [1024, 64, 128, false, true],
] as const) {
  const a = tf.randomNormal(transposeA ? [depth, rows] : [rows, depth]) as ReturnType<typeof tf.tensor2d>;
  const b = tf.randomNormal(transposeB ? [columns, depth] : [depth, columns]) as typeof a;
  const sides = [
    (fresh: typeof b) => tf.matMul(a, fresh, transposeA, transposeB),
    (fresh: typeof b) => tf.fused.matMul({ a, b: fresh, transposeA, transposeB }),
  ];
  const times: [number[], number[]] = [[], []];
  for (let i = -3; i < repeats; i++)
    for (const [side, run] of sides.entries()) {
      const fresh = tf.add(b, 0) as typeof b;
      const start = performance.now();
      run(fresh).dispose();
      if (i >= 0) times[side]!.push(performance.now() - start);
      fresh.dispose();
    }
  const speed = times.map((t) => ((2e-6 * rows * depth * columns) / median(t)).toFixed(1).padStart(6));
  const shape = `${rows} × ${depth} × ${columns}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}`;
  console.log(`${shape.padEnd(24)} ${speed.join(' ')}`);
  a.dispose();
  b.dispose();
}
