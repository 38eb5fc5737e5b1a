/** The losses of a task on numbers: value and derivative in the model's output. The twin of autodiff/losses.ts, which is tfjs. */
import type { LossName } from '../autodiff/losses.ts';
import { sigmoid, softplus } from './activations.ts';

interface RowLoss {
  value(z: number, y: number): number;
  derivative(z: number, y: number): number;
  /** What metrics are taken of: a probability, or the value itself. */
  prediction(z: number): number;
  /** The output that fits labels of this mean best. */
  constant(mean: number): number;
}

const LEAST = 1e-7;
const inside = (p: number): number => Math.min(Math.max(p, LEAST), 1 - LEAST);
const logit = (p: number): number => Math.log(p / (1 - p));

export const ROW_LOSSES: Readonly<Record<LossName, RowLoss>> = {
  'sigmoid-cross-entropy': {
    value: (z, y) => softplus(z) - y * z,
    derivative: (z, y) => sigmoid(z) - y,
    prediction: sigmoid,
    constant: (mean) => logit(inside(mean)),
  },
  'binary-cross-entropy': {
    value: (p, y) => -y * Math.log(inside(p)) - (1 - y) * Math.log(1 - inside(p)),
    derivative: (p, y) => (p < LEAST || p > 1 - LEAST ? 0 : (p - y) / (p * (1 - p))),
    prediction: (p) => p,
    constant: (mean) => mean,
  },
  'mean-squared-error': {
    value: (z, y) => (z - y) ** 2,
    derivative: (z, y) => 2 * (z - y),
    prediction: (z) => z,
    constant: (mean) => mean,
  },
  poisson: {
    value: (z, y) => Math.exp(z) - y * z,
    derivative: (z, y) => Math.exp(z) - y,
    prediction: Math.exp,
    constant: (mean) => Math.log(Math.max(mean, LEAST)),
  },
};

/** Whether labels are yes or no, or shares of them: AUC and log loss are its metrics; RMSE otherwise. */
export const isBinary = (loss: LossName): boolean =>
  loss === 'sigmoid-cross-entropy' || loss === 'binary-cross-entropy';
