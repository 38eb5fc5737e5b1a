/** Ranks that print into one file without saying which they are, each at its own pace. */

/** More ranks in one file have never been seen. */
const MOST_RANKS = 64;
/**
 * At least this share of the rows comes before the row above: phases of an epoch fall back less often, restarts
 * hardly ever.
 */
const LEAST_FALLS = 1 / 5;
/** At least this share of the steps is printed by every rank: the last ones are not, where the log is cut. */
const LEAST_WHOLE = 0.9;
const LEAST_PLACES = 8;

/**
 * The rank that printed each row, where several count the same steps and their lines mix; undefined otherwise. A row
 * belongs to the rank whose last row is nearest before it.
 *
 * @param step the counter of each row; NaN where a row has none
 * @param epoch the epoch of each row; not used where any is NaN
 * @returns numbers from 0 on, one a row
 */
export function ranksAmong(step: Float64Array, epoch: Float64Array): Float64Array | undefined {
  const rows = step.length;
  const hasEpoch = !epoch.some(Number.isNaN);
  const isBefore = (a: number, b: number): boolean =>
    hasEpoch && epoch[a] !== epoch[b] ? epoch[a]! < epoch[b]! : step[a]! < step[b]!;
  let falls = 0;
  for (let row = 1; row < rows; row++) if (isBefore(row, row - 1)) falls++;
  if (falls < LEAST_FALLS * rows || step.some(Number.isNaN)) return undefined;
  const lasts: number[] = [];
  const rank = new Float64Array(rows);
  const told = new Map<string, number>();
  for (let row = 0; row < rows; row++) {
    let nearest = -1;
    for (let k = 0; k < lasts.length; k++)
      if (isBefore(lasts[k]!, row) && (nearest < 0 || isBefore(lasts[nearest]!, lasts[k]!))) nearest = k;
    if (nearest < 0) nearest = lasts.push(row) - 1;
    if (lasts.length > MOST_RANKS) return undefined;
    lasts[nearest] = row;
    rank[row] = nearest;
    const place = `${hasEpoch ? epoch[row] : ''} ${step[row]}`;
    told.set(place, (told.get(place) ?? 0) + 1);
  }
  let whole = 0;
  for (const times of told.values()) if (times === lasts.length) whole++;
  const areRanks = lasts.length > 1 && told.size >= LEAST_PLACES && whole >= LEAST_WHOLE * told.size;
  return areRanks ? rank : undefined;
}
