/** Whether a short run learnt: its first third against its last, with the noise between neighbours, which a trend does not widen. */
import { finiteOf, medianOf } from '../../model/order-statistics.ts';
import { noiseScale } from './bands.ts';
import { ERRORS, medianError } from './level-error.ts';
import { type Learnt, untrainedOf } from './never-learned.ts';
import { NUMBERS } from './numbers.ts';

/** Parts of a short run of which the first and the last are compared. */
const PARTS = 3;

/**
 * What {@link Learnt} is of a run that has too few points for the test of many; its error is wider, as few points tell of the noise.
 *
 * @param values finite or not, of one attempt that begins with the training
 * @param onset first point of the first incident; the untrained level is of points before it
 * @param least points below which nothing can be said
 */
export function learntOfFew(values: Float64Array, onset: number, least: number): Learnt {
  const finite = finiteOf(values);
  const points = Math.floor(finite.length / PARTS);
  const first = finiteOf(values.subarray(0, Math.min(onset, points)));
  const last = finite.subarray(finite.length - points);
  const end = medianOf(last);
  const unknown = { holds: null, untrained: Number.NaN, end, best: Number.NaN, error: Number.NaN };
  if (finite.length < least || first.length === 0) return unknown;
  const noise = noiseScale(finite, (value) => value) * (1 + NUMBERS.fewPoints / Math.sqrt(finite.length));
  const { untrained, points: of } = untrainedOf(first, noise);
  const error = Math.hypot(medianError(noise, last.length), medianError(noise, of));
  return { ...unknown, untrained, holds: end < untrained - ERRORS * error, error };
}
