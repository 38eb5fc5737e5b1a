/** Lines with the same names in the same order, as they are kept while a text streams by. */
import { type Column, readerOf } from '../../model/column.ts';
import type { Waiting } from '../bytes/lines.ts';
import type { RowTable } from './row-table.ts';
import type { Kind, KindRows, LostCells } from './text/cells.ts';

/** Columns that each table of lines has: the place in the order of all lines, the line, the rank. */
export const ORDER_COLUMN = 0;
export const LINE_COLUMN = 1;
export const RANK_COLUMN = 2;

export interface Skeleton extends Kind {
  /** The slots as they are printed, in the same order. */
  readonly raw: readonly { readonly kind: number; readonly name: string; readonly words: boolean }[];
  readonly table: RowTable;
  /** Where the first line is, and what the file has there. */
  readonly line: number;
  readonly shown: string;
  /** Its lines, and those of them in which a loss is not a number. */
  readonly whole: Waiting;
  readonly refused: Waiting;
}

/** The cells of a column that hold no number. */
function lostIn(table: RowTable, index: number): LostCells {
  const column = table.columns[index]!;
  if (column.missing + column.refused === 0) return { missing: [], refused: [] };
  const rowOf = column.row?.finish();
  const lineOf = readerOf(table.columns[LINE_COLUMN]!.value.finish());
  return {
    missing: Array.from(column.missingRows.subarray(0, column.missing), lineOf),
    // After the last value of its own kind of lines.
    refused: Array.from(column.refusedAt.subarray(0, column.refused), (before) =>
      before === 0 ? 0 : lineOf(rowOf?.at(before - 1) ?? before - 1) + 1,
    ),
    ...(column.firstRefused === undefined ? {} : { firstRefused: column.firstRefused }),
  };
}

/** The rows of a table of lines. */
export function rowsOfTable(table: RowTable): KindRows {
  const isWhole = (column: number): boolean =>
    table.columns[column]!.row === undefined && table.columns[column]!.count === table.rows();
  const rowsWith = (column: number): Column | undefined => table.columns[column]!.row?.finish();
  return {
    get count() {
      return table.rows();
    },
    order: () => table.columns[ORDER_COLUMN]!.value.finish(),
    line: () => table.columns[LINE_COLUMN]!.value.finish(),
    cells(column) {
      const value = table.columns[column]!.value.finish();
      if (isWhole(column)) return value;
      const cells = new Float64Array(table.rows()).fill(Number.NaN);
      const row = rowsWith(column);
      for (let k = 0; k < value.length; k++) cells[row?.at(k) ?? k] = value.at(k)!;
      return cells;
    },
    has(column) {
      if (isWhole(column)) return undefined;
      const has = new Uint8Array(table.rows());
      const row = rowsWith(column);
      for (let k = 0; k < table.columns[column]!.count; k++) has[row?.at(k) ?? k] = 1;
      return has;
    },
    lost: (column) => lostIn(table, column),
  };
}
