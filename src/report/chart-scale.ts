/** Which value lies on which row of a chart: rows are at round numbers, on a logarithmic scale at even shares of a decade. */
import { formatNumber } from '../model/format-number.ts';

export interface ChartScale {
  /** Rows above the lowest one; the lowest is row 0. */
  readonly height: number;
  /** Where a finite value lies, in rows and shares of a row from the lowest; clamped to the plot. */
  rowOf(value: number): number;
  /** The label of a row; empty where no round number is on it. */
  labelOf(row: number): string;
}

/** Rows for a decade, most first; then decades for a row. */
const ROWS_OF_A_DECADE = [10, 8, 6, 5, 4, 3, 2, 1] as const;
/** Times a power of ten: steps of a row on a linear scale. */
const NICE = [1, 2, 2.5, 3, 4, 5, 6, 8, 10] as const;
/** In a range below this share of its values, rows have the same label. */
const FLAT = 1e-12;

/**
 * The scale of a chart.
 *
 * @param low @param high of the finite values that are drawn
 * @param rows at most, 2 or more, the lowest included
 * @param logarithmic only values above 0 have a place of their own; `positive` is the lowest of these and takes the others
 */
export function chartScale(
  low: number,
  high: number,
  rows: number,
  logarithmic: boolean,
  positive = low,
): ChartScale {
  if (logarithmic) return logarithmicScale(positive, high, rows);
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (!(high / 2 - low / 2 > (FLAT * size) / 2) || size < Number.MIN_VALUE / Number.EPSILON) return flat(low);
  // Between two rows on either side of 0 there is no round number for each.
  if (rows <= 2 && low < 0 && high > 0) return ends(low, high);
  const unit = linearUnit(low, high, rows - 1);
  const first = Math.floor(low / unit);
  const height = Math.max(1, Math.ceil(high / unit) - first);
  const every = labelEvery(height);
  return {
    height,
    rowOf: (value) => clamp(value / unit - first, height),
    labelOf: (row) => ((first + row) % every === 0 ? formatNumber((first + row) * unit) : ''),
  };
}

/** One value alone: it lies on the lowest of two rows. */
const flat = (value: number): ChartScale => ({
  height: 1,
  rowOf: () => 0,
  labelOf: (row) => (row === 0 ? formatNumber(value) : ''),
});

/** Two rows, for the ends of a range on either side of 0. */
const ends = (low: number, high: number): ChartScale => ({
  height: 1,
  rowOf: (value) => clamp((value / 2 - low / 2) / (high / 2 - low / 2), 1),
  labelOf: (row) => formatNumber(row === 0 ? low : high, 'brief'),
});

const clamp = (row: number, height: number): number => Math.min(height, Math.max(0, row));

/** Rows from one number to the next: at most six numbers. */
const labelEvery = (height: number): number => [1, 2, 5, 10, 20, 50].find((n) => height / n <= 6) ?? 100;

/** The smallest nice step with which the range takes so many rows at most. Halves first: the range may be too large for a number. */
function linearUnit(low: number, high: number, height: number): number {
  const raw = high / height - low / height;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  for (let scale = magnitude; ; scale *= 10)
    for (const nice of NICE) {
      const unit = nice * scale;
      if (!Number.isFinite(unit)) return Number.MAX_VALUE / 2;
      if (Math.ceil(high / unit) - Math.floor(low / unit) <= height) return unit;
    }
}

/** Where even shares of a decade would leave so much of the rows empty, the ends of the range are those of the plot. */
const WELL_USED = 0.75;

/** @param bottom @param top logarithms of the ends */
function betweenEnds(bottom: number, top: number, height: number): ChartScale {
  const rowOf = (logarithm: number): number => ((logarithm - bottom) / (top - bottom)) * height;
  const labels = new Map<number, string>();
  // Like the line, a decade is on the row nearest to it.
  const every = labelEvery(top - bottom);
  for (let decade = Math.ceil(bottom / every) * every; decade <= top; decade += every)
    labels.set(Math.round(rowOf(decade)), formatNumber(10 ** decade));
  if (labels.size < 2)
    for (const [row, end] of [
      [0, bottom],
      [height, top],
    ] as const)
      labels.set(row, formatNumber(10 ** end, 'brief'));
  return {
    height,
    rowOf: (value) => clamp(value > 0 ? rowOf(Math.log10(value)) : 0, height),
    labelOf: (row) => labels.get(row) ?? '',
  };
}

function logarithmicScale(low: number, high: number, rows: number): ChartScale {
  const [bottom, top] = [Math.log10(low), Math.log10(high)];
  if (!(top > bottom)) return flat(high);
  const fits = (perDecade: number): boolean =>
    Math.ceil(top * perDecade) - Math.floor(bottom * perDecade) <= rows - 1;
  let perDecade: number = ROWS_OF_A_DECADE.find(fits) ?? 0;
  // On either side of 1 the two rows of the smallest plot are never enough for whole decades.
  if (rows <= 2 && bottom < 0 && top > 0) return betweenEnds(bottom, top, rows - 1);
  for (let decades = 2; perDecade === 0; decades++) if (fits(1 / decades)) perDecade = 1 / decades;
  const first = Math.floor(bottom * perDecade);
  const height = Math.max(1, Math.ceil(top * perDecade) - first);
  if ((top - bottom) * perDecade < WELL_USED * (rows - 1)) return betweenEnds(bottom, top, rows - 1);
  const atRow = (row: number): number => 10 ** ((first + row) / perDecade);
  const isDecade = (row: number): boolean => Number.isInteger((first + row) / perDecade);
  const decades = Array.from({ length: height + 1 }, (_, row) => row).filter(isDecade);
  // Without two decades the ends say how far it goes.
  const ends = decades.length < 2 ? [0, height] : [];
  const every = labelEvery(decades.length);
  const shown = new Set([...decades.filter((_, i) => i % every === 0), ...ends]);
  return {
    height,
    rowOf: (value) => clamp((value > 0 ? Math.log10(value) : bottom) * perDecade - first, height),
    labelOf: (row) => (shown.has(row) ? formatNumber(atRow(row)) : ''),
  };
}
