/** Clippy's factor, apart from the rule: a loop over all entries, which threads share. */
import type { Values } from '../tensor/values.ts';
import { inParts, type Task } from '../threads/in-parts.ts';

/** The thresholds of Clippy. */
export interface ClippyThresholds {
  readonly variableRelativeThreshold: number;
  readonly absoluteThreshold: number;
  readonly accumulatorRelativeThreshold: number;
}

/**
 * Clippy's factor of one tensor and the entry that sets it:
 * σ = min(1, min_i (λ_rel|w_i| + τ·(G_i + ε)^(-1/2) + λ_abs) / |Δ_i|).
 *
 * An entry with Δ_i = 0 bounds nothing, also where its bound is 0; a bound of 0 with Δ_i ≠ 0 gives σ = 0. NaN in w or Δ
 * gives NaN; Δ_i = ±Infinity gives 0.
 *
 * @param update Δ = ηr, the learning rate included
 * @param accumulator G, needed where τ > 0
 */
export function clippyFactor(
  w: Values,
  update: Values,
  {
    variableRelativeThreshold: relative,
    absoluteThreshold: absolute,
    accumulatorRelativeThreshold: tau,
  }: ClippyThresholds,
  accumulator?: Values,
  epsilon = 0,
): { readonly factor: number; readonly index: number } {
  const input: Bounded = { w, update, relative, absolute, tau, epsilon };
  const arrays = [w, update];
  if (tau > 0) {
    input.accumulator = accumulator!;
    arrays.push(accumulator!);
  }
  const found = inParts(CLIPPY_FACTOR, input, arrays, update.length, 2);
  let [factor, index] = [1, 0];
  for (let k = 0; k < found.length; k += 2) {
    // NaN is the smallest, and of equal ones the first.
    if (!(found[k]! >= factor)) [factor, index] = [found[k]!, found[k + 1]!];
    if (Number.isNaN(factor)) break;
  }
  return { factor, index };
}

interface Bounded {
  readonly w: Values;
  readonly update: Values;
  accumulator?: Values;
  readonly relative: number;
  readonly absolute: number;
  readonly tau: number;
  readonly epsilon: number;
}

/** The factor and the entry that sets it. */
export const CLIPPY_FACTOR: Task<Bounded> = {
  name: 'clippy factor',
  run({ w, update, accumulator, relative, absolute, tau, epsilon }, start, end, found) {
    let factor = 1;
    let index = 0;
    for (let i = start; i < end; i++) {
      // Most entries bound less than one before: a division for each would take most of the time.
      if (tau === 0) i = firstTight(w, update, relative, absolute, factor * ABOVE_ROUNDING, i, end);
      if (i === end) break;
      const size = Math.abs(update[i]!);
      if (size === 0) continue;
      let bound = relative * Math.abs(w[i]!) + absolute;
      if (tau > 0) bound += tau / Math.sqrt(accumulator![i]! + epsilon);
      const ratio = bound / size;
      if (ratio < factor) {
        factor = ratio;
        index = i;
      } else if (Number.isNaN(ratio)) {
        factor = Number.NaN;
        index = i;
        break;
      }
    }
    found[0] = factor;
    found[1] = index;
  },
};

/** A product this much larger is larger after rounding too. */
const ABOVE_ROUNDING = 1 + 1e-14;

/** The first entry of a stretch whose bound may be below `factor` times its update, or is NaN; `end` if none. */
function firstTight(
  w: Values,
  update: Values,
  relative: number,
  absolute: number,
  factor: number,
  start: number,
  end: number,
): number {
  for (let i = start; i < end; i++)
    if (!(relative * Math.abs(w[i]!) + absolute > factor * Math.abs(update[i]!))) return i;
  return end;
}
