/** Weight decay that is too strong for the learning rate: the weights change their sign at each step and grow. */
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Decayed } from '../replay/watch-decay.ts';
import type { Change } from './change.ts';

/** Steps before the harmful one up to which decay has to be too strong. */
const WINDOW = 10;
/** Share of the update that the decay makes where it is what moves the weights: with momentum it is more than all of it. */
const MOVES = 0.5;

/**
 * Decay that is too strong at or shortly before a position, where the record shows that it moves the weights and that they grow.
 *
 * @param rose whether the learning rate rose by then: that is what changed, and the decay comes second
 */
export function strongDecay(
  { decays, steps }: { readonly decays: readonly Decayed[]; readonly steps: readonly number[] },
  until: number,
  rose: boolean,
): Change | null {
  for (const { product, times, norm, updateNorm } of decays) {
    const last = times.findLastIndex((one, i) => i <= until && one > 1);
    if (last < 0 || last < until - WINDOW) continue;
    const from = times.findLastIndex((one, i) => i < last && !(one > 1)) + 1;
    const after = times.findIndex((one, i) => i > last && !(one > 1));
    const stretch = norm.slice(from, after < 0 ? times.length : after + 1);
    const end = stretch.findLastIndex(Number.isFinite);
    const shares = stretch.map((size, k) => (product[from + k]! * size) / updateNorm[from + k]!);
    if (!(end > 0 && stretch[end]! > stretch[0]!)) continue;
    if (!(medianOf(shares.slice(0, end)) >= MOVES)) continue;
    const most = product[last]! / times[last]!;
    return {
      trigger: 'weight-decay',
      from,
      // What cannot stay well comes before what may; but a rate that rose is the cause.
      size: rose ? times[last]! : Number.POSITIVE_INFINITY,
      decayFactor: 10 ** -(1 + Math.ceil(Math.log10(times[last]!))),
      evidence: {
        id: 'weight-decay',
        statement: `weight decay times learning rate is ${formatNumber(product[last]!)} from step ${steps[from]} on, and above ${formatNumber(most)} the decay alone turns the sign of the weights at each step and makes them grow; their norm is ${formatNumber(stretch[0]!)} at step ${steps[from]} and ${formatNumber(stretch[end]!)} at step ${steps[from + end]}`,
        value: product[last]!,
        unit: 'weight decay × learning rate',
        usual: null,
        at: { step: steps[from]!, batchStep: null },
      },
    };
  }
  return null;
}
