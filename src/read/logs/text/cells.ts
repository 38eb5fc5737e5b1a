/** Rows of several tables as one, in the order of their lines, and their cells as columns. */
import { arrayOf, type Column, ColumnBuilder } from '../../../model/column.ts';
import type { Named } from './names.ts';
import type { Template } from './templates.ts';

/** A template with the names of its slots. */
export interface Described {
  readonly template: Template;
  readonly named: readonly Named[];
  readonly rows: number;
}

/** Rows of tables that tell one loss, in the order of their lines. */
export interface Rows {
  readonly members: readonly Described[];
  readonly count: number;
  /** Where each row, in order, lies in the tables one after the other; undefined for one table. */
  readonly sorted: Uint32Array | undefined;
  readonly order: Float64Array;
  readonly line: Float64Array;
}

/** Which slot of a table is asked for; undefined where it has none. */
export type SlotOf = (one: Described) => number | undefined;

const totalOf = (members: readonly Described[]): number => members.reduce((sum, { rows }) => sum + rows, 0);

/** The cells of tables, one table after the other. */
function gathered(members: readonly Described[], of: (one: Described) => Column | undefined): Float64Array {
  if (members.length === 1) {
    const only = of(members[0]!);
    if (only !== undefined) return arrayOf(only);
  }
  const all = new Float64Array(totalOf(members)).fill(Number.NaN);
  let at = 0;
  for (const one of members) {
    const column = of(one);
    if (column !== undefined) all.set(arrayOf(column), at);
    at += one.rows;
  }
  return all;
}

const inOrder = (cells: Float64Array, sorted: Uint32Array | undefined): Float64Array =>
  sorted === undefined ? cells : Float64Array.from(sorted, (row) => cells[row]!);

/** The rows of some tables, one table after the other put into the order of their lines. */
export function rowsOf(members: readonly Described[]): Rows {
  const count = totalOf(members);
  const order = gathered(members, ({ template }) => template.order.finish());
  const sorted =
    members.length === 1
      ? undefined
      : Uint32Array.from({ length: count }, (_, k) => k).sort((a, b) => order[a]! - order[b]!);
  const line = gathered(members, ({ template }) => template.line.finish());
  return { members, count, sorted, order: inOrder(order, sorted), line: inOrder(line, sorted) };
}

/** One cell a row, NaN where a row has none. */
export function cellsOf({ members, sorted }: Rows, slot: SlotOf): Float64Array {
  const cells = gathered(members, (one) => {
    const k = slot(one);
    return k === undefined ? undefined : one.template.values[k]?.finish();
  });
  return inOrder(cells, sorted);
}

/** What is in the cell of a row. */
export const CELL = { none: 0, number: 1, missing: 2 } as const;

/** Which rows have a cell, and in which of them it says that there is no value; undefined where each has a number. */
export function presence({ members, sorted }: Rows, slot: SlotOf): Uint8Array | undefined {
  const isWhole = members.every((one) => {
    const k = slot(one);
    return k !== undefined && !one.template.missing.has(k);
  });
  if (isWhole) return undefined;
  const has = new Uint8Array(totalOf(members));
  let at = 0;
  for (const one of members) {
    const k = slot(one);
    if (k !== undefined) {
      has.fill(CELL.number, at, at + one.rows);
      for (const row of one.template.missing.get(k) ?? []) has[at + row] = CELL.missing;
    }
    at += one.rows;
  }
  return sorted === undefined ? has : Uint8Array.from(sorted, (row) => has[row]!);
}

/** Numbers packed as a log keeps them. */
export function packed(cells: ArrayLike<number>): Column {
  const made = new ColumnBuilder();
  for (let k = 0; k < cells.length; k++) made.push(cells[k]!);
  return made.finish();
}
