/**
 * Logs that are rows of cells (CSV, JSON lines, matched lines of text): columns of numbers that share the step, line
 * and time of their row. A column that has a value in every row costs eight bytes a value and nothing else.
 */
import type { RefusedCell, StepUnit } from '../model/run.ts';
import type { LoggedSeries } from './format.ts';

interface Column {
  readonly name: string;
  value: Float64Array;
  /** The row of each value; undefined while there is one in every row so far. */
  row: Uint32Array | undefined;
  count: number;
  /** The last row with a cell of this column, whatever it says. */
  lastRow: number;
  /** Rows whose cell is missing. */
  missingRows: Uint32Array;
  missing: number;
  refused: number;
  firstRefused: RefusedCell | undefined;
}

export interface RowTable {
  /** The columns in order of appearance. */
  readonly columns: readonly Column[];
  /** The index of the column with a name, made where there is none. */
  column(name: string): number;
  /** Sets a cell of the row that is being filled; false if it is there already. */
  set(column: number, value: number): boolean;
  /** A cell that says that there is no value; false if it is there already. */
  miss(column: number): boolean;
  /** A cell whose text is no number; false if it is there already. */
  refuse(column: number, text: string, line?: number): boolean;
  /** Takes back the cell of the row that is being filled. */
  unset(column: number): void;
  /** Ends the row. */
  endRow(line: number): void;
  /** Forgets the cells set since the last row ended. */
  dropRow(): void;
  rows(): number;
  /** The columns as series, with the axis found among them. */
  finish(): RowSeries;
}

export interface RowSeries {
  readonly series: LoggedSeries[];
  readonly stepUnit: StepUnit;
  readonly notes: string[];
}

const grown = <T extends Float64Array | Uint32Array>(old: T, make: (length: number) => T): T => {
  const next = make(Math.max(64, Math.ceil(old.length * 1.6)));
  next.set(old as never);
  return next;
};
/** Characters of a refused cell that are kept. */
const SHOWN_TEXT = 80;

const floats = (length: number): Float64Array => new Float64Array(length);
const integers = (length: number): Uint32Array => new Uint32Array(length);

/** Names of the column that counts optimizer steps, best first; compared in lower case with `_` for blanks and `-`. */
const STEP_NAMES = [
  'step',
  'global_step',
  'trainer/global_step',
  '_step',
  'train_step',
  'training_step',
  'train/global_step',
  'steps',
  'current_steps',
  'num_updates',
  'update',
  'updates',
  'iteration',
  'iterations',
  'iter',
  'it',
  'num_iters',
  'batch',
  'batch_idx',
  'num_batches',
];
const EPOCH_NAMES = ['epoch', 'epochs', 'current_epoch', 'train/epoch'];
/** Seconds since 1970. */
const TIME_NAMES = ['_timestamp', 'timestamp', 'wall_time', 'walltime', 'wall time'];

/** A step name in the form in which the lists above have it. */
export const axisName = (name: string): string =>
  name
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_');

/** Whether a column is one of the axes that rows are counted by. */
export const isAxisName = (name: string): boolean =>
  STEP_NAMES.includes(axisName(name)) || EPOCH_NAMES.includes(axisName(name));

/** @param indexColumn name of a column that numbers the rows (a pandas index), the axis where there is no better one */
export function rowTable(indexColumn?: string): RowTable {
  const columns: Column[] = [];
  const byName = new Map<string, number>();
  let lines = integers(64);
  let count = 0;
  const staged: number[] = [];

  /** The column, where the row that is being filled has no cell of it yet. */
  const open = (index: number): Column | undefined => {
    const column = columns[index]!;
    if (column.lastRow === count) return undefined;
    column.lastRow = count;
    staged.push(index);
    return column;
  };

  const set = (index: number, value: number): boolean => {
    const column = open(index);
    if (column === undefined) return false;
    if (column.row === undefined && column.count !== count) {
      const row = integers(Math.max(64, column.value.length));
      for (let k = 0; k < column.count; k++) row[k] = k;
      column.row = row;
    }
    if (column.count === column.value.length) {
      column.value = grown(column.value, floats);
      if (column.row !== undefined) column.row = grown(column.row, integers);
    }
    if (column.row !== undefined) column.row[column.count] = count;
    column.value[column.count++] = value;
    return true;
  };

  /** Takes back the cell that the row that is being filled has of a column. */
  const take = (index: number): void => {
    const column = columns[index]!;
    const rowOfLast = column.row === undefined ? column.count - 1 : column.row[column.count - 1]!;
    if (column.count > 0 && rowOfLast === count) column.count--;
    else if (column.missing > 0 && column.missingRows[column.missing - 1] === count) column.missing--;
    else if (--column.refused === 0) column.firstRefused = undefined;
    column.lastRow = -1;
  };

  const pick = (names: readonly string[]): Column | undefined => {
    for (const name of names) {
      const column = columns.find(
        (one) =>
          one.count * 2 >= count &&
          (axisName(one.name) === name ||
            axisName(one.name).replace(/^(train|valid|val|eval|test)[_/]/, '') === name),
      );
      if (column !== undefined && column.count > 0) return column;
    }
    return undefined;
  };

  /** The axis of every row: its cell, else the cell of the row before (else of the first row that has one). */
  const axis = (column: Column): { values: Float64Array; filled: number } => {
    if (column.row === undefined && column.count === count) {
      const values = column.value.subarray(0, count);
      if (values.every(Number.isFinite)) return { values, filled: 0 };
    }
    const values = floats(count);
    let current = Number.NaN;
    let k = 0;
    let filled = 0;
    for (let row = 0; row < count; row++) {
      const here = k < column.count && (column.row === undefined ? k : column.row[k]!) === row;
      const cell = here ? column.value[k++]! : Number.NaN;
      if (Number.isFinite(cell)) {
        if (Number.isNaN(current)) values.fill(cell, 0, row);
        current = cell;
      } else filled++;
      values[row] = current;
    }
    return { values, filled };
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
          value: floats(0),
          row: undefined,
          count: 0,
          lastRow: -1,
          missingRows: integers(0),
          missing: 0,
          refused: 0,
          firstRefused: undefined,
        });
      }
      return index;
    },
    set,
    miss(index) {
      const column = open(index);
      if (column === undefined) return false;
      if (column.missing === column.missingRows.length)
        column.missingRows = grown(column.missingRows, integers);
      column.missingRows[column.missing++] = count;
      return true;
    },
    refuse(index, text, line) {
      const column = open(index);
      if (column === undefined) return false;
      column.refused++;
      column.firstRefused ??= { text: text.slice(0, SHOWN_TEXT), ...(line === undefined ? {} : { line }) };
      return true;
    },
    unset(index) {
      take(index);
      staged.splice(staged.indexOf(index), 1);
    },
    endRow(line) {
      if (count === lines.length) lines = grown(lines, integers);
      lines[count++] = line;
      staged.length = 0;
    },
    dropRow() {
      for (const index of staged) take(index);
      staged.length = 0;
    },
    rows: () => count,
    finish() {
      const notes: string[] = [];
      const stepColumn = pick(STEP_NAMES);
      const epochColumn = pick(EPOCH_NAMES);
      const column =
        stepColumn ??
        epochColumn ??
        columns.find((one) => one.name === indexColumn && one.row === undefined && one.count === count);
      let stepUnit: StepUnit =
        stepColumn !== undefined ? 'step' : epochColumn !== undefined ? 'epoch' : 'row';
      let step: Float64Array;
      if (column === undefined) step = Float64Array.from({ length: count }, (_, row) => row);
      else {
        const { values, filled } = axis(column);
        step = values;
        if (filled > 0)
          notes.push(
            `${filled} of ${count} rows have no ${column.name}; they are shown at that of the row before`,
          );
        if (
          stepColumn !== undefined &&
          epochColumn !== undefined &&
          countsWithinEpoch(step, axis(epochColumn).values)
        ) {
          stepUnit = 'row';
          step = step.map((_, row) => row);
          notes.push(`${column.name} starts again in every epoch; rows are counted instead`);
        }
      }
      const time = pick(TIME_NAMES);
      const wallTime =
        time !== undefined && time.count > 0 && time.value[0]! > 1e8 && time.value[0]! < 1e11
          ? axis(time).values
          : undefined;
      const line = lines.subarray(0, count);
      const series = columns
        .filter((one) => one.count > 0 || one.refused > 0)
        .map((one): LoggedSeries => {
          const value = one.value.subarray(0, one.count);
          const cells = {
            missing: one.missing,
            refused: one.refused,
            ...(one.firstRefused === undefined ? {} : { firstRefused: one.firstRefused }),
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
          const rowOf = (k: number): number => (one.row === undefined ? k : one.row[k]!);
          const gather = (from: Float64Array): Float64Array => value.map((_, k) => from[rowOf(k)]!);
          return {
            name: one.name,
            step: gather(step),
            value,
            line: Uint32Array.from({ length: one.count }, (_, k) => line[rowOf(k)]!),
            ...cells,
            ...(wallTime === undefined ? {} : { wallTime: gather(wallTime) }),
          };
        });
      return { series, stepUnit, notes };
    },
  };
}

/** Whether the step falls back where the epoch goes up, as often as not: a batch number, not a global step. */
function countsWithinEpoch(step: Float64Array, epoch: Float64Array): boolean {
  let back = 0;
  let withEpoch = 0;
  for (let row = 1; row < step.length; row++)
    if (step[row]! < step[row - 1]!) {
      back++;
      if (epoch[row]! > epoch[row - 1]!) withEpoch++;
    }
  return back > 0 && withEpoch * 2 > back;
}
