/** What tfjs gets wrong besides second derivatives of single operations, in closed form on every backend. */
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type Backend, loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { BACKENDS } from '../../src/differentiate/autodiff/backend-names.ts';
import { gradientsOf } from '../../src/differentiate/autodiff/gradients.ts';

describe.each(BACKENDS)('%s', (name) => {
  const backend = (): Promise<Backend | undefined> => loadBackend(name).catch(() => undefined);

  it('a cast to whole numbers has derivative 0', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    for (const dtype of ['int32', 'bool'] as const) {
      const found = tf.tidy(() => {
        const x = tf.tensor1d([1.3, 2.6, -1.2]);
        const whole = (): Tensor => tf.cast(tf.cast(x, dtype), 'float32');
        return [...gradientsOf(tf, () => tf.sum(tf.mul(x, whole())), [x]).grads[0]!.dataSync()];
      });
      // ∂/∂x of x·c with c constant.
      expect(found).toEqual(dtype === 'int32' ? [1, 2, -1] : [1, 1, 1]);
    }
  });

  it('the fused product equals the plain one, transposed or not, forward and backward', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    tf.tidy(() => {
      for (const transposeA of [false, true])
        for (const transposeB of [false, true]) {
          const a = tf.reshape(tf.range(1, 13), transposeA ? [4, 3] : [3, 4]) as Tensor2D;
          const b = tf.reshape(tf.range(2, 10), transposeB ? [2, 4] : [4, 2]) as Tensor2D;
          const bias = tf.tensor1d([1, -2]);
          const fused = (): Tensor =>
            tf.fused.matMul({ a, b, bias, transposeA, transposeB, activation: 'relu' });
          const plain = (): Tensor => tf.relu(tf.add(tf.matMul(a, b, transposeA, transposeB), bias));
          expect([...fused().dataSync()]).toEqual([...plain().dataSync()]);
          const gradients = (f: () => Tensor): number[][] =>
            gradientsOf(tf, () => tf.sum(tf.square(f())), [a, b, bias]).grads.map((g) => [...g!.dataSync()]);
          expect(gradients(fused)).toEqual(gradients(plain));
        }
    });
  });

  it('the curvature of a logit that is sure keeps its digits on both sides', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    const points = [-20, -12, 12, 16, 20];
    const found = tf.tidy(() => {
      const z = tf.tensor1d(points);
      const slope = (): Tensor => gradientsOf(tf, () => tf.sum(tf.softplus(z)), [z]).grads[0]!;
      return [...gradientsOf(tf, () => tf.sum(slope()), [z]).grads[0]!.dataSync()];
    });
    for (const [i, z] of points.entries()) {
      const e = Math.exp(-Math.abs(z));
      expect(found[i]! / (e / (1 + e) ** 2)).toBeCloseTo(1, 4);
    }
  });

  it('what is no number stays none where values are cut off', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    tf.tidy(() => {
      const x = tf.tensor1d([Number.NaN, -2, 0.5, 7, Number.POSITIVE_INFINITY]);
      expect([...tf.relu(x).dataSync()]).toEqual([Number.NaN, 0, 0.5, 7, Number.POSITIVE_INFINITY]);
      expect([...tf.relu6(x).dataSync()]).toEqual([Number.NaN, 0, 0.5, 6, 6]);
      expect([...tf.clipByValue(x, -1, 2).dataSync()]).toEqual([Number.NaN, -1, 0.5, 2, 2]);
      const image = tf.reshape(tf.slice(x, 0, 4), [1, 2, 2, 1]) as Tensor4D;
      const filter = tf.ones([2, 2, 1, 1]) as Tensor4D;
      for (const y of [
        tf.conv2d(image, filter, 1, 'valid'),
        tf.depthwiseConv2d(image, filter, 1, 'valid'),
        tf.avgPool(image, 2, 1, 'valid'),
        tf.relu(tf.conv2d(tf.onesLike(image), tf.mul(filter, Number.NaN) as Tensor4D, 1, 'valid')),
        tf.fused.conv2d({ x: image, filter, strides: 1, pad: 'valid', activation: 'relu' }),
      ])
        expect([...y.dataSync()]).toEqual([Number.NaN]);
    });
  });

  it('max pooling with numbers for its padding hands the gradient to the largest', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    tf.tidy(() => {
      const x = tf.reshape(tf.range(0, 36), [1, 6, 6, 1]) as Tensor4D;
      const pooled = (): Tensor => tf.sum(tf.maxPool(x, 3, 2, 1, 'floor'));
      const chosen = [...gradientsOf(tf, pooled, [x]).grads[0]!.dataSync()].flatMap((g, i) =>
        g === 1 ? [i] : [],
      );
      expect(chosen).toEqual([7, 9, 11, 19, 21, 23, 31, 33, 35]);
    });
  });

  it('a gradient may hand on one tensor twice, or what it was given', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    const before = tf.memory().numTensors;
    const [x, y] = [tf.tensor1d([1, 2]), tf.tensor1d([3, 4])];
    const sum = tf.customGrad((...inputs) => ({
      value: tf.add(inputs[0] as typeof x, inputs[1] as typeof x),
      gradFunc: (dy) => {
        const twice = tf.mul(dy, 2);
        return [twice, twice];
      },
    }));
    const passed = tf.customGrad((input) => ({
      value: tf.mul(input as typeof x, 1),
      gradFunc: (dy) => [dy as typeof x],
    }));
    const found = tf.tidy(() => {
      const f = () => tf.sum(tf.addN([sum(x, y), sum(y, x), passed(x), tf.square(x)]));
      return gradientsOf(tf, f, [x, y]).grads.map((g) => [...g!.dataSync()]);
    });
    expect(found).toEqual([
      [7, 9],
      [4, 4],
    ]);
    tf.dispose([x, y]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('nothing is left of a function that throws while it is differentiated', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    const before = tf.memory().numTensors;
    const x = tf.tensor1d([1, 2]);
    const f = () => {
      tf.square(tf.mul(x, x));
      throw new Error('on the way');
    };
    expect(() => tf.tidy(() => gradientsOf(tf, f, [x]).value)).toThrow('on the way');
    const nested = (): Tensor => gradientsOf(tf, f, [x]).value;
    expect(() => tf.tidy(() => gradientsOf(tf, nested, [x]).value)).toThrow('on the way');
    const cube = tf.tidy(() => [
      ...gradientsOf(tf, () => tf.sum(tf.mul(x, tf.square(x))), [x]).grads[0]!.dataSync(),
    ]);
    expect(cube).toEqual([3, 12]);
    x.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses einsum by name', async () => {
    const loaded = await backend();
    if (loaded === undefined) return;
    const { tf } = loaded;
    tf.tidy(() => {
      const a = tf.tensor2d([1, 2, 3, 4], [2, 2]);
      expect([...tf.einsum('ij,jk->ik', a, a).dataSync()]).toEqual([7, 10, 15, 22]);
      expect(() => gradientsOf(tf, () => tf.sum(tf.einsum('ij,jk->ik', a, a)), [a])).toThrow(
        'not found for Einsum',
      );
    });
  });
});
