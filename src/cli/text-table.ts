/** Tables as `inspect` prints them. */
import { formatCount, formatNumber } from '../model/format-number.ts';

/** A number of a log or checkpoint; a dash where there is none. */
export const short = (value: number | null): string => (value === null ? '-' : formatNumber(value, 'lookup'));

/** Columns under their headings, names to the left, numbers to the right. */
export function table(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  left: number,
): string[] {
  const widths = heads.map((head, k) =>
    rows.reduce((width, row) => Math.max(width, row[k]!.length), head.length),
  );
  return [heads, ...rows].map((row) =>
    row
      .map((cell, k) => (k < left ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** "3 NaN, 1 +Inf", or a dash. */
export const nonFinite = (series: { nan: number; posInf: number; negInf: number }): string =>
  [
    ...(series.nan > 0 ? [`${formatCount(series.nan)} NaN`] : []),
    ...(series.posInf > 0 ? [`${formatCount(series.posInf)} +Inf`] : []),
    ...(series.negInf > 0 ? [`${formatCount(series.negInf)} -Inf`] : []),
  ].join(', ') || '-';
