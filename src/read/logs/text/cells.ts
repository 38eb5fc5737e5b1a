/** Rows of several kinds of lines as one, in the order of their lines, and their cells as columns. */
import { type Column, copyOf } from '../../../model/column.ts';
import type { RefusedCell } from '../../../model/run.ts';

/** What a slot of a line is for; `count` is a counter of batches or without a name, `index` a number that starts the line. */
export type Use = 'value' | 'step' | 'epoch' | 'count' | 'index' | 'rank' | 'none';

/** A number of each line of a kind. */
export interface Slot {
  /** Of a value the series; of an axis the words for it. */
  readonly name: string;
  readonly use: Use;
  /** The column of its cells; below 0 where none is kept. */
  readonly column: number;
  /** The column of the second number of a counter; below 0 where it has none. */
  readonly ofColumn: number;
}

/** Cells of a column that hold no number, by the line behind which they lie. */
export interface LostCells {
  readonly missing: readonly number[];
  readonly refused: readonly number[];
  readonly firstRefused?: RefusedCell;
}

/** The lines of a kind as rows. */
export interface KindRows {
  readonly count: number;
  /** The place of each row among all lines, ascending, and its line number. */
  order(): Column;
  line(): Column;
  /** One cell a row, NaN where a row has none. */
  cells(column: number): Column;
  /** 1 for each row that has a number; undefined where all have one. */
  has(column: number): Uint8Array | undefined;
  lost(column: number): LostCells;
}

/** What the lines of a kind have in the place of a loss, where it is not a number. */
export interface Broken {
  /** The series that lacks their values. */
  readonly name: string;
  /** Whether they say that there is no value; else they have a text that is not a number. */
  readonly missing: boolean;
  /** As the first of them has it. */
  readonly text: string;
}

/** Lines that differ in their numbers alone. */
export interface Kind {
  readonly slots: readonly Slot[];
  readonly rows: KindRows;
  /** Its first line. */
  readonly text: string;
  /** Words and numbers of the first line that are in no slot. */
  readonly spare: number;
  /** Whether its first line draws a progress bar. */
  readonly bar: boolean;
  readonly broken?: Broken;
  /** Whether a line before them says that an evaluation begins: they are at the step that training had come to. */
  readonly evaluation?: boolean;
}

/** Rows that tell one loss, in the order of their lines. */
export interface Rows<K extends Kind = Kind> {
  readonly members: readonly K[];
  readonly count: number;
  /** Where each row, in order, lies in the kinds one after the other; undefined for one kind. */
  readonly sorted: Uint32Array | undefined;
  readonly order: Float64Array;
  readonly line: Float64Array;
}

/** Which slot of a kind is asked for; undefined where it has none. */
export type SlotOf<K extends Kind = Kind> = (one: K) => Slot | undefined;

const totalOf = (members: readonly Kind[]): number => members.reduce((sum, { rows }) => sum + rows.count, 0);

/** The cells of kinds of lines, one kind after the other. */
function gathered<K extends Kind>(members: readonly K[], of: (one: K) => Column | undefined): Float64Array {
  const only = members.length === 1 ? of(members[0]!) : undefined;
  if (only !== undefined) return copyOf(only);
  const all = new Float64Array(totalOf(members)).fill(Number.NaN);
  let at = 0;
  for (const one of members) {
    const column = of(one);
    if (column !== undefined) all.set(copyOf(column), at);
    at += one.rows.count;
  }
  return all;
}

/** The entries at some places: `TypedArray.from` takes many times as long. */
export function picked<T extends Float64Array | Uint32Array | Uint8Array>(from: T, places: Uint32Array): T {
  const all = new (from.constructor as new (length: number) => T)(places.length);
  for (let k = 0; k < places.length; k++) all[k] = from[places[k]!]!;
  return all;
}

const inOrder = (cells: Float64Array, sorted: Uint32Array | undefined): Float64Array =>
  sorted === undefined ? cells : picked(cells, sorted);

/** The places of 0 to `count` for which a test holds. */
export function placesWhere(count: number, test: (place: number) => boolean): Uint32Array {
  const all = new Uint32Array(count);
  let found = 0;
  for (let k = 0; k < count; k++) if (test(k)) all[found++] = k;
  return all.subarray(0, found);
}

/** Rows by their places among all lines, of which each has its own. */
function byPlace(order: Float64Array): Uint32Array {
  let last = 0;
  for (let k = 0; k < order.length; k++) last = Math.max(last, order[k]!);
  const rows = new Uint32Array(last + 1);
  for (let k = 0; k < order.length; k++) rows[order[k]!] = k + 1;
  return placesWhere(rows.length, (place) => rows[place] !== 0).map((place) => rows[place]! - 1);
}

/** The rows of some kinds of lines, one kind after the other put into the order of their lines. */
export function rowsOf<K extends Kind>(members: readonly K[]): Rows<K> {
  const count = totalOf(members);
  const order = gathered(members, ({ rows }) => rows.order());
  const sorted = members.length === 1 ? undefined : byPlace(order);
  const line = gathered(members, ({ rows }) => rows.line());
  return { members, count, sorted, order: inOrder(order, sorted), line: inOrder(line, sorted) };
}

/** One cell a row, NaN where a row has none. */
export function cellsOf<K extends Kind>(
  { members, sorted }: Rows<K>,
  slot: (one: K) => number | undefined,
): Float64Array {
  const cells = gathered(members, (one) => {
    const column = slot(one);
    return column === undefined || column < 0 ? undefined : one.rows.cells(column);
  });
  return inOrder(cells, sorted);
}

/** Which rows have a number: a NaN that was printed is one. Undefined where each has one. */
export function presence<K extends Kind>(
  { members, sorted }: Rows<K>,
  slot: (one: K) => number | undefined,
): Uint8Array | undefined {
  const found = members.map((one) => {
    const column = slot(one);
    return column === undefined || column < 0 ? new Uint8Array(one.rows.count) : one.rows.has(column);
  });
  if (found.every((one) => one === undefined)) return undefined;
  const has = new Uint8Array(totalOf(members)).fill(1);
  let at = 0;
  for (const [k, { rows }] of members.entries()) {
    if (found[k] !== undefined) has.set(found[k], at);
    at += rows.count;
  }
  return sorted === undefined ? has : picked(has, sorted);
}

/** Some of the rows. */
export function subset<K extends Kind>(rows: Rows<K>, which: Uint32Array): Rows<K> {
  const { sorted } = rows;
  return {
    members: rows.members,
    count: which.length,
    sorted: sorted === undefined ? which : picked(sorted, which),
    order: picked(rows.order, which),
    line: picked(rows.line, which),
  };
}
