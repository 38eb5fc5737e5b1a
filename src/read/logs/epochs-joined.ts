/** Counters of batches that start again in every epoch, as steps that go on through the epochs. */
import { formatCount } from '../../model/format-number.ts';
import { smallest } from '../../model/order-statistics.ts';

/** Steps that go on through the epochs, one a row. */
interface JoinedEpochs {
  readonly step: Float64Array;
  readonly unit: 'step';
  readonly name: string;
  readonly within: { readonly batch: Float64Array; readonly epoch: Float64Array };
  readonly notes: readonly string[];
}

/**
 * Lightning draws a bar empty before it names the next epoch, with the values of the end: `Epoch 0: … 12/12`, then
 * `Epoch 0: … 0/12`. Such a row is at the place of the one before it.
 */
function withoutEmptied(
  batch: Float64Array,
  of: Float64Array,
  epoch: Float64Array | undefined,
): Float64Array {
  if (epoch === undefined) return batch;
  const out = batch.slice();
  for (let k = 1; k < out.length; k++)
    if (out[k] === 0 && epoch[k] === epoch[k - 1] && batch[k - 1] === of[k - 1]) out[k] = batch[k - 1]!;
  return out;
}

/** How often each row's batch counter has begun again before it, and whether the epochs explain that. */
function wrapsOf(batch: Float64Array, of: Float64Array, epoch: Float64Array | undefined) {
  let falls = 0;
  let explained = 0;
  let changes = 0;
  const wraps = new Float64Array(batch.length);
  for (let k = 1; k < batch.length; k++) {
    const next = epoch !== undefined && epoch[k]! > epoch[k - 1]!;
    if (next) changes++;
    const ran = batch[k - 1]! >= 0.9 * of[k - 1]! && batch[k]! < 0.5 * of[k - 1]!;
    if (batch[k]! < batch[k - 1]! || (next && batch[k] === batch[k - 1])) {
      falls++;
      if (next || (epoch === undefined && ran)) explained++;
    }
    wraps[k] = explained;
  }
  // A step that counts on through the epochs falls where a run begins again, and there alone.
  const begins = falls > 0 && explained * 2 > falls && falls * 2 >= changes;
  return begins ? wraps : undefined;
}

/**
 * Batch counters that start again, joined with the epoch; undefined where they do not start again.
 *
 * @param printed the batch of each row
 * @param sizes how many batches each row says that there are, NaN where it does not; undefined where none does
 * @param epoch of each row; undefined where only the counter distinguishes epochs
 */
export function joinEpochs(
  printed: Float64Array,
  sizes: Float64Array | undefined,
  epoch: Float64Array | undefined,
  name: string,
): JoinedEpochs | undefined {
  const of = sizes ?? new Float64Array(printed.length).fill(Number.NaN);
  const batch = withoutEmptied(printed, of, epoch);
  const wraps = wrapsOf(batch, of, epoch);
  const epochs = epoch ?? wraps;
  if (wraps === undefined || !epochs!.every(Number.isInteger)) return undefined;
  const most = batch.reduce((a, b) => Math.max(a, b), 0);
  const least = smallest(batch);
  const told = of.find((one) => one >= most);
  // What counts from 0 to its end and begins again is a run: batches of an epoch are counted from 0 or from 1.
  if (epoch === undefined && least === 0 && most === told) return undefined;
  const size = told ?? most + (least === 0 ? 1 : 0);
  if (!(size > 0)) return undefined;
  const base = smallest(epochs!) === 0 ? 0 : 1;
  return {
    step: batch.map((one, k) => (epochs![k]! - base) * size + one),
    unit: 'step',
    name,
    within: { batch, epoch: epochs! },
    notes: [
      `${name} starts again in every epoch: the step is ${base === 0 ? 'epoch' : '(epoch − 1)'} × ${formatCount(size)} + ${name}${told === undefined ? ' (the largest one that is printed)' : ''}`,
    ],
  };
}
