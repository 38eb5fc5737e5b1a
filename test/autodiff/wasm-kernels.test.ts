/** The kernels of the wasm backend that are ours, against plain sums in float64. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { fusedMultiplyAdd } from '../../src/step/kernels/fused-multiply-add.ts';

const { tf } = await loadBackend('wasm');
type Tensor = InstanceType<typeof tf.Tensor>;

const values = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.sin(1.7 * i + seed) + 0.3 * Math.cos(0.11 * i * seed));

/** a · b in float64; entry (i, k) of a at a[i·aStep[0] + k·aStep[1]]. */
function plainProduct(
  [rows, depth, columns]: readonly [number, number, number],
  a: Float32Array,
  aStep: readonly [number, number],
  b: Float32Array,
  bStep: readonly [number, number],
): number[] {
  const out: number[] = [];
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < depth; k++)
        sum += a[i * aStep[0] + k * aStep[1]]! * b[k * bStep[0] + j * bStep[1]]!;
      out.push(sum);
    }
  return out;
}

function expectClose(found: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  expect(found.length).toBe(expected.length);
  let worst = 0;
  // NaN is not small: Math.max would keep it.
  for (const [i, value] of expected.entries()) worst = Math.max(worst, Math.abs(found[i]! - value));
  expect(worst).toBeLessThanOrEqual(tolerance);
}

const fma = fusedMultiplyAdd();
describe.each([
  ['plain', false],
  ['fused', true],
])('matMul, %s', (_, fused) => {
  beforeAll(() => loadBackend('wasm', fused));
  afterAll(() => loadBackend('wasm'));
  // Around the edges of tiles (4 × 8, fused 6 × 8) and blocks (516 rows, 256 deep).
  const shapes: [number, number, number][] = [];
  for (const rows of fused ? [1, 5, 6, 7, 12, 14, 521] : [1, 3, 4, 5, 16, 517])
    for (const depth of [1, 2, 255, 257])
      for (const columns of [1, 7, 8, 9, 24]) shapes.push([rows, depth, columns]);

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])('transposed: %s, %s', (transposeA, transposeB) => {
    for (const [rows, depth, columns] of shapes) {
      const a = values(rows * depth, 1);
      const b = values(depth * columns, 2);
      const found = tf.tidy(() =>
        tf
          .matMul(
            tf.tensor2d(a, transposeA ? [depth, rows] : [rows, depth]),
            tf.tensor2d(b, transposeB ? [columns, depth] : [depth, columns]),
            transposeA,
            transposeB,
          )
          .dataSync(),
      );
      const expected = plainProduct(
        [rows, depth, columns],
        a,
        transposeA ? [1, rows] : [depth, 1],
        b,
        transposeB ? [1, depth] : [columns, 1],
      );
      expectClose(found, expected, 1e-6 * depth);
    }
  });

  it('of batches: one for each, or one for all', () => {
    const a = values(2 * 3 * 5 * 6, 1);
    const b = values(2 * 3 * 6 * 9, 2);
    const all = tf.tidy(() =>
      tf.matMul(tf.tensor4d(a, [2, 3, 5, 6]), tf.tensor4d(b, [2, 3, 6, 9])).dataSync(),
    );
    const shared = tf.tidy(() =>
      tf.matMul(tf.tensor(a, [6, 5, 6]), tf.tensor(b.slice(0, 54), [1, 6, 9])).dataSync(),
    );
    for (let i = 0; i < 6; i++) {
      const one = a.slice(30 * i, 30 * (i + 1));
      const plain = (from: number) => plainProduct([5, 6, 9], one, [6, 1], b.slice(from, from + 54), [9, 1]);
      expectClose(all.slice(45 * i, 45 * (i + 1)), plain(54 * i), 1e-5);
      expectClose(shared.slice(45 * i, 45 * (i + 1)), plain(0), 1e-5);
    }
  });

  it('NaN and infinity stay in their rows and columns', () => {
    const a = values(6 * 10, 1);
    a[2 * 10 + 3] = Number.NaN;
    a[5 * 10] = Number.POSITIVE_INFINITY;
    const found = tf.tidy(() => tf.matMul(tf.tensor2d(a, [6, 10]), tf.ones([10, 11])).dataSync());
    for (let i = 0; i < 6; i++)
      for (let j = 0; j < 11; j++) {
        const value = found[i * 11 + j]!;
        if (i === 2) expect(value).toBeNaN();
        else if (i === 5) expect(value).toBe(Number.POSITIVE_INFINITY);
        else expect(Number.isFinite(value)).toBe(true);
      }
  });

  it('of nothing is zero', () => {
    expect([...tf.tidy(() => tf.matMul(tf.zeros([2, 0]), tf.zeros([0, 3])).dataSync())]).toEqual(
      new Array(6).fill(0),
    );
  });
});

it.runIf(fma === 'fused')('fused multiply-add rounds once, and only where it is asked for', async () => {
  const a = values(30, 1);
  const b = values(30 * 8, 2);
  const product = (): number[] => [
    ...tf.tidy(() => tf.matMul(tf.tensor2d(a, [1, 30]), tf.tensor2d(b, [30, 8])).dataSync()),
  ];
  const rounded = (once: boolean): number[] =>
    Array.from({ length: 8 }, (_, j) => {
      let sum = 0;
      for (let k = 0; k < 30; k++) {
        // Exact in float64, to which the sum is rounded first: with these numbers that changes nothing.
        const part = a[k]! * b[k * 8 + j]!;
        sum = Math.fround(sum + (once ? part : Math.fround(part)));
      }
      return sum;
    });
  const plain = product();
  expect(plain).toEqual(rounded(false));
  await loadBackend('wasm', true);
  const fused = product();
  await loadBackend('wasm');
  expect(fused).toEqual(rounded(true));
  expect(fused).not.toEqual(plain);
  expect(product()).toEqual(plain);
});

it('sums columns', () => {
  for (const [rows, columns] of [
    [1, 1],
    [7, 5],
    [1000, 33],
  ] as const) {
    const x = values(rows * columns, 3);
    const found = tf.tidy(() => tf.sum(tf.tensor2d(x, [rows, columns]), 0).dataSync());
    const ones = new Float32Array(rows).fill(1);
    expectClose(found, plainProduct([1, rows, columns], ones, [rows, 1], x, [columns, 1]), 1e-6 * rows);
  }
});

it('gives back through a relu what came where x > 0, also beyond the last whole four', () => {
  const x = [-1, 2, -0, Number.NaN, 0, 1e-45, Number.NEGATIVE_INFINITY, 5, 3, -2];
  const dy = x.map((_, i) => i - 4.5);
  const found = tf.tidy(() =>
    tf
      .grad((at) => tf.relu(at))(tf.tensor1d(x), tf.tensor1d(dy))
      .dataSync(),
  );
  expect([...found]).toEqual(x.map((at, i) => (at <= 0 ? 0 : dy[i])));
});

it('cuts at 0: no negative zero, NaN stays, also beyond the last whole four', () => {
  const x = [-1, 2, -0, Number.NaN, -3, Number.NaN, 5, -0, Number.POSITIVE_INFINITY, -2, -0];
  const expected = [0, 2, 0, Number.NaN, 0, Number.NaN, 5, 0, Number.POSITIVE_INFINITY, 0, 0];
  expect([...tf.tidy(() => tf.relu(tf.tensor1d(x)).dataSync())]).toEqual(expected);
});

it.each([
  ['the rows', [0]],
  ['the columns', [1]],
  ['the middle', [2]],
  ['two that are apart', [0, 2]],
  ['neighbours', [1, 2]],
  ['all', [0, 1, 2, 3]],
])('the gradient of a sum over %s is repeated along them', (_, axes) => {
  const shape = [2, 3, 5, 4];
  const size = 120;
  const [x, weight] = tf.tidy(() => {
    const kept = shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
    return [
      tf.tensor(values(size, 1), shape),
      tf.slice(tf.tensor(values(size, 2), shape), [0, 0, 0, 0], kept),
    ];
  }) as [Tensor, Tensor];
  const [found, expected] = tf.tidy(() => [
    tf
      .grad((y) => tf.sum(tf.mul(tf.sum(y, axes, true), weight)))(x)
      .dataSync(),
    tf.mul(weight, tf.ones(shape)).dataSync(),
  ]);
  expect([...found]).toEqual([...expected]);
  tf.dispose([x, weight]);
});

it('what is only passed on keeps its values and frees nothing twice', () => {
  const before = tf.memory().numTensors;
  const x = tf.tensor1d([1, 2, 3]);
  const [clone, cast] = [tf.clone(x), tf.cast(x, 'float32')] as [Tensor, Tensor];
  x.dispose();
  cast.dispose();
  const filler = tf.ones([3]);
  expect([...clone.dataSync()]).toEqual([1, 2, 3]);
  clone.dispose();
  filler.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

it('gathers by indices of each batch', () => {
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]);
  const rows = tf.gather(x, tf.tensor2d([2, 0], [2, 1], 'int32'), 1, 1);
  expect([rows.shape, [...rows.dataSync()]]).toEqual([
    [2, 1],
    [3, 4],
  ]);
  tf.dispose([x, rows]);
});

it('a full heap is an error, not a number', () => {
  const backend = tf.backend() as unknown as {
    makeOutput(shape: number[], dtype: string): { dataId: object };
    disposeData(dataId: object): boolean;
  };
  // Three of 1.5 GiB do not fit into 4 GiB; nothing is written to them.
  const held: { dataId: object }[] = [];
  const size = 1.5 * 2 ** 28;
  expect(() => {
    for (let i = 0; i < 3; i++) held.push(backend.makeOutput([size], 'float32'));
  }).toThrow('allocation failed');
  for (const { dataId } of held) backend.disposeData(dataId);
  expect(held.length).toBeGreaterThan(0);
  expect(() => backend.makeOutput([2 ** 30], 'float32')).toThrow('allocation failed');
  expect([...tf.tidy(() => tf.matMul(tf.ones([2, 2]), tf.ones([2, 2])).dataSync())]).toEqual([2, 2, 2, 2]);
});
