/** Every operation × backend: first and second derivatives against PyTorch's double backward in float64. */
import { readFileSync } from 'node:fs';
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type Backend, loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { BACKENDS } from '../../src/differentiate/autodiff/backend-names.ts';
import { gradientsOf, type Tf } from '../../src/differentiate/autodiff/gradients.ts';

interface Case {
  readonly op: string;
  readonly inputs: readonly { readonly shape: number[]; readonly values: number[] }[];
  readonly c: number[];
  readonly v: readonly number[][];
  readonly loss: number;
  readonly gradient: readonly number[][];
  readonly hvp: readonly number[][];
}
const cases = JSON.parse(
  readFileSync(new URL('../../fixtures/curvature/ops.json', import.meta.url), 'utf8'),
) as Case[];

const OPS: Readonly<Record<string, (tf: Tf, ...x: Tensor[]) => Tensor>> = {
  add: (tf, a, b) => tf.add(a!, b!),
  sub: (tf, a, b) => tf.sub(a!, b!),
  mul: (tf, a, b) => tf.mul(a!, b!),
  div: (tf, a, b) => tf.div(a!, b!),
  pow: (tf, a, b) => tf.pow(a!, b!),
  'pow-integer': (tf, a) => tf.pow(a!, 3),
  maximum: (tf, a, b) => tf.maximum(a!, b!),
  minimum: (tf, a, b) => tf.minimum(a!, b!),
  squaredDifference: (tf, a, b) => tf.squaredDifference(a!, b!),
  abs: (tf, x) => tf.abs(x!),
  neg: (tf, x) => tf.neg(x!),
  square: (tf, x) => tf.square(x!),
  sqrt: (tf, x) => tf.sqrt(x!),
  rsqrt: (tf, x) => tf.rsqrt(x!),
  reciprocal: (tf, x) => tf.reciprocal(x!),
  exp: (tf, x) => tf.exp(x!),
  expm1: (tf, x) => tf.expm1(x!),
  log: (tf, x) => tf.log(x!),
  log1p: (tf, x) => tf.log1p(x!),
  sin: (tf, x) => tf.sin(x!),
  cos: (tf, x) => tf.cos(x!),
  erf: (tf, x) => tf.erf(x!),
  sigmoid: (tf, x) => tf.sigmoid(x!),
  logSigmoid: (tf, x) => tf.logSigmoid(x!),
  tanh: (tf, x) => tf.tanh(x!),
  relu: (tf, x) => tf.relu(x!),
  relu6: (tf, x) => tf.relu6(x!),
  elu: (tf, x) => tf.elu(x!),
  selu: (tf, x) => tf.selu(x!),
  leakyRelu: (tf, x) => tf.leakyRelu(x!, 0.2),
  prelu: (tf, x, a) => tf.prelu(x!, a!),
  softplus: (tf, x) => tf.softplus(x!),
  swish: (tf, x) => tf.mul(x!, tf.sigmoid(x!)),
  gelu: (tf, x) => tf.mul(tf.mul(x!, 0.5), tf.add(1, tf.erf(tf.div(x!, Math.SQRT2)))),
  hardSigmoid: (tf, x) => tf.clipByValue(tf.add(tf.mul(x!, 0.2), 0.5), 0, 1),
  clipByValue: (tf, x) => tf.clipByValue(x!, -0.7, 0.8),
  softmax: (tf, x) => tf.softmax(x!),
  logSoftmax: (tf, x) => tf.logSoftmax(x!),
  logSumExp: (tf, x) => tf.logSumExp(x!, -1),
  sum: (tf, x) => tf.sum(x!, 1),
  mean: (tf, x) => tf.mean(x!, 0),
  max: (tf, x) => tf.max(x!, 1),
  'max-ties': (tf, x) => tf.max(x!, 1),
  min: (tf, x) => tf.min(x!, 0),
  prod: (tf, x) => tf.prod(x!, 1),
  'prod-zero': (tf, x) => tf.prod(x!, 1),
  matMul: (tf, a, b) => tf.matMul(a!, b!),
  'matMul-transposeA': (tf, a, b) => tf.matMul(a!, b!, true),
  'matMul-transposeB': (tf, a, b) => tf.matMul(a!, b!, false, true),
  'matMul-batch': (tf, a, b) => tf.matMul(a!, b!),
  dense: (tf, x, w, b) => tf.tanh(tf.add(tf.matMul(x!, w!), b!)),
  gather: (tf, x) => tf.gather(x!, tf.tensor1d([2, 0, 2, 1, 4], 'int32')),
  concat: (tf, a, b) => tf.concat([a!, b!], 1),
  stack: (tf, a, b) => tf.stack([a!, b!], 1),
  unstack: (tf, x) => tf.mul(tf.unstack(x!)[0]!, tf.unstack(x!)[1]!),
  split: (tf, x) => {
    const [a, b] = tf.split(x!, 2, 1);
    return tf.mul(a!, b!);
  },
  slice: (tf, x) => tf.slice(x!, [1, 0], [2, 2]),
  reverse: (tf, x) => tf.mul(tf.reverse(x!, 1), x!),
  reshape: (tf, x) => tf.reshape(x!, [2, 6]),
  transpose: (tf, x) => tf.transpose(x!),
  tile: (tf, x) => tf.tile(x!, [1, 3]),
  expandDims: (tf, x) => tf.expandDims(x!, 1),
  pad: (tf, x) =>
    tf.pad(x!, [
      [0, 0],
      [1, 2],
    ]),
  where: (tf, a, b) => tf.where(tf.greater(a!, 0), a!, b!),
  broadcastTo: (tf, x) => tf.broadcastTo(x!, [3, 4]),
  layerNorm: (tf, x, gamma, beta) => {
    const centred = tf.sub(x!, tf.mean(x!, -1, true));
    const variance = tf.mean(tf.square(centred), -1, true);
    return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-6))), gamma!), beta!);
  },
  batchNorm: (tf, x, gamma, beta) => {
    const { mean, variance } = tf.moments(x!, 0);
    return tf.batchNorm2d(
      x as Tensor2D,
      mean as never,
      variance as never,
      beta as never,
      gamma as never,
      1e-3,
    );
  },
  'dcn-v2': (tf, x, k, b) => tf.add(tf.mul(x!, tf.add(tf.matMul(x!, k!), b!)), x!),
  sigmoidCrossEntropy: (tf, z) => tf.losses.sigmoidCrossEntropy(tf.tensor1d([0, 1, 1, 0, 0.5]), z!),
  softmaxCrossEntropy: (tf, z) =>
    tf.losses.softmaxCrossEntropy(tf.oneHot(tf.tensor1d([1, 3, 0], 'int32'), 4), z!),
  conv2d: (tf, x, w) => tf.conv2d(x as Tensor4D, w as Tensor4D, 1, 'same'),
  'conv2d-strided': (tf, x, w) => tf.conv2d(x as Tensor4D, w as Tensor4D, 2, 'valid'),
  avgPool: (tf, x) => tf.avgPool(x as Tensor4D, 2, 2, 'valid'),
  'avgPool-same': (tf, x) => tf.avgPool(x as Tensor4D, 3, 1, 'same'),
  maxPool: (tf, x) => tf.maxPool(x as Tensor4D, 2, 2, 'valid'),
  'maxPool-same': (tf, x) => tf.maxPool(x as Tensor4D, 3, 1, 'same'),
  depthwiseConv2d: (tf, x, w) => tf.depthwiseConv2d(x as Tensor4D, w as Tensor4D, 1, 'same'),
  'depthwiseConv2d-strided': (tf, x, w) => tf.depthwiseConv2d(x as Tensor4D, w as Tensor4D, 2, 'valid'),
};

/** Largest error, relative to the largest entry of what is expected. */
function relativeError(
  found: readonly (ArrayLike<number> | undefined)[],
  expected: readonly number[][],
): number {
  let worst = 0;
  let largest = 0;
  for (const [k, values] of expected.entries())
    for (const [i, value] of values.entries()) {
      const difference = Math.abs((found[k]?.[i] ?? 0) - value);
      worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
      largest = Math.max(largest, Math.abs(value));
    }
  return largest === 0 ? worst : worst / largest;
}

it('the oracle and the table name the same operations', () => {
  expect(cases.map((c) => c.op)).toEqual(Object.keys(OPS));
});

for (const name of BACKENDS) {
  let backend: Backend | undefined;
  try {
    backend = await loadBackend(name);
  } catch (error) {
    if (name !== 'tfjs-node') throw error;
  }
  describe.skipIf(backend === undefined)(
    `${name}${backend === undefined ? ' (does not load here)' : ''}`,
    () => {
      it.each(cases.map((c) => [c.op, c] as const))('%s', async (op, expected) => {
        const { tf } = await loadBackend(name);
        const before = tf.memory().numTensors;
        const outcome = tf.tidy(() => {
          const xs = expected.inputs.map((x) => tf.tensor(x.values, x.shape));
          const vs = expected.v.map((v, i) => tf.tensor(v, expected.inputs[i]!.shape));
          const loss = (...w: Tensor[]): Tensor => {
            const y = OPS[op]!(tf, ...w);
            const c = tf.tensor(expected.c, y.shape);
            return tf.sum(tf.mul(c, tf.add(y, tf.div(tf.square(y), 2))));
          };
          const first = gradientsOf(tf, () => loss(...xs), xs);
          const second = gradientsOf(
            tf,
            () => {
              const { grads } = gradientsOf(tf, () => loss(...xs), xs);
              return tf.addN(grads.flatMap((g, i) => (g == null ? [] : [tf.sum(tf.mul(g, vs[i]!))])));
            },
            xs,
          );
          return {
            loss: first.value.dataSync()[0]!,
            gradient: first.grads.map((g) => g?.dataSync().slice()),
            hvp: second.grads.map((g) => g?.dataSync().slice()),
          };
        });
        expect(Math.abs(outcome.loss / expected.loss - 1)).toBeLessThan(1e-5);
        expect(relativeError(outcome.gradient, expected.gradient)).toBeLessThan(1e-4);
        expect(relativeError(outcome.hvp, expected.hvp)).toBeLessThan(1e-4);
        expect(tf.memory().numTensors).toBe(before);
      });

      it('refuses by name what it cannot differentiate', async () => {
        const { tf } = await loadBackend(name);
        const x = tf.tensor1d([1.3, 1.4]);
        expect(() => tf.tidy(() => gradientsOf(tf, () => tf.sum(tf.acosh(tf.exp(x))), [x]).value)).toThrow(
          /Acosh/,
        );
        x.dispose();
        expect(tf.memory().numTensors).toBe(0);
      });
    },
  );
}
