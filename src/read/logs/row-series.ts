/** The columns of a table of rows as series, on the axis that is found among them. */
import { arrayOf, type Column, ColumnBuilder, readerOf, varies } from '../../model/column.ts';
import type { StepUnit } from '../../model/run.ts';
import { axisUseOf, isCounter, isMeasured, isTimeName, mayBeTime, stepRank } from './axis-words.ts';
import { joinEpochs } from './epochs-joined.ts';
import type { LoggedSeries } from './format.ts';
import type { RowKinds } from './row-kinds.ts';
import { AMBIGUOUS_CELL, type TableColumn } from './table-column.ts';

export interface RowSeries {
  readonly series: LoggedSeries[];
  readonly stepUnit: StepUnit;
  readonly notes: string[];
}

/** Whether a column has more than one distinct value, or fewer than two values. */
const moves = ({ value, count }: TableColumn): boolean => count < 2 || varies(value.finish());

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

/** Rows with their columns. */
export interface FilledRows {
  readonly columns: readonly TableColumn[];
  readonly count: number;
  /** The line of each row. */
  readonly line: Column;
  readonly kinds: RowKinds;
  /** The name of a column that numbers the rows. */
  readonly indexColumn: string | undefined;
}

/** A column that places the rows: its cell, else that of the row before, else the first one in the column. */
function filledAxis(column: TableColumn, count: number): { values: Column; filled: number } {
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
}

function rowNumbers(count: number): Column {
  const numbers = new ColumnBuilder();
  for (let row = 0; row < count; row++) numbers.push(row);
  return numbers.finish();
}

/** Where the rows are. */
interface RowAxis {
  readonly step: Column;
  readonly stepUnit: StepUnit;
  /** The column that says so; undefined where rows are counted. */
  readonly column: TableColumn | undefined;
  readonly notes: string[];
}

function axisOf({ columns, count, indexColumn }: FilledRows): RowAxis {
  const [epochs] = columnsNamed(columns, count, isEpochName);
  // Where a log is within one epoch, the epoch does not distinguish its rows.
  const epochColumn = epochs !== undefined && moves(epochs) ? epochs : undefined;
  const stepColumn = stepColumnOf(columns, count, { hasEpochs: epochs !== undefined, indexColumn });
  const column =
    stepColumn ??
    epochColumn ??
    columns.find((one) => one.name === indexColumn && one.row === undefined && one.count === count);
  const stepUnit = stepColumn !== undefined ? 'step' : epochColumn !== undefined ? 'epoch' : 'row';
  if (column === undefined) return { step: rowNumbers(count), stepUnit, column, notes: [] };
  const { values: step, filled } = filledAxis(column, count);
  const notes =
    filled === 0
      ? []
      : [
          `${filled} of ${count} rows ${filled === 1 ? 'has' : 'have'} no ${column.name}; ${filled === 1 ? 'it is' : 'they are'} shown at that of the row before`,
        ];
  if (stepColumn === undefined || epochColumn === undefined) return { step, stepUnit, column, notes };
  const epoch = filledAxis(epochColumn, count).values;
  if (!countsWithinEpoch(step, epoch)) return { step, stepUnit, column, notes };
  const joined = joinedWith(step, epoch, column.name);
  if (joined !== undefined)
    return { step: joined.step, stepUnit, column, notes: [...notes, ...joined.notes] };
  notes.push(`${column.name} starts again in every epoch; rows are counted instead`);
  return { step: rowNumbers(count), stepUnit: 'row', column, notes };
}

/** When the rows were written, where a column has seconds since 1970. */
function wallTimeOf({ columns, count }: FilledRows): Column | undefined {
  const [time] = [isTimeName, mayBeTime].flatMap((test) => columnsNamed(columns, count, test));
  const start = time?.value.finish().at(0) ?? Number.NaN;
  return time !== undefined && start > 1e8 && start < 1e11 ? filledAxis(time, count).values : undefined;
}

/** Whether words in a column are a setting: `{"loss": "mse", "lr": 0.1}` before the first step. */
function isSetting(one: TableColumn, axis: TableColumn | undefined): axis is TableColumn {
  const { settingRows } = one;
  return (
    axis !== undefined &&
    one !== axis &&
    one.count > 0 &&
    settingRows.length > 0 &&
    one.refused === settingRows.length &&
    one.firstRefused?.text !== AMBIGUOUS_CELL &&
    // Ascending, so the last one decides.
    settingRows.at(-1)! < (axis.row?.finish().at(0) ?? 0)
  );
}

/** The columns so far as series, with the axis found among them. */
export function seriesOfRows(rows: FilledRows): RowSeries {
  const { columns, count, line, kinds } = rows;
  const { step, stepUnit, column, notes } = axisOf(rows);
  const wallTime = wallTimeOf(rows);
  const asSettings = new Set<TableColumn>();
  for (const one of columns) {
    if (!isSetting(one, column)) continue;
    notes.push(
      `"${one.name}" is ${JSON.stringify(one.firstRefused!.text)} before the first ${column!.name}: read as a setting, not as a value`,
    );
    asSettings.add(one);
  }
  kinds.begin();
  const series = columns
    .map((one, index) => ({ one, index }))
    .filter(({ one }) => one.count > 0 || one.refused > 0 || one.missing > 0)
    .map(({ one, index }): LoggedSeries => {
      const value = one.value.finish();
      const all = one.row === undefined && one.count === count;
      const rowsOf = one.row?.finish();
      const gather = (from: Column): Column => {
        if (all) return from;
        const at = readerOf(from);
        return rowsOf === undefined ? from.subarray(0, value.length) : rowsOf.map((row) => at(row));
      };
      return {
        name: one.name,
        step: gather(step),
        value,
        line: gather(line),
        missing: one.missing,
        ...gapsOf(one, one.missing === 0 ? () => false : kinds.otherFor(index)),
        ...refusedOf(one, asSettings.has(one)),
        ...(wallTime === undefined ? {} : { wallTime: gather(wallTime) }),
      };
    });
  return { series, stepUnit, notes };
}

/** The refused cells of a column; nothing where they are settings. */
const refusedOf = (
  { refused, firstRefused, refusedAt }: TableColumn,
  isSetting: boolean,
): Pick<LoggedSeries, 'refused' | 'firstRefused' | 'refusedAt'> =>
  isSetting || refused === 0
    ? { refused: 0 }
    : { refused, ...(firstRefused && { firstRefused }), refusedAt: refusedAt.subarray(0, refused) };

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
  return joinEpochs(arrayOf(batch), undefined, arrayOf(epoch), name);
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
