/** Whether numbers fall as a loss does: by more than their scatter, unevenly, to many different values. */

/** Numbers of the shortest column that may be one. */
const LEAST_CELLS = 5;
/** By how many standard errors the lowest stretch has to lie below the first. */
const LEAST_FALL = 4;

/** The mean of the finite numbers of [from, to); NaN where none is finite. */
function meanOf(cells: Float64Array, from: number, to: number): number {
  let sum = 0;
  let count = 0;
  for (let k = from; k < to; k++) {
    if (!Number.isFinite(cells[k]!)) continue;
    sum += cells[k]!;
    count++;
  }
  return sum / count;
}

/** The mean distance from one row to the next, and whether the column turns: both up and down. */
function scatterOf(cells: Float64Array): { scatter: number; turns: boolean } {
  let sum = 0;
  let up = 0;
  let down = 0;
  for (let k = 1; k < cells.length; k++) {
    const step = cells[k]! - cells[k - 1]!;
    if (!Number.isFinite(step)) continue;
    sum += Math.abs(step);
    if (step > 0) up++;
    else if (step < 0) down++;
  }
  return { scatter: sum / Math.max(1, up + down), turns: up > 0 && down > 0 };
}

/**
 * How far the lowest tenth of the cells lies below the first, in standard errors of their scatter from one row to the next.
 * A loss falls at some time, whatever becomes of it later.
 */
function fallOf(cells: Float64Array, scatter: number): number {
  const width = Math.max(2, Math.floor(cells.length / 10));
  const first = meanOf(cells, 0, width);
  if (Number.isNaN(first) || scatter === 0) return 0;
  const error = scatter * Math.sqrt(2 / width);
  let best = 0;
  for (let from = width; from + width <= cells.length; from += width) {
    const here = meanOf(cells, from, from + width);
    if (here < first) best = Math.max(best, (first - here) / error);
  }
  return best;
}

/** So many different numbers are no setting that changes now and then. */
const ENOUGH_DIFFERENT = 1000;

/** Room for the different numbers of {@link haveDifferent}: a power of two, and several times as many. */
const DIFFERENT_ROOM = 4096;

/** Whether cells have at least so many different numbers, up to {@link ENOUGH_DIFFERENT}. A set would keep an object for each cell. */
function haveDifferent(cells: Float64Array, enough: number): boolean {
  const seen = new Float64Array(DIFFERENT_ROOM).fill(Number.NaN);
  const bits = new Uint32Array(cells.buffer, cells.byteOffset, 2 * cells.length);
  let found = 0;
  for (let k = 0; k < cells.length && found < enough; k++) {
    let at = Math.imul(bits[2 * k]! ^ (bits[2 * k + 1]! * 31), 0x9e3779b1) >>> 20;
    while (!Number.isNaN(seen[at]!) && seen[at] !== cells[k]) at = (at + 1) % DIFFERENT_ROOM;
    if (seen[at] === cells[k]) continue;
    seen[at] = cells[k]!;
    found++;
  }
  return found >= enough;
}

/**
 * How much a column looks like a loss, whatever it is called.
 *
 * @param cells in their order; those that are not finite are left out
 * @returns 0 where it does not; 1 where it only falls, as a schedule does too; 2 where it turns on its way
 */
export function fallsAsLoss(cells: Float64Array): 0 | 1 | 2 {
  const finite = cells.filter(Number.isFinite);
  if (finite.length < LEAST_CELLS || finite.every(Number.isInteger)) return 0;
  // A long log with few digits prints the same numbers again.
  const enough = Math.min(finite.length / 4, ENOUGH_DIFFERENT);
  if (!haveDifferent(finite, enough)) return 0;
  // A column that runs down as evenly as a clock is not a loss.
  const strides = new Set<string>();
  for (let k = 1; k < finite.length && strides.size < 3; k++)
    strides.add((finite[k]! - finite[k - 1]!).toPrecision(4));
  if (strides.size < 3) return 0;
  const { scatter, turns } = scatterOf(cells);
  const fall = fallOf(cells, scatter);
  return fall < LEAST_FALL ? 0 : turns ? 2 : 1;
}
