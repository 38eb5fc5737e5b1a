/**
 * Tables as trackers export them. Rows that say what their value is of (`metric, value, step`: MLflow, Comet, Aim) become a
 * column for each name. A chart exported alone (`step, value`: TensorBoard, Neptune) has its name from its file.
 */
import type { LoggedSeries } from './format.ts';
import { axisName, isAxisName, isTimeName, type RowTable, rowTable } from './row-table.ts';

const NAMES = ['key', 'metric', 'metric_name', 'metricname', 'tag', 'name'];
const VALUES = ['value', 'metric_value', 'metricvalue'];
const RUNS = ['run', 'run_id', 'run_name', 'run_uuid', 'runid'];
/** More names than any run logs: a table of products has one for each row. */
const MOST_NAMES = 1000;
/** Characters of a name that a column is called by. */
const LONGEST_NAME = 200;

export interface LogTable extends RowTable {
  /** The run that a column belongs to, by its name, where the rows name several. */
  runs(): ReadonlyMap<string, { readonly run: string; readonly name: string }>;
}

/**
 * A {@link rowTable} whose rows may name what their value is of. `{"metric": "loss", "value": 0.4, "step": 7}` sets the
 * column `loss`; with a column `run_id` beside it, the column `<run> - loss`.
 */
export function logTable(indexColumn?: string): LogTable {
  const table = rowTable(indexColumn);
  let nameColumn = -1;
  let valueColumn = -1;
  let runColumn = -1;
  let name: string | undefined;
  let run: string | undefined;
  let valueText = '';
  const spread = new Map<string, { run: string; name: string }>();

  /** Moves the value of the row that is being filled to the column that the row names. */
  const relabel = (line: number): void => {
    const value = table.cell(valueColumn);
    if (value === undefined || name === undefined || name === '' || name.length > LONGEST_NAME) return;
    const called = run === undefined ? name : `${run} - ${name}`;
    if (!spread.has(called)) {
      if (spread.size >= MOST_NAMES) return;
      spread.set(called, { run: run ?? '', name });
    }
    table.unset(valueColumn);
    table.unset(nameColumn);
    const column = table.column(called);
    if (typeof value === 'number') table.set(column, value);
    else if (value === 'missing') table.miss(column);
    else table.refuse(column, valueText, line);
  };

  return {
    ...table,
    column(called) {
      const index = table.column(called);
      const key = axisName(called);
      if (nameColumn < 0 && NAMES.includes(key)) nameColumn = index;
      else if (valueColumn < 0 && VALUES.includes(key)) valueColumn = index;
      else if (runColumn < 0 && RUNS.includes(key)) runColumn = index;
      return index;
    },
    refuse(column, text, line) {
      if (column === nameColumn) name = text.trim();
      else if (column === runColumn) run = text.trim();
      else if (column === valueColumn) valueText = text;
      return table.refuse(column, text, line);
    },
    endRow(line) {
      if (nameColumn >= 0 && valueColumn >= 0) {
        relabel(line);
        name = undefined;
        run = undefined;
      }
      table.endRow(line);
    },
    dropRow() {
      name = undefined;
      run = undefined;
      table.dropRow();
    },
    runs: () => (new Set([...spread.values()].map((one) => one.run)).size > 1 ? spread : new Map()),
  };
}

const ENDING = /\.(?:gz|zst|csv|tsv|txt|json)$/i;

/** `run-train-tag-epoch_loss.csv` is `epoch_loss`, `val_loss.csv` is `val_loss`. */
const nameOfFile = (path: string): string => {
  let stem = path.replace(/^.*[\\/]/, '');
  for (let ending = ENDING.exec(stem); ending !== null; ending = ENDING.exec(stem))
    stem = stem.slice(0, ending.index);
  const tag = /(?:^|[-_])tag[-_]/.exec(stem);
  return (tag === null ? '' : stem.slice(tag.index + tag[0].length)) || stem;
};

/** The series of a file, of which the only one beside a step and a time is called `value`: it has the file's name. */
export function namedByFile(series: readonly LoggedSeries[], path: string): LoggedSeries[] {
  const told = series.filter((one) => !isAxisName(one.name) && !isTimeName(one.name));
  const sole = told.length === 1 && VALUES.includes(axisName(told[0]!.name)) ? told[0] : undefined;
  return series.map((one) => (one === sole ? { ...one, name: nameOfFile(path) } : one));
}
