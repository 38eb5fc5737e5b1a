/** Watches the weights of a recorded run under weight decay that is more than shrinks them. */
import { decayLimit } from '../../step/optimizers/decay-limit.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import { sumOfSquares } from '../../step/tensor/values.ts';
import type { TensorState } from './tensors.ts';

/** A parameter group whose weight decay is, at some recorded step, more than shrinks its weights; one value for each step. */
export interface Decayed {
  /** ηβ. */
  readonly product: readonly number[];
  /** β over the largest that shrinks the weights ({@link decayLimit}). */
  readonly times: readonly number[];
  /** Norm of the group's weights before the step; NaN where the state was lost. */
  readonly norm: readonly number[];
  /** Norm of the group's update. */
  readonly updateNorm: readonly number[];
}

/**
 * Watches the weights of groups whose decay is too strong; others cost nothing.
 *
 * @param rates learning rates of each step, one for each group
 */
export function watchDecay(optimizers: readonly OptimizerChoice[], rates: readonly (readonly number[])[]) {
  const groups = optimizers.flatMap((choice, group) => {
    const { weightDecay } = choice.options;
    const times = rates.map(
      (own) => weightDecay / (decayLimit(choice, own[group]!) ?? Number.POSITIVE_INFINITY),
    );
    const product = rates.map((own) => own[group]! * weightDecay);
    return times.some((one) => one > 1) ? [{ group, times, product, norm: [] as number[] }] : [];
  });
  return {
    /** At each recorded state, before its step. */
    visit(tensors: readonly TensorState[]): void {
      for (const { group, norm } of groups)
        norm.push(
          Math.sqrt(tensors.reduce((sum, own) => (own.group === group ? sum + sumOfSquares(own.w) : sum), 0)),
        );
    },
    /** @param updateNorms of each tensor, at each step that was walked */
    result(tensors: readonly Pick<TensorState, 'group'>[], updateNorms: readonly Float64Array[]): Decayed[] {
      const at = (values: readonly number[]) => rates.map((_, i) => values[i] ?? Number.NaN);
      return groups.map(({ group, times, product, norm }) => ({
        product,
        times,
        norm: at(norm),
        updateNorm: at(
          updateNorms.map((norms) => Math.hypot(...norms.filter((_, t) => tensors[t]!.group === group))),
        ),
      }));
    },
  };
}
