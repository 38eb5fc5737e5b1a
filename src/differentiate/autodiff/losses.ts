/** The losses of a task, as means over the batch, and the checks of what goes into a batch. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { diagError } from '../../model/errors.ts';
import type { Tf } from './gradients.ts';
import type { Batch, BatchTensor } from './objective.ts';
import type { LossName } from './ranking-spec.ts';

interface Loss {
  /** The mean over the batch; z the model's output, y the label, of the same shape. */
  mean(tf: Tf, z: Tensor, y: Tensor): Tensor;
  /** A label that is NaN gives a loss that is NaN, as in training; a label out of range is refused. */
  checkLabels(name: string, labels: ArrayLike<number>): void;
}

const anyLabel = (): void => {};
const probabilities = (name: string, labels: ArrayLike<number>): void => {
  for (let i = 0; i < labels.length; i++)
    if (labels[i]! < 0 || labels[i]! > 1)
      throw diagError('batch-label-range', { name, label: labels[i]!, row: i, low: 0, high: 1 });
};
const counts = (name: string, labels: ArrayLike<number>): void => {
  for (let i = 0; i < labels.length; i++)
    if (labels[i]! < 0)
      throw diagError('batch-label-range', { name, label: labels[i]!, row: i, low: 0, high: 'any' });
};

export const LOSSES = {
  /** softplus(z) − y·z, z the logit. */
  'sigmoid-cross-entropy': {
    mean: (tf, z, y) => tf.mean(tf.sub(tf.softplus(z), tf.mul(y, z))),
    checkLabels: probabilities,
  },
  /** −y·log p − (1−y)·log(1−p) on a probability p, which is kept 1e-7 away from 0 and 1 as Keras does. */
  'binary-cross-entropy': {
    mean: (tf, p, y) => {
      const inside = tf.clipByValue(p, 1e-7, 1 - 1e-7);
      const hit = tf.mul(y, tf.log(inside));
      const miss = tf.mul(tf.sub(1, y), tf.log(tf.sub(1, inside)));
      return tf.neg(tf.mean(tf.add(hit, miss)));
    },
    checkLabels: probabilities,
  },
  'mean-squared-error': {
    mean: (tf, z, y) => tf.mean(tf.square(tf.sub(z, y))),
    checkLabels: anyLabel,
  },
  /** exp(z) − y·z, z the log of the rate; the term log(y!) is left out. */
  poisson: {
    mean: (tf, z, y) => tf.mean(tf.sub(tf.exp(z), tf.mul(y, z))),
    checkLabels: counts,
  },
} as const satisfies Readonly<Record<LossName, Loss>>;

/** The number of rows that all tensors of a batch share. */
export function checkRows(batch: Batch): number {
  let rows: number | undefined;
  for (const [name, { shape }] of batch) {
    const [own] = shape;
    // A scalar has no rows: it is the one that is wrong, also where it comes first.
    if (own === undefined || (rows !== undefined && own !== rows))
      throw diagError('batch-shape', {
        name,
        found: shape.join('×') || 'a scalar',
        expected: rows === undefined ? 'rows' : `${rows} rows`,
      });
    rows = own;
  }
  if (rows === undefined || rows === 0) throw diagError('batch-empty', {});
  return rows;
}

/** A tensor of the batch that has one of the shapes; where `flat`, a trailing 1 may be left out. */
export function checkTensor(
  batch: Batch,
  name: string,
  shapes: readonly (readonly number[])[],
  flat: boolean,
): BatchTensor {
  const tensor = batch.get(name);
  if (tensor === undefined)
    throw diagError('batch-missing', { name, found: [...batch.keys()].map((key) => `"${key}"`) });
  const fits = (shape: readonly number[]): boolean =>
    shape.length === tensor.shape.length && shape.every((size, i) => size === tensor.shape[i]);
  if (!shapes.some((shape) => fits(shape) || (flat && shape.at(-1) === 1 && fits(shape.slice(0, -1)))))
    throw diagError('batch-shape', {
      name,
      found: tensor.shape.join('×') || 'a scalar',
      expected: shapes.map((shape) => shape.join('×')).join(' or '),
    });
  return tensor;
}
