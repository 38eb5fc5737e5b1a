/**
 * Whether the missing cells of a series are the way in which it is logged, or values that are not there.
 *
 * pandas and JSON write NaN as an empty cell and as `null`, so that cells that are missing in a row may be a loss that was
 * no number. An evaluation that is logged every hundred rows leaves cells empty as well, in a rhythm.
 */
import { selectNth } from './order-statistics.ts';
import type { TimeSeries } from './run.ts';

/** Share of the stretches that have to follow a rhythm. */
const STEADY = 0.9;
/** So many stretches without a value make a rhythm; fewer are events. */
const FEWEST_STRETCHES = 3;

export interface MissingCells {
  /** All of them, `series.missing`; those in rows of another kind too. */
  readonly total: number;
  /** Those that no rhythm and no other kind of row explains. */
  readonly unexplained: number;
  /** The most in a row, and those after the last value; rows of another kind are not counted. */
  readonly longest: number;
  readonly atEnd: number;
  /**
   * `rare`: single values with gaps between them, as evaluations have them. `steady`: stretches of values and gaps that
   * repeat. `none`: neither.
   */
  readonly rhythm: 'none' | 'rare' | 'steady';
}

/** Looks at the gaps of a series, which may be one of 0 points. */
export function missingCells(series: Pick<TimeSeries, 'gaps' | 'missing' | 'value'>): MissingCells {
  const points = series.value.length;
  const gaps = series.gaps ?? new Uint32Array(points + 1);
  let sum = 0;
  let longest = 0;
  for (const gap of gaps) {
    sum += gap;
    if (gap > longest) longest = gap;
  }
  const found = { total: series.missing, longest, atEnd: gaps[points] ?? 0 };
  if (sum === 0) return { ...found, unexplained: 0, rhythm: 'none' };
  const rare = unexplainedIfRare(gaps, points);
  if (rare !== undefined) return { ...found, unexplained: rare, rhythm: 'rare' };
  const steady = unexplainedIfSteady(gaps, points);
  if (steady !== undefined) return { ...found, unexplained: steady, rhythm: 'steady' };
  return { ...found, unexplained: sum, rhythm: 'none' };
}

/**
 * Of single values: a gap is explained up to twice the longest before it that was (intervals that double are common). The
 * first value may come late. Undefined where values follow each other.
 */
function unexplainedIfRare(gaps: Uint32Array, points: number): number | undefined {
  if (points === 0) return undefined;
  let apart = 0;
  for (let k = 1; k < points; k++) if (gaps[k]! > 0) apart++;
  if (apart < STEADY * (points - 1)) return undefined;
  // One value alone says how rarely it is logged by when it came.
  let usual = points === 1 ? gaps[0]! : gaps[1]!;
  let unexplained = 0;
  for (let k = 1; k <= points; k++) {
    const gap = gaps[k]!;
    if (gap > 2 * usual + 1) unexplained += gap - usual;
    else if (gap > usual) usual = gap;
  }
  return unexplained;
}

/** Of stretches of values and gaps that repeat: what a gap has beyond twice the usual. Undefined without a rhythm. */
function unexplainedIfSteady(gaps: Uint32Array, points: number): number | undefined {
  const without: number[] = [];
  const between: number[] = [];
  let last = -1;
  for (let k = 0; k <= points; k++) {
    if (gaps[k] === 0) continue;
    without.push(gaps[k]!);
    if (last >= 0) between.push(k - last);
    last = k;
  }
  if (without.length < FEWEST_STRETCHES || !isSteady(between)) return undefined;
  const usual = middleOf(without);
  if (!isSteady(without)) return undefined;
  return without.reduce((sum, length) => (length > 2 * usual ? sum + length - usual : sum), 0);
}

function isSteady(lengths: readonly number[]): boolean {
  const usual = middleOf(lengths);
  const near = lengths.filter((length) => length * 2 >= usual && length <= 2 * usual).length;
  return near >= STEADY * lengths.length;
}

/** One of the lengths, so that what is counted by it is whole. */
const middleOf = (lengths: readonly number[]): number =>
  selectNth(Float64Array.from(lengths), lengths.length >> 1);
