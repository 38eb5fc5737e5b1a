/**
 * Tables as trackers export them. Rows that name their metric (`metric, value, step`: MLflow, Comet, Aim)
 * become a column for each name. A chart exported alone (`step, value`: TensorBoard, Neptune) is named after
 * its file.
 */

import { axisName, isAxisName, isTimeName } from './axis-words.ts';
import type { LoggedSeries } from './format.ts';
import { namesLossValue, splitsAmong } from './metric-roles.ts';
import { Rows, type RowTable } from './row-table.ts';

const NAMES = ['key', 'metric', 'metric_name', 'metricname', 'tag', 'name'];
const VALUES = ['value', 'metric_value', 'metricvalue'];
const RUNS = ['run', 'run_id', 'run_name', 'run_uuid', 'runid'];
/** More names than any run logs: a table of products has one for each row. */
const MOST_NAMES = 1000;
/** Characters of a name that becomes a column. */
const LONGEST_NAME = 200;

/** The run of each series and its name there, by its name in the whole table. */
export type NamedRuns = ReadonlyMap<string, { readonly run: string; readonly name: string }>;

export interface LogTable extends RowTable {
  /** Where the rows name several runs. */
  runs(): NamedRuns;
}

/** A table whose rows may name their metric. */
class NamedRows extends Rows implements LogTable {
  private nameColumn = -1;
  private valueColumn = -1;
  private runColumn = -1;
  private name: string | undefined;
  private run: string | undefined;
  private valueText = '';
  /** What the refused cells of the row say. */
  private readonly refusedText = new Map<number, string>();
  private readonly spread = new Map<string, { run: string; name: string }>();

  override column(called: string): number {
    const index = super.column(called);
    const key = axisName(called);
    if (this.nameColumn < 0 && NAMES.includes(key)) this.nameColumn = index;
    else if (this.valueColumn < 0 && VALUES.includes(key)) this.valueColumn = index;
    else if (this.runColumn < 0 && RUNS.includes(key)) this.runColumn = index;
    return index;
  }

  override refuse(column: number, text: string, line?: number): boolean {
    if (column === this.nameColumn) this.name = text.trim();
    else if (column === this.runColumn) this.run = text.trim();
    else if (column === this.valueColumn) this.valueText = text;
    else if (this.runColumn >= 0) this.refusedText.set(column, text);
    return super.refuse(column, text, line);
  }

  override endRow(line: number): void {
    const { run } = this;
    if (this.nameColumn >= 0 && this.valueColumn >= 0) {
      this.relabel(line);
      this.name = undefined;
    } else if (run !== undefined && run !== '' && run.length <= LONGEST_NAME) this.relabelRow(line);
    this.run = undefined;
    if (this.refusedText.size > 0) this.refusedText.clear();
    super.endRow(line);
  }

  override dropRow(): void {
    this.name = undefined;
    this.run = undefined;
    this.refusedText.clear();
    super.dropRow();
  }

  runs(): NamedRuns {
    return new Set([...this.spread.values()].map((one) => one.run)).size > 1 ? this.spread : new Map();
  }

  /** The column of a name in the run of the row that is being filled; undefined where there are too many. */
  private columnOf(name: string): number | undefined {
    const { run, spread } = this;
    const called = run === undefined ? name : `${run} - ${name}`;
    if (!spread.has(called)) {
      if (spread.size >= MOST_NAMES) return undefined;
      spread.set(called, { run: run ?? '', name });
    }
    return super.column(called);
  }

  private move(value: number | 'missing' | 'refused', column: number, text: string, line: number): void {
    if (typeof value === 'number') this.set(column, value);
    else if (value === 'missing') this.miss(column);
    else super.refuse(column, text, line);
  }

  /** Moves the value of the row that is being filled to the column that the row names. */
  private relabel(line: number): void {
    const { name } = this;
    const value = this.cell(this.valueColumn);
    if (value === undefined || name === undefined || name === '' || name.length > LONGEST_NAME) return;
    const column = this.columnOf(name);
    if (column === undefined) return;
    this.unset(this.valueColumn);
    this.unset(this.nameColumn);
    this.move(value, column, this.valueText, line);
  }

  /** Moves all values of the row but its axis to the columns of the run that it names. */
  private relabelRow(line: number): void {
    const count = this.columns.length;
    for (let from = 0; from < count; from++) {
      const called = this.columns[from]!.name;
      const value = from === this.runColumn ? undefined : this.cell(from);
      if (value === undefined || this.spread.has(called) || isAxisName(called) || isTimeName(called))
        continue;
      const column = this.columnOf(called);
      if (column === undefined) return;
      this.unset(from);
      this.move(value, column, this.refusedText.get(from) ?? '', line);
    }
  }
}

/**
 * A table whose rows may name their metric. `{"metric": "loss", "value": 0.4, "step": 7}` sets the column `loss`, or
 * `<run> - loss` if the row has a `run_id`. `{"run": "a", "loss": 0.4}` sets `a - loss`.
 */
export const logTable = (indexColumn?: string): LogTable => new NamedRows(indexColumn);

const ENDING = /\.(?:gz|zst|csv|tsv|txt|json)$/i;

/** `run-train-tag-epoch_loss.csv` is `epoch_loss`, `val_loss.csv` is `val_loss`. */
const nameOfFile = (path: string): string => {
  let stem = path.replace(/^.*[\\/]/, '');
  for (let ending = ENDING.exec(stem); ending !== null; ending = ENDING.exec(stem))
    stem = stem.slice(0, ending.index);
  const tag = /(?:^|[-_])tag[-_]/.exec(stem);
  return (tag === null ? '' : stem.slice(tag.index + tag[0].length)) || stem;
};

/** The series of a file. If the only one that is neither a step nor a time is called `value`, it gets the file's name. */
export function namedByFile(series: readonly LoggedSeries[], path: string): LoggedSeries[] {
  const told = series.filter((one) => !isAxisName(one.name) && !isTimeName(one.name));
  const sole = told.length === 1 && VALUES.includes(axisName(told[0]!.name)) ? told[0] : undefined;
  return series.map((one) => (one === sole ? { ...one, name: nameOfFile(path) } : one));
}

/** Parts `<run> - <metric>`; a run may have it in its name. */
const DASH = ' - ';

/**
 * The runs of a chart that W&B exports: `<run> - <metric>`, each with `…__MIN` and `…__MAX`. Without these, all
 * columns must be named so, each run must have the same quantities, a loss among them, and no run may be
 * named like a split.
 */
function runsOfChart(names: readonly string[]): NamedRuns {
  const all = new Set(names);
  const charted = (of: readonly string[]): Map<string, { run: string; name: string }> =>
    new Map(
      of.flatMap((name) => {
        const at = name.lastIndexOf(DASH);
        return at < 1
          ? []
          : [[name, { run: name.slice(0, at), name: name.slice(at + DASH.length) }] as const];
      }),
    );
  const ranged = names.filter((name) => all.has(`${name.replace(/__(MIN|MAX)$/, '')}__MIN`));
  if (ranged.length > 0) return charted(ranged);
  const told = names.filter((name) => !isAxisName(name) && !isTimeName(name));
  const runs = charted(told);
  const quantities = new Map<string, string[]>();
  for (const { run, name } of runs.values()) quantities.set(run, [...(quantities.get(run) ?? []), name]);
  const [first] = quantities.values();
  const isChart =
    runs.size === told.length &&
    quantities.size > 1 &&
    splitsAmong([...quantities.keys()]).size === 0 &&
    [...quantities.values()].every((own) => own.join('\n') === first!.join('\n')) &&
    first!.some(namesLossValue);
  return isChart ? runs : new Map();
}

/**
 * The runs of a table that holds several side by side; anything else is one run.
 *
 * @param named the run and the name of a series, by what it is called, where the rows name several runs
 */
export function runsOf(
  series: readonly LoggedSeries[],
  named: NamedRuns,
): { name?: string; series: LoggedSeries[] }[] {
  const charted = runsOfChart(series.map(({ name }) => name));
  const runOf = (name: string): string | undefined => (named.get(name) ?? charted.get(name))?.run;
  const called = (one: LoggedSeries): LoggedSeries => {
    const quantity = charted.get(one.name)?.name;
    return {
      ...one,
      name: named.get(one.name)?.name ?? one.name,
      ...(quantity === undefined ? {} : { quantity }),
    };
  };
  const runs = [...new Set(series.map((one) => runOf(one.name)))].filter((name) => name !== undefined);
  if (runs.length < 2) return [{ series: series.map((one) => (charted.has(one.name) ? called(one) : one)) }];
  return runs.map((run) => ({
    name: run,
    series: series.filter((one) => [run, undefined].includes(runOf(one.name))).map(called),
  }));
}
