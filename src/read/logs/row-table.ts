/**
 * Logs that are rows of cells (CSV, JSON lines, matched lines of text): columns of numbers that share the step, line
 * and time of their row. A column with a value in every row costs eight bytes a value and nothing else.
 */
import { arrayOf, type Column, ColumnBuilder, readerOf } from '../../model/column.ts';
import type { RefusedCell, StepUnit } from '../../model/run.ts';
import { axisUseOf, isCounter, isMeasured, isTimeName, mayBeTime, stepRank } from './axis-words.ts';
import { joinEpochs } from './epochs-joined.ts';
import type { LoggedSeries } from './format.ts';

interface TableColumn {
  readonly name: string;
  readonly value: ColumnBuilder;
  /** The row of each value; undefined while every row so far has one. */
  row: ColumnBuilder | undefined;
  /** How many values there are. */
  readonly count: number;
  /** The last row with a cell of this column, whatever it says. */
  lastRow: number;
  /** Rows whose cell is missing. */
  missingRows: Uint32Array;
  missing: number;
  refused: number;
  /** How many values precede each refused cell. */
  refusedAt: Uint32Array;
  firstRefused: RefusedCell | undefined;
  /** Rows of the refused cells that may be settings: words, before the column has any value. */
  readonly settingRows: number[];
}

/** A record of settings is at the head of a log; more words than these are not settings. */
const MAX_SETTINGS = 8;

/** The text of a cell that its record has twice: a separate error reports it. */
export const AMBIGUOUS_CELL = 'twice in one record';

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

export interface RowSeries {
  readonly series: LoggedSeries[];
  readonly stepUnit: StepUnit;
  readonly notes: string[];
}

const grown = (old: Uint32Array): Uint32Array => {
  // Memory that is not written to costs nothing yet; a smaller factor would only copy more often.
  const next = integers(Math.max(64, 2 * old.length));
  next.set(old);
  return next;
};
/** Characters of a refused cell that are kept. */
const SHOWN_TEXT = 80;

const integers = (length: number): Uint32Array => new Uint32Array(length);

/** Whether a column has more than one distinct value, or fewer than two values. */
const moves = ({ value, count }: TableColumn): boolean => {
  const cells = value.finish();
  return count < 2 || cells.some((cell) => cell !== cells.at(0));
};

/** The column if it has whole numbers that mostly rise; undefined otherwise. */
function counterOf(column: TableColumn | undefined): TableColumn | undefined {
  if (column === undefined) return undefined;
  let before = Number.NaN;
  let ahead = 0;
  for (const cell of column.value.finish()) {
    if (!Number.isInteger(cell)) return undefined;
    if (cell > before) ahead++;
    before = cell;
  }
  return ahead * 2 > column.count ? column : undefined;
}

/** The counter with the best name of those that move; undefined where no counter does. */
const stepOf = (counters: readonly TableColumn[]): TableColumn | undefined =>
  counters
    .filter(moves)
    .reduce<TableColumn | undefined>(
      (best, one) => (best === undefined || stepRank(one.name) < stepRank(best.name) ? one : best),
      undefined,
    );

/** The first column that counts the rows by its numbers, for tables without a known name of an axis. */
const unnamedCounter = (columns: readonly TableColumn[], rows: number): TableColumn | undefined =>
  columns.find(
    ({ name, value, count }) =>
      count === rows && !mayBeTime(name) && !isMeasured(name) && isCounter(arrayOf(value.finish())),
  );

/** The one column whose nested name ends in that of a step (`data.step`), if it counts; undefined where several do. */
function nestedStep(columns: readonly TableColumn[]): TableColumn | undefined {
  const [column, ...more] = columns.filter(
    ({ name }) => name.includes('.') && axisUseOf(name.slice(name.lastIndexOf('.') + 1)) === 'step',
  );
  return more.length > 0 ? undefined : counterOf(column);
}

const isEpochName = (name: string): boolean => axisUseOf(name) === 'epoch';

/** Columns with a value in half of the rows, whose names pass the test; `train/epoch` is an epoch. */
const columnsNamed = (
  columns: readonly TableColumn[],
  rows: number,
  test: (name: string) => boolean,
): TableColumn[] =>
  columns.filter(
    ({ name, count }) =>
      count > 0 &&
      count * 2 >= rows &&
      (test(name) || test(name.replace(/^(?:train|valid|val|eval|test)[_/]/i, ''))),
  );

/** The column that counts steps, by its name or else by its numbers. */
function stepColumnOf(
  columns: readonly TableColumn[],
  rows: number,
  { hasEpochs, indexColumn }: { hasEpochs: boolean; indexColumn: string | undefined },
): TableColumn | undefined {
  const named = stepOf(columnsNamed(columns, rows, (name) => axisUseOf(name) === 'step'));
  if (named !== undefined || hasEpochs) return named;
  const [episodes] = columnsNamed(columns, rows, (name) => axisUseOf(name) === 'episode');
  const others = columns.filter(({ name }) => name !== indexColumn);
  return counterOf(episodes) ?? nestedStep(columns) ?? unnamedCounter(others, rows);
}

/** @param indexColumn name of a column that numbers the rows (a pandas index): the axis where there is no better one */
export function rowTable(indexColumn?: string): RowTable {
  const columns: TableColumn[] = [];
  const byName = new Map<string, number>();
  const lines = new ColumnBuilder();
  let count = 0;
  /**
   * The first `stagedCount` are columns with a cell in the row being filled. Shortening the array would call the
   * runtime.
   */
  const staged: number[] = [];
  let stagedCount = 0;
  const kinds = rowKinds();

  /** Opens a cell in the row that is being filled: its column, or undefined where the row has that cell already. */
  const open = (index: number): TableColumn | undefined => {
    const column = columns[index]!;
    if (column.lastRow === count) return undefined;
    column.lastRow = count;
    staged[stagedCount++] = index;
    return column;
  };

  /** Keeps the row of the next value of a column that lacks a value in an earlier row. */
  const placeIn = (column: TableColumn): void => {
    if (column.row === undefined) {
      column.row = new ColumnBuilder();
      for (let k = 0; k < column.value.length; k++) column.row.push(k);
    }
    column.row.push(count);
  };

  const missIn = (column: TableColumn): void => {
    if (column.missing === column.missingRows.length) column.missingRows = grown(column.missingRows);
    column.missingRows[column.missing++] = count;
  };

  const set = (index: number, value: number): boolean => {
    const column = open(index);
    if (column === undefined) return false;
    if (column.row !== undefined || column.value.length !== count) placeIn(column);
    column.value.push(value);
    return true;
  };

  const cell = (index: number): number | 'missing' | 'refused' | undefined => {
    const column = columns[index]!;
    if (column.lastRow !== count) return undefined;
    const rowOfLast = column.row === undefined ? column.count - 1 : column.row.last();
    if (column.count > 0 && rowOfLast === count) return column.value.last()!;
    return column.missing > 0 && column.missingRows[column.missing - 1] === count ? 'missing' : 'refused';
  };

  /** Removes a column's cell from the row that is being filled. */
  const take = (index: number): void => {
    const column = columns[index]!;
    const found = cell(index);
    if (typeof found === 'number') {
      column.value.pop();
      column.row?.pop();
    } else if (found === 'missing') column.missing--;
    else {
      if (column.settingRows.at(-1) === count) column.settingRows.pop();
      if (--column.refused === 0) column.firstRefused = undefined;
    }
    column.lastRow = -1;
  };

  /** The axis of every row: its cell, else that of the row before, else the first one in the column. */
  const axis = (column: TableColumn): { values: Column; filled: number } => {
    const own = column.value.finish();
    if (column.row === undefined && column.count === count && own.every(Number.isFinite))
      return { values: own, filled: 0 };
    const rowOf = column.row && readerOf(column.row.finish());
    const at = readerOf(own);
    const values = new ColumnBuilder();
    let current = own.find(Number.isFinite) ?? Number.NaN;
    let k = 0;
    let filled = 0;
    for (let row = 0; row < count; row++) {
      const here = k < own.length && (rowOf === undefined ? k : rowOf(k)) === row;
      const cell = here ? at(k++) : Number.NaN;
      if (Number.isFinite(cell)) current = cell;
      else filled++;
      values.push(current);
    }
    return { values: values.finish(), filled };
  };

  return {
    columns,
    column(name) {
      let index = byName.get(name);
      if (index === undefined) {
        index = columns.length;
        byName.set(name, index);
        columns.push({
          name,
          value: new ColumnBuilder(),
          row: undefined,
          get count() {
            return this.value.length;
          },
          lastRow: -1,
          missingRows: integers(0),
          missing: 0,
          refused: 0,
          refusedAt: integers(0),
          firstRefused: undefined,
          settingRows: [],
        });
      }
      return index;
    },
    indexOf: (name) => byName.get(name),
    set,
    miss(index) {
      const column = open(index);
      if (column !== undefined) missIn(column);
      return column !== undefined;
    },
    refuse(index, text, line) {
      const column = open(index);
      if (column === undefined) return false;
      if (column.refused === column.refusedAt.length) column.refusedAt = grown(column.refusedAt);
      column.refusedAt[column.refused++] = column.count;
      if (column.count === 0 && column.settingRows.length < MAX_SETTINGS && /^[^\d]+$/.test(text))
        column.settingRows.push(count);
      column.firstRefused ??= { text: text.slice(0, SHOWN_TEXT), ...(line === undefined ? {} : { line }) };
      return true;
    },
    cell,
    unset(index) {
      take(index);
      staged.copyWithin(staged.indexOf(index), staged.indexOf(index) + 1, stagedCount--);
    },
    addRow(of, values, line, missing) {
      for (let k = 0; k < of.length; k++) {
        const column = columns[of[k]!]!;
        if (missing !== undefined && missing[k] === 1) {
          missIn(column);
          continue;
        }
        if (column.row !== undefined || column.value.length !== count) placeIn(column);
        column.value.push(values[k]!);
      }
      kinds.addCells(count, of, missing);
      lines.push(line);
      count++;
    },
    endRow(line) {
      kinds.add(count, staged, stagedCount, columns);
      lines.push(line);
      count++;
      stagedCount = 0;
    },
    dropRow() {
      for (let k = 0; k < stagedCount; k++) take(staged[k]!);
      stagedCount = 0;
    },
    rows: () => count,
    finish() {
      const notes: string[] = [];
      const [epochs] = columnsNamed(columns, count, isEpochName);
      // Where a log is within one epoch, the epoch does not distinguish its rows.
      const epochColumn = epochs !== undefined && moves(epochs) ? epochs : undefined;
      const stepColumn = stepColumnOf(columns, count, { hasEpochs: epochs !== undefined, indexColumn });
      const column =
        stepColumn ??
        epochColumn ??
        columns.find((one) => one.name === indexColumn && one.row === undefined && one.count === count);
      let stepUnit: StepUnit =
        stepColumn !== undefined ? 'step' : epochColumn !== undefined ? 'epoch' : 'row';
      const rows = (): Column => {
        const numbers = new ColumnBuilder();
        for (let row = 0; row < count; row++) numbers.push(row);
        return numbers.finish();
      };
      let step: Column;
      if (column === undefined) step = rows();
      else {
        const { values, filled } = axis(column);
        step = values;
        if (filled > 0)
          notes.push(
            `${filled} of ${count} rows ${filled === 1 ? 'has' : 'have'} no ${column.name}; ${filled === 1 ? 'it is' : 'they are'} shown at that of the row before`,
          );
        if (
          stepColumn !== undefined &&
          epochColumn !== undefined &&
          countsWithinEpoch(step, axis(epochColumn).values)
        ) {
          const joined = joinedWith(step, axis(epochColumn).values, column.name);
          if (joined === undefined) stepUnit = 'row';
          step = joined?.step ?? rows();
          notes.push(
            ...(joined?.notes ?? [`${column.name} starts again in every epoch; rows are counted instead`]),
          );
        }
      }
      const [time] = [isTimeName, mayBeTime].flatMap((test) => columnsNamed(columns, count, test));
      const start = time?.value.finish().at(0) ?? Number.NaN;
      const wallTime = time !== undefined && start > 1e8 && start < 1e11 ? axis(time).values : undefined;
      const line = lines.finish();
      const asSettings = new Set<TableColumn>();
      const budget = { looks: MAX_LOOKS };
      // `{"loss": "mse", "lr": 0.1}` before the first step is a record of settings, not of a loss in words.
      for (const one of columns) {
        const { settingRows } = one;
        const settings =
          column !== undefined &&
          one !== column &&
          one.count > 0 &&
          settingRows.length > 0 &&
          one.refused === settingRows.length &&
          one.firstRefused?.text !== AMBIGUOUS_CELL &&
          // Ascending, so the last one decides.
          settingRows.at(-1)! < (column.row?.finish().at(0) ?? 0);
        if (!settings) continue;
        notes.push(
          `"${one.name}" is ${JSON.stringify(one.firstRefused!.text)} before the first ${column.name}: read as a setting, not as a value`,
        );
        asSettings.add(one);
      }
      const series = columns
        .filter((one) => one.count > 0 || one.refused > 0 || one.missing > 0)
        .map((one): LoggedSeries => {
          const value = one.value.finish();
          const cells = {
            missing: one.missing,
            ...gapsOf(one, one.missing === 0 ? () => false : kinds.otherFor(columns.indexOf(one), budget)),
            ...refusedOf(one, asSettings.has(one)),
          };
          if (one.row === undefined && one.count === count)
            return {
              name: one.name,
              step,
              value,
              line,
              ...cells,
              ...(wallTime === undefined ? {} : { wallTime }),
            };
          const rows = one.row?.finish();
          const gather = (from: Column): Column => {
            const at = readerOf(from);
            return rows === undefined ? from.subarray(0, value.length) : rows.map((row) => at(row));
          };
          return {
            name: one.name,
            step: gather(step),
            value,
            line: gather(line),
            ...cells,
            ...(wallTime === undefined ? {} : { wallTime: gather(wallTime) }),
          };
        });
      return { series, stepUnit, notes };
    },
  };
}

/** Kinds of rows, distinguished by the columns filled in them; all rows beyond this many kinds are of one more kind. */
const MAX_KINDS = 255;
/** Columns that occur together in at most this share of the rarer one's rows are in different kinds of rows. */
const APART = 0.2;
/** Columns filled in this share of another column's rows are its mates; fewer mates than so many show nothing. */
const MATES = 0.9;
const MANY_MATES = 5;
/** Limit of looks at a column of a kind, over all columns: a hostile table has many of both. */
const MAX_LOOKS = 5e7;

interface RowKind {
  /** Columns with a value or a refused cell. */
  readonly filled: readonly number[];
  rows: number;
}

/**
 * The kinds of rows in a table: training steps, evaluations, a summary at the end. A cell that is empty because its
 * row is of another kind is not a missing value.
 */
function rowKinds() {
  const kinds: RowKind[] = [];
  const byHash = new Map<number, number>();
  /** The kind of each row; undefined while there is only one kind. */
  let kindOf: Uint8Array | undefined;
  let rows = 0;

  /** Most rows are of the same kind as the row before. */
  let lastHash = 0;
  let lastKind: number | undefined;
  /** The columns of the row before, where it was added as a list of them. */
  let lastFilled: Int32Array | undefined;

  /** @param staged the first `count` are the columns of the row */
  const add = (
    row: number,
    staged: readonly number[],
    count: number,
    columns: readonly TableColumn[],
  ): void => {
    let hash = 2166136261;
    for (let k = 0; k < count; k++) {
      const index = staged[k]!;
      if (!isMissing(columns[index]!, row)) hash = Math.imul(hash ^ (index + 1), 16777619);
    }
    let kind = hash === lastHash ? lastKind : byHash.get(hash);
    if (kind === undefined) {
      const filled = staged.slice(0, count).filter((index) => !isMissing(columns[index]!, row));
      kind = newKind(hash, filled);
    }
    lastHash = hash;
    lastFilled = undefined;
    put(row, kind);
  };

  /** A row of cells in some columns, each with a value unless it is missing. */
  const addCells = (row: number, of: Int32Array, missing: Uint8Array | undefined): void => {
    if (missing !== undefined || of !== lastFilled) {
      let hash = 2166136261;
      for (let k = 0; k < of.length; k++)
        if (missing === undefined || missing[k] === 0) hash = Math.imul(hash ^ (of[k]! + 1), 16777619);
      if (hash !== lastHash || lastKind === undefined)
        lastKind =
          byHash.get(hash) ?? newKind(hash, missing ? [...of.filter((_, k) => missing[k] === 0)] : [...of]);
      lastHash = hash;
      lastFilled = missing === undefined ? of : undefined;
    }
    put(row, lastKind!);
  };

  const newKind = (hash: number, filled: readonly number[]): number => {
    const kind = kinds.length;
    if (kind < MAX_KINDS) {
      byHash.set(hash, kind);
      kinds.push({ filled, rows: 0 });
    }
    return kind;
  };

  const put = (row: number, kind: number): void => {
    lastKind = kind;
    if (kind < MAX_KINDS) kinds[kind]!.rows++;
    if (kind > 0 && kindOf === undefined) kindOf = new Uint8Array(Math.max(64, row + 1));
    if (kindOf !== undefined) {
      if (row >= kindOf.length) {
        const next = new Uint8Array(Math.ceil(kindOf.length * 1.6) + 1);
        next.set(kindOf);
        kindOf = next;
      }
      kindOf[row] = kind;
    }
    rows = row + 1;
  };

  /** Whether a row is of a kind with columns that never (or hardly ever) occur together with the given one. */
  const otherFor = (column: number, budget: { looks: number }): ((row: number) => boolean) => {
    const none = (): boolean => false;
    if (kindOf === undefined || rows === 0) return none;
    const own = new Set<number>();
    const all = new Map<number, number>();
    const beside = new Map<number, number>();
    let ownRows = 0;
    kinds.forEach(({ filled, rows: count }, kind) => {
      budget.looks -= filled.length;
      if (budget.looks < 0) return;
      const has = filled.includes(column);
      if (has) {
        own.add(kind);
        ownRows += count;
      }
      for (const index of filled) {
        all.set(index, (all.get(index) ?? 0) + count);
        if (has) beside.set(index, (beside.get(index) ?? 0) + count);
      }
    });
    if (budget.looks < 0) return none;
    const isApart = (index: number): boolean =>
      (beside.get(index) ?? 0) <= APART * Math.min(ownRows, all.get(index)!);
    const other = kinds.map(({ filled }, kind) => !own.has(kind) && filled.some(isApart));
    const of = kindOf;
    // A last row of totals may have nothing that training rows lack, but lacks most of what they have.
    const last = of[rows - 1]!;
    const mates = [...beside].filter(([index, count]) => index !== column && count >= MATES * ownRows);
    if (kinds[last]?.rows === 1 && mates.length >= MANY_MATES) {
      const there = mates.filter(([index]) => kinds[last]!.filled.includes(index)).length;
      if (there * 3 <= mates.length) other[last] = true;
    }
    for (const kind of headKinds(
      of,
      own,
      mates.map(([index]) => index),
    ))
      other[kind] = true;
    return (row) => other[of[row]!] === true;
  };

  /**
   * The kinds of rows that occur only before the first row of a column, and lack half of its mates: nothing had been
   * trained yet (a first rollout of Stable-Baselines). A row whose loss is NaN still has its learning rate.
   */
  const headKinds = (of: Uint8Array, own: ReadonlySet<number>, mates: readonly number[]): number[] => {
    if (mates.length < MANY_MATES) return [];
    const found = new Map<number, number>();
    for (let row = 0; row < rows && !own.has(of[row]!); row++)
      found.set(of[row]!, (found.get(of[row]!) ?? 0) + 1);
    return [...found]
      .filter(([kind, count]) => {
        const known = kinds[kind];
        if (known === undefined || known.rows !== count) return false;
        const filled = new Set(known.filled);
        return mates.filter((index) => !filled.has(index)).length * 2 >= mates.length;
      })
      .map(([kind]) => kind);
  };
  return { add, addCells, otherFor };
}

/** The refused cells of a column; nothing where they are settings. */
const refusedOf = (
  { refused, firstRefused, refusedAt }: TableColumn,
  isSetting: boolean,
): Pick<LoggedSeries, 'refused' | 'firstRefused' | 'refusedAt'> =>
  isSetting || refused === 0
    ? { refused: 0 }
    : { refused, ...(firstRefused && { firstRefused }), refusedAt: refusedAt.subarray(0, refused) };

/** Whether the cell of the row that is being filled is missing. */
const isMissing = ({ missing, missingRows }: TableColumn, row: number): boolean =>
  missing > 0 && missingRows[missing - 1] === row;

/** The missing cells before each value, except those in rows of another kind. */
function gapsOf(column: TableColumn, isOther: (row: number) => boolean): { gaps?: Uint32Array } {
  const gaps = new Uint32Array(column.missing === 0 ? 0 : column.count + 1);
  const rowOf = column.row === undefined ? (k: number): number => k : readerOf(column.row.finish());
  const rowAt = (k: number): number => (k < column.count ? rowOf(k) : Number.POSITIVE_INFINITY);
  let found = false;
  let k = 0;
  let next = rowAt(0);
  for (let one = 0; one < column.missing; one++) {
    const row = column.missingRows[one]!;
    if (isOther(row)) continue;
    while (next < row) next = rowAt(++k);
    gaps[k]!++;
    found = true;
  }
  return found ? { gaps } : {};
}

/** Batches with their epochs as steps; undefined where they are not whole numbers of both. */
function joinedWith(batch: Column, epoch: Column, name: string): ReturnType<typeof joinEpochs> {
  const isCount = (column: Column): boolean => column.every((one) => Number.isInteger(one) && one >= 0);
  if (!isCount(batch) || !isCount(epoch)) return undefined;
  const none = new Float64Array(batch.length).fill(Number.NaN);
  return joinEpochs(arrayOf(batch), none, arrayOf(epoch), name);
}

/** Whether the step mostly falls back where the epoch goes up: a batch number, not a global step. */
function countsWithinEpoch(step: Column, epoch: Column): boolean {
  const [stepAt, epochAt] = [readerOf(step), readerOf(epoch)];
  let back = 0;
  let withEpoch = 0;
  for (let row = 1; row < step.length; row++)
    if (stepAt(row) < stepAt(row - 1)) {
      back++;
      if (epochAt(row) > epochAt(row - 1)) withEpoch++;
    }
  return back > 0 && withEpoch * 2 > back;
}
