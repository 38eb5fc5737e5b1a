/** What a clipping rule makes of the gradient of a tensor: kept as it is until somebody needs the array, for kernels make it on the way. */
import type { Units } from '../../model/units.ts';

/** x ← factor·x; x ← the factor of its unit·x; or x ← clamp(x, −bound, bound), where NaN stays NaN. */
export type Change = OneFactor | UnitFactors | OneBound;
export interface OneFactor {
  readonly factor: number;
}
export interface UnitFactors {
  readonly units: Units;
  /** One for each unit. */
  readonly factors: Float64Array;
}
export interface OneBound {
  readonly bound: number;
}

export const UNCHANGED: OneFactor = { factor: 1 };
export const leaves = (change: Change): boolean => 'factor' in change && change.factor === 1;

/** Kernels are made for each. */
export type ChangeKind = 'none' | 'factor' | 'units' | 'bound';
export const kindOf = (change: Change): ChangeKind =>
  'units' in change ? 'units' : 'bound' in change ? 'bound' : leaves(change) ? 'none' : 'factor';

/** The factors of the units of a stretch of entries, one for each, into `out`. */
export function unitFactorsOf<Factors extends Float32Array | Float64Array>(
  { count, stride }: Units,
  factors: Factors,
  start: number,
  out: Factors,
): void {
  const { length } = out;
  if (stride === 1) {
    // Units follow one after the other, again and again: the first round, which then is doubled.
    const first = start % count;
    const round = factors.subarray(first, Math.min(count, first + length));
    out.set(round);
    out.set(factors.subarray(0, Math.min(first, length - round.length)), round.length);
    for (let done = count; done < length; done *= 2) out.copyWithin(done, 0, done);
    return;
  }
  let unit = Math.floor(start / stride) % count;
  for (let i = 0, end = stride - (start % stride); i < length; end = i + stride) {
    const factor = factors[unit]!;
    for (const last = Math.min(end, length); i < last; i++) out[i] = factor;
    unit = unit + 1 === count ? 0 : unit + 1;
  }
}
