/** What a rule makes of a gradient, as an array: for steps that no kernel makes on the way. */
import type { Change } from '../../step/kernels/change.ts';
import { scaleByUnit, type Values } from '../../step/tensor/values.ts';

/** The changed x into `out`, which may be x. */
export function makeChange(change: Change, x: Values, out: Values): void {
  if ('units' in change) scaleByUnit(x, change.units, change.factors, out);
  else if ('factor' in change) for (let i = 0; i < x.length; i++) out[i] = change.factor * x[i]!;
  else
    for (let i = 0; i < x.length; i++) {
      const value = x[i]!;
      out[i] = Math.abs(value) > change.bound ? Math.sign(value) * change.bound : value;
    }
}
