/**
 * Logs that are rows of cells (CSV, JSON lines, matched lines of text): columns of numbers that share the step, line
 * and time of their row. A column that has a value in every row costs eight bytes a value and nothing else.
 */
import type { StepUnit } from '../model/run.ts';
import type { LoggedSeries } from './format.ts';

interface Column {
  readonly name: string;
  value: Float64Array;
  /** The row of each value; undefined while there is one in every row so far. */
  row: Uint32Array | undefined;
  count: number;
}

export interface RowTable {
  /** The columns in order of appearance. */
  readonly columns: readonly Column[];
  /** The index of the column with a name, made where there is none. */
  column(name: string): number;
  /** Sets a cell of the row that is being filled; false if it is set already. */
  set(column: number, value: number): boolean;
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

  const set = (index: number, value: number): boolean => {
    const column = columns[index]!;
    const last = column.count - 1;
    if (last >= 0 && (column.row === undefined ? last : column.row[last]!) === count) return false;
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
    staged.push(index);
    return true;
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
        columns.push({ name, value: floats(0), row: undefined, count: 0 });
      }
      return index;
    },
    set,
    unset(index) {
      columns[index]!.count--;
      staged.splice(staged.indexOf(index), 1);
    },
    endRow(line) {
      if (count === lines.length) lines = grown(lines, integers);
      lines[count++] = line;
      staged.length = 0;
    },
    dropRow() {
      for (const index of staged) columns[index]!.count--;
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
        .filter((one) => one.count > 0)
        .map((one): LoggedSeries => {
          const value = one.value.subarray(0, one.count);
          if (one.row === undefined && one.count === count)
            return { name: one.name, step, value, line, ...(wallTime === undefined ? {} : { wallTime }) };
          const rowOf = (k: number): number => (one.row === undefined ? k : one.row[k]!);
          const gather = (from: Float64Array): Float64Array => value.map((_, k) => from[rowOf(k)]!);
          return {
            name: one.name,
            step: gather(step),
            value,
            line: Uint32Array.from({ length: one.count }, (_, k) => line[rowOf(k)]!),
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
