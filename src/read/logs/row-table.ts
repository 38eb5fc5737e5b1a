/**
 * Logs that are rows of cells (CSV, JSON lines, matched lines of text): columns of numbers that share the step, line
 * and time of their row. A column with a value in every row costs eight bytes a value and nothing else.
 */
import { ColumnBuilder } from '../../model/column.ts';
import { RowKinds } from './row-kinds.ts';
import { type RowSeries, seriesOfRows } from './row-series.ts';
import { TableColumn } from './table-column.ts';

export interface RowTable {
  /** The columns in order of appearance. */
  readonly columns: readonly TableColumn[];
  /** The index of the column with a name, created if missing. */
  column(name: string): number;
  /** The index of the column with a name, if it was made. */
  indexOf(name: string): number | undefined;
  /** Sets a cell of the row that is being filled; false if it is there already. */
  set(column: number, value: number): boolean;
  /** A cell that says that there is no value; false if it is there already. */
  miss(column: number): boolean;
  /** A cell whose text is not a number; false if it is there already. */
  refuse(column: number, text: string, line?: number): boolean;
  /** The content of a column in the row that is being filled; undefined where it has no such cell. */
  cell(column: number): number | 'missing' | 'refused' | undefined;
  /** Takes back the cell of the row that is being filled. */
  unset(column: number): void;
  /** Ends the row. */
  endRow(line: number): void;
  /**
   * Adds a row that has these values in these columns and nothing else, where no cell of it was set. The columns
   * differ; callers pass the same list again for a row with the same columns.
   *
   * @param missing 1 for each cell without a value; left out where each has one
   */
  addRow(columns: Int32Array, values: Float64Array, line: number, missing?: Uint8Array): void;
  /** Forgets the cells set since the last row ended. */
  dropRow(): void;
  rows(): number;
  /** The columns so far as series, with the axis found among them. Rows may be added afterwards. */
  finish(): RowSeries;
}

/** A {@link RowTable}; others are made of it. */
export class Rows implements RowTable {
  readonly columns: TableColumn[] = [];
  private readonly byName = new Map<string, number>();
  private readonly lines = new ColumnBuilder();
  private readonly kinds = new RowKinds();
  private count = 0;
  /**
   * The first `stagedCount` are columns with a cell in the row being filled. Shortening the array would call the
   * runtime.
   */
  private readonly staged: number[] = [];
  private stagedCount = 0;

  /** @param indexColumn name of a column that numbers the rows (a pandas index): the axis where there is no better one */
  constructor(private readonly indexColumn?: string) {}

  column(name: string): number {
    let index = this.byName.get(name);
    if (index === undefined) {
      index = this.columns.length;
      this.byName.set(name, index);
      this.columns.push(new TableColumn(name));
    }
    return index;
  }

  indexOf(name: string): number | undefined {
    return this.byName.get(name);
  }

  /** Opens a cell in the row that is being filled: its column, or undefined where the row has that cell already. */
  private open(index: number): TableColumn | undefined {
    const column = this.columns[index]!;
    if (column.lastRow === this.count) return undefined;
    column.lastRow = this.count;
    this.staged[this.stagedCount++] = index;
    return column;
  }

  set(index: number, value: number): boolean {
    const column = this.open(index);
    column?.set(this.count, value);
    return column !== undefined;
  }

  miss(index: number): boolean {
    const column = this.open(index);
    column?.miss(this.count);
    return column !== undefined;
  }

  refuse(index: number, text: string, line?: number): boolean {
    const column = this.open(index);
    column?.refuse(this.count, text, line);
    return column !== undefined;
  }

  cell(index: number): number | 'missing' | 'refused' | undefined {
    return this.columns[index]!.cell(this.count);
  }

  unset(index: number): void {
    const { staged } = this;
    this.columns[index]!.take(this.count);
    staged.copyWithin(staged.indexOf(index), staged.indexOf(index) + 1, this.stagedCount--);
  }

  addRow(of: Int32Array, values: Float64Array, line: number, missing?: Uint8Array): void {
    const { columns, count } = this;
    for (let k = 0; k < of.length; k++) {
      const column = columns[of[k]!]!;
      if (missing !== undefined && missing[k] === 1) column.miss(count);
      else column.set(count, values[k]!);
    }
    this.kinds.addCells(count, of, missing);
    this.lines.push(line);
    this.count++;
  }

  endRow(line: number): void {
    this.kinds.add(this.count, this.staged, this.stagedCount, this.columns);
    this.lines.push(line);
    this.count++;
    this.stagedCount = 0;
  }

  dropRow(): void {
    for (let k = 0; k < this.stagedCount; k++) this.columns[this.staged[k]!]!.take(this.count);
    this.stagedCount = 0;
  }

  rows(): number {
    return this.count;
  }

  finish(): RowSeries {
    const { columns, count, kinds, indexColumn } = this;
    return seriesOfRows({ columns, count, line: this.lines.finish(), kinds, indexColumn });
  }
}

/** @param indexColumn name of a column that numbers the rows (a pandas index): the axis where there is no better one */
export const rowTable = (indexColumn?: string): RowTable => new Rows(indexColumn);
