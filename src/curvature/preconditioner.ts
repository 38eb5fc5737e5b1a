/** P, the diagonal that the next step divides by, from the optimizer's state. */
import { diagError } from '../model/errors.ts';

export interface PreconditionerOptions {
  readonly optimizer: string;
  readonly epsilon: number;
  /** Adagrad: √(G+ε) rather than √G+ε. RMSProp of TensorFlow: √(v+ε). */
  readonly epsilonInside: boolean;
  /** Adam of Keras: ε is added before the bias correction of v. */
  readonly epsilonHat?: boolean;
  /** Adagrad: whether the step's own g² is in G (`standard`) or not yet (`delayed`). */
  readonly accumulator: 'standard' | 'delayed';
  /** Adam, RMSProp. */
  readonly beta2: number;
  /** Steps taken before, for Adam's bias correction. */
  readonly stepsTaken: number;
  /** Adam with amsgrad: the largest v so far. */
  readonly largest?: ArrayLike<number>;
  /** Centered RMSProp: the moving mean of gradients. */
  readonly mean?: ArrayLike<number>;
}

/**
 * P^(-1/2) for one tensor.
 *
 * Adagrad: P = √(G+ε), G with the batch's own g² for the standard accumulator: an embedding row that was never seen has
 * G = G₀ or 0, and without g² its curvature would be off tenfold. RMSProp: v ← β₂v + (1−β₂)g², P = √v+ε. Adam, AdamW,
 * LAMB: the same v, P = √v̂+ε with v̂ = v/(1 − β₂ᵗ⁺¹). Amsgrad divides by the largest v, centered RMSProp by v less the
 * square of the mean. An entry with P = 0 (no gradient so far, ε = 0) is not moved by
 * the step: its scale is 0, which leaves it out.
 *
 * @param state the second moment or accumulator before the step, as many entries as the gradient
 * @param gradient of the batch at the checkpoint
 * @throws preconditioner-unknown where the optimizer has no preconditioner
 */
export function inverseRootPreconditioner(
  state: ArrayLike<number>,
  gradient: ArrayLike<number>,
  options: PreconditionerOptions,
): Float64Array {
  const { optimizer, epsilonInside, beta2, largest, mean } = options;
  const out = new Float64Array(state.length);
  const ownSquare = options.accumulator === 'standard' ? 1 : 0;
  const correction = 1 - beta2 ** (options.stepsTaken + 1);
  const epsilon = options.epsilon / (options.epsilonHat ? Math.sqrt(correction) : 1);
  for (let i = 0; i < out.length; i++) {
    const square = gradient[i]! * gradient[i]!;
    let second: number;
    switch (optimizer) {
      case 'adagrad':
        second = state[i]! + ownSquare * square;
        break;
      case 'rmsprop':
        second = beta2 * state[i]! + (1 - beta2) * square;
        if (mean !== undefined) second -= (beta2 * mean[i]! + (1 - beta2) * gradient[i]!) ** 2;
        break;
      case 'adam':
      case 'adamw':
      case 'lamb':
        second = beta2 * state[i]! + (1 - beta2) * square;
        if (largest !== undefined && largest[i]! >= second) second = largest[i]!;
        second /= correction;
        break;
      default:
        throw diagError('preconditioner-unknown', { optimizer });
    }
    const p = epsilonInside ? Math.sqrt(second + epsilon) : Math.sqrt(second) + epsilon;
    out[i] = p === 0 ? 0 : 1 / Math.sqrt(p);
  }
  return out;
}
