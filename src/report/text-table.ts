/** Tables in text: columns are as wide as what is seen in them, whatever script it is written in. */
import { textWidth } from './text-width.ts';

export interface TextTable {
  readonly head?: readonly string[];
  /** Each with as many cells as the head; a row that ends early has blanks there. */
  readonly rows: readonly (readonly string[])[];
  /** Columns that are set to the left, counted from the first; the others hold numbers. Default: all. */
  readonly left?: number;
  /** Columns of the terminal: the last columns of the table go until it fits, but for the first two. */
  readonly width?: number;
  readonly paintHead?: (line: string) => string;
  /** Colours the text of a cell; gets its row and column. */
  readonly paintCell?: (text: string, row: number, column: number) => string;
}

/** Blanks between two columns. */
export const GAP = 2;

/** The lines of a table: its head, where it has one, and its rows, cells two blanks apart. */
export function textTable({
  head,
  rows,
  left = Number.POSITIVE_INFINITY,
  width = Number.POSITIVE_INFINITY,
  paintHead = (line) => line,
  paintCell = (text) => text,
}: TextTable): string[] {
  const all = head === undefined ? rows : [head, ...rows];
  const widths: number[] = [];
  for (const row of all)
    for (const [c, cell] of row.entries()) widths[c] = Math.max(widths[c] ?? 0, textWidth(cell));
  while (widths.length > 2 && widths.reduce((sum, w) => sum + w + GAP, -GAP) > width) widths.pop();
  const line = (row: readonly string[], paint: (text: string, column: number) => string): string =>
    widths
      .map((w, c) => {
        const text = row[c] ?? '';
        const blanks = ' '.repeat(w - textWidth(text));
        return c < left ? paint(text, c) + blanks : blanks + paint(text, c);
      })
      .join(' '.repeat(GAP))
      .trimEnd();
  return [
    ...(head === undefined ? [] : [paintHead(line(head, (text) => text))]),
    ...rows.map((row, r) => line(row, (text, c) => paintCell(text, r, c))),
  ];
}
