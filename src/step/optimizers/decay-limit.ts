/** Weight decay as a force of its own: how strong it may be before it throws the weights that it is to shrink. */
import { decayOf, type OptimizerChoice } from './registry.ts';

/**
 * The largest weight decay under which the weights shrink where the loss has no gradient. Above it each step takes off more than
 * twice what is there (with momentum: than the limit of that), so that the weights change their sign and grow, whatever the loss is.
 *
 * Decay of the parameters multiplies them by 1 − ηβ, which is −1 at β = 2/η. Decay in the gradient of an optimizer that does not
 * divide is a curvature β in every direction, and has the limit of one ({@link Optimizer.stabilityLimit}).
 *
 * @param learningRate η
 * @returns null where there is none: an optimizer that divides by the size of its gradients, decay included, and LAMB, whose step is as
 * long as the weights whatever the decay
 */
export function decayLimit(choice: OptimizerChoice, learningRate: number): number | null {
  const { optimizer, options } = choice;
  if (!(learningRate > 0)) return null;
  if (decayOf(choice) === 'parameters') return 2 / learningRate;
  if (decayOf(choice) !== 'gradient' || optimizer.preconditioner !== undefined) return null;
  // Dampening begins with the second step.
  return optimizer.stabilityLimit?.(options, { learningRate, step: 2 }).limit ?? null;
}
