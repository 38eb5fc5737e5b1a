/** What clipping that was on in a run, by the settings in the folder of its log, says of rules of its kind. */
import type { Column } from '../../model/column.ts';
import type { ClippingInForce } from '../../model/run-settings.ts';
import type { FromLog, LoggedRun } from './rule.ts';

const HOW: Readonly<Record<ClippingInForce['of'], (limit: number) => string>> = {
  all: (limit) => `at a global norm of ${limit}`,
  each: (limit) => `at a norm of ${limit} for each variable`,
  entries: (limit) => `by value at ${limit}`,
};

/**
 * What a log says of a rule where clipping of its kind was on that is at least as tight.
 *
 * @param factors of the rule, where the log shows them
 * @returns null where none was
 */
export function wasInForce(
  { gradientNorm, loss, clipping = [] }: LoggedRun,
  of: ClippingInForce['of'],
  limit: number,
  factors?: Column,
): FromLog | null {
  const own = clipping.find((one) => one.of === of && one.limit <= limit);
  if (own === undefined) return null;
  const { step } = gradientNorm ?? loss ?? { step: new Float64Array() };
  return {
    steps: step,
    // That it was on is known, whatever was logged of its norms.
    factors: factors ?? step.map(() => Number.NaN),
    inForce: true,
    final: true,
    why: `the run was clipped ${HOW[of](own.limit)}, and that did not hold it`,
  };
}
