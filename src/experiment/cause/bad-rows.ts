/** Rows of unlike batches whose own gradient is far above the gradient of every earlier row: a few bad rows in a batch. */
import type { Batch, Objective } from '../../differentiate/autodiff/objective.ts';
import { rowsOf, sliceRows, withoutRows } from '../../step/tensor/batch-rows.ts';
import { norm } from '../../step/tensor/values.ts';

/** Times the largest gradient norm of the rows before, above which a row is bad. */
const ABOVE = 2;
/** Earlier batches that the rows are compared with. */
const EARLIER = 4;
/** Rows that are looked at in all, each with a gradient of its own. */
const MOST_ROWS = 8192;
/** Share of the rows of the unlike batches above which it is the batches that are bad. */
const MOST_SHARE = 0.08;
/** Relative distance up to which the loss of a batch is the mean loss of its rows. */
const SAME_MEAN = 1e-3;

/** Bad rows by the position of their batch, where it has any: places in the batch, ascending. */
export type BadRows = ReadonlyMap<number, readonly number[]>;

export interface RowsToLookAt {
  readonly objective: Pick<Objective, 'gradient' | 'loss'>;
  /** Parameters from before the incident, flat. */
  readonly weights: Float32Array;
  /** Positions of the unlike batches, and of those before them. */
  readonly unlike: readonly number[];
  readonly earlier: readonly number[];
  batch(index: number): Promise<Batch>;
  /** Whether a batch of such a loss is as usual. */
  isUsual(loss: number): boolean;
  progress(done: number, total: number): void;
}

const isMean = (rows: readonly number[], whole: number): boolean => {
  const mean = rows.reduce((sum, loss) => sum + loss, 0) / rows.length;
  return !Number.isFinite(whole) || Math.abs(mean - whole) <= SAME_MEAN * Math.max(Math.abs(whole), 1e-6);
};

/**
 * Looks for them, all at the same weights from before the incident.
 *
 * A row is bad if its gradient is not finite, or if its Euclidean norm is more than twice the largest norm of the rows of up to four
 * earlier batches. A row alone may have another loss than in its batch (batch normalisation): then rows cannot be separated.
 *
 * @returns null where no row stands out, where more than 8 % do, where the rest of a batch with bad rows is unusual too, where there are more than 8,192 rows, or they cannot be separated
 */
export async function findBadRows(look: RowsToLookAt): Promise<BadRows | null> {
  const earlier = look.earlier.slice(-EARLIER);
  if (earlier.length === 0 || look.unlike.length === 0) return null;
  const batches = new Map<number, Batch>();
  for (const index of [...earlier, ...look.unlike]) batches.set(index, await look.batch(index));
  const total = [...batches.values()].reduce((sum, batch) => sum + rowsOf(batch), 0);
  if (total > MOST_ROWS || [...batches.values()].some((batch) => rowsOf(batch) < 2)) return null;
  const norms = new Map<number, readonly number[]>();
  let done = 0;
  for (const [index, batch] of batches) {
    const found = await rowNorms(look, batch, () => look.progress(++done, total));
    if (found === null) return null;
    norms.set(index, found);
  }
  const usual = Math.max(...earlier.flatMap((index) => norms.get(index)!));
  if (!Number.isFinite(usual)) return null;
  const bad = new Map<number, readonly number[]>();
  for (const index of look.unlike) {
    const rows = norms.get(index)!.flatMap((size, row) => (size <= ABOVE * usual ? [] : [row]));
    if (rows.length > 0) bad.set(index, rows);
  }
  const count = (lists: Iterable<readonly number[]>): number =>
    [...lists].reduce((sum, { length }) => sum + length, 0);
  const found = count(bad.values());
  const isMost = found > MOST_SHARE * count(look.unlike.map((index) => norms.get(index)!));
  if (found === 0 || isMost) return null;
  // Where what is left of a batch is unusual too, it is not the rows that make it so. Of an unlike batch without bad rows the
  // training without the others decides.
  for (const [index, rows] of bad) {
    const rest = withoutRows(batches.get(index)!, rows);
    if (!look.isUsual((await look.objective.loss(look.weights, [rest])).loss)) return null;
  }
  return bad;
}

/** Gradient norm of each row; null where its batch's loss is not the mean of theirs. */
async function rowNorms(
  { objective, weights }: RowsToLookAt,
  batch: Batch,
  progress: () => void,
): Promise<readonly number[] | null> {
  const losses: number[] = [];
  const norms: number[] = [];
  for (let row = 0; row < rowsOf(batch); row++) {
    const { loss, gradient } = await objective.gradient(weights, [sliceRows(batch, row, row + 1)]);
    losses.push(loss);
    norms.push(norm(gradient));
    progress();
  }
  return isMean(losses, (await objective.loss(weights, [batch])).loss) ? norms : null;
}
