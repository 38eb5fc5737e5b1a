/** Numbers and tables as `inspect` prints them. */

export const count = (value: number): string => value.toLocaleString('en-US');

/** Six significant digits, exponent only where it is shorter. */
export const short = (value: number | null): string =>
  value === null ? '-' : Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);

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
    ...(series.nan > 0 ? [`${count(series.nan)} NaN`] : []),
    ...(series.posInf > 0 ? [`${count(series.posInf)} +Inf`] : []),
    ...(series.negInf > 0 ? [`${count(series.negInf)} -Inf`] : []),
  ].join(', ') || '-';
