/** A column of a table of rows: its values, and the rows whose cell is missing or refused. */
import { ColumnBuilder } from '../../model/column.ts';
import type { RefusedCell } from '../../model/run.ts';

/** A record of settings is at the head of a log; more words than these are not settings. */
const MAX_SETTINGS = 8;

/** The text of a cell that its record has twice: a separate error reports it. */
export const AMBIGUOUS_CELL = 'twice in one record';

/** Characters of a refused cell that are kept. */
const SHOWN_TEXT = 80;

const integers = (length: number): Uint32Array => new Uint32Array(length);

const grown = (old: Uint32Array): Uint32Array => {
  // Memory that is not written to costs nothing yet; a smaller factor would only copy more often.
  const next = integers(Math.max(64, 2 * old.length));
  next.set(old);
  return next;
};

export class TableColumn {
  readonly value = new ColumnBuilder();
  /** The row of each value; undefined while every row so far has one. */
  row: ColumnBuilder | undefined;
  /** The last row with a cell of this column, whatever it says. */
  lastRow = -1;
  /** Rows whose cell is missing. */
  missingRows = integers(0);
  missing = 0;
  refused = 0;
  /** How many values precede each refused cell. */
  refusedAt = integers(0);
  firstRefused: RefusedCell | undefined;
  /** Rows of the refused cells that may be settings: words, before the column has any value. */
  readonly settingRows: number[] = [];

  constructor(readonly name: string) {}

  /** How many values there are. */
  get count(): number {
    return this.value.length;
  }

  set(row: number, value: number): void {
    if (this.row !== undefined || this.value.length !== row) this.place(row);
    this.value.push(value);
  }

  /** Keeps the row of the next value of a column that lacks a value in an earlier row. */
  private place(row: number): void {
    if (this.row === undefined) {
      this.row = new ColumnBuilder();
      for (let k = 0; k < this.value.length; k++) this.row.push(k);
    }
    this.row.push(row);
  }

  miss(row: number): void {
    if (this.missing === this.missingRows.length) this.missingRows = grown(this.missingRows);
    this.missingRows[this.missing++] = row;
  }

  refuse(row: number, text: string, line: number | undefined): void {
    if (this.refused === this.refusedAt.length) this.refusedAt = grown(this.refusedAt);
    this.refusedAt[this.refused++] = this.count;
    if (this.count === 0 && this.settingRows.length < MAX_SETTINGS && /^[^\d]+$/.test(text))
      this.settingRows.push(row);
    this.firstRefused ??= { text: text.slice(0, SHOWN_TEXT), ...(line === undefined ? {} : { line }) };
  }

  isMissing(row: number): boolean {
    return this.missing > 0 && this.missingRows[this.missing - 1] === row;
  }

  /** The content of the cell in the last row. */
  cell(row: number): number | 'missing' | 'refused' | undefined {
    if (this.lastRow !== row) return undefined;
    const rowOfLast = this.row === undefined ? this.count - 1 : this.row.last();
    if (this.count > 0 && rowOfLast === row) return this.value.last()!;
    return this.isMissing(row) ? 'missing' : 'refused';
  }

  /** Removes the cell in the last row. */
  take(row: number): void {
    const found = this.cell(row);
    if (typeof found === 'number') {
      this.value.pop();
      this.row?.pop();
    } else if (found === 'missing') this.missing--;
    else {
      if (this.settingRows.at(-1) === row) this.settingRows.pop();
      if (--this.refused === 0) this.firstRefused = undefined;
    }
    this.lastRow = -1;
  }
}
