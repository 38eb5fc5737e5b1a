/** The losses of a task on numbers: values and derivatives in the model's outputs. The twin of autodiff/losses.ts, which is tfjs. */
import type { LossName } from '../../differentiate/autodiff/ranking-spec.ts';
import { sigmoid } from './activations.ts';

interface TaskLoss {
  /**
   * The loss of each row and its derivative in the output. Loops, not functions of a row: calls of several of these cost as
   * much as their arithmetic, and value and derivative share what is dear.
   *
   * @param z outputs, one for each label
   */
  evaluate(z: Float64Array, y: ArrayLike<number>, losses: Float64Array, slopes: Float64Array): void;
  /** What metrics are taken of: a probability, or the value itself. */
  prediction(z: number): number;
  /** The output that fits labels of this mean best. */
  constant(mean: number): number;
}

const LEAST = 1e-7;
const inside = (p: number): number => Math.min(Math.max(p, LEAST), 1 - LEAST);
const logit = (p: number): number => Math.log(p / (1 - p));

export const TASK_LOSSES: Readonly<Record<LossName, TaskLoss>> = {
  'sigmoid-cross-entropy': {
    evaluate(z, y, losses, slopes) {
      for (let i = 0; i < y.length; i++) {
        const out = z[i]!;
        const label = y[i]!;
        const e = Math.exp(-Math.abs(out));
        losses[i] = Math.max(out, 0) + Math.log1p(e) - label * out;
        slopes[i] = (out >= 0 ? 1 / (1 + e) : e / (1 + e)) - label;
      }
    },
    prediction: sigmoid,
    constant: (mean) => logit(inside(mean)),
  },
  'binary-cross-entropy': {
    evaluate(z, y, losses, slopes) {
      for (let i = 0; i < y.length; i++) {
        const p = z[i]!;
        const label = y[i]!;
        losses[i] = -label * Math.log(inside(p)) - (1 - label) * Math.log(1 - inside(p));
        slopes[i] = p < LEAST || p > 1 - LEAST ? 0 : (p - label) / (p * (1 - p));
      }
    },
    prediction: (p) => p,
    constant: (mean) => mean,
  },
  'mean-squared-error': {
    evaluate(z, y, losses, slopes) {
      for (let i = 0; i < y.length; i++) {
        const error = z[i]! - y[i]!;
        losses[i] = error ** 2;
        slopes[i] = 2 * error;
      }
    },
    prediction: (z) => z,
    constant: (mean) => mean,
  },
  poisson: {
    evaluate(z, y, losses, slopes) {
      for (let i = 0; i < y.length; i++) {
        const out = z[i]!;
        const label = y[i]!;
        const rate = Math.exp(out);
        losses[i] = rate - label * out;
        slopes[i] = rate - label;
      }
    },
    prediction: Math.exp,
    constant: (mean) => Math.log(Math.max(mean, LEAST)),
  },
};

/** Whether labels are yes or no, or shares of them: AUC and log loss are its metrics; RMSE otherwise. */
export const isBinary = (loss: LossName): boolean =>
  loss === 'sigmoid-cross-entropy' || loss === 'binary-cross-entropy';
