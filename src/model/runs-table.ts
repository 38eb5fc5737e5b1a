/**
 * Many runs as a table, one row a run: how each went, and the hyperparameters in which they differ. The terminal, HTML,
 * Markdown and `--json` show the same rows.
 */

import type { Cell } from './cell.ts';
import { decidingSeries } from './deciding-series.ts';
import { diagError } from './errors.ts';
import { didYouMean } from './nearest.ts';
import { medianInPlace } from './order-statistics.ts';
import {
  type Report,
  type RunReport,
  type RunsTable,
  type TableGroup,
  type TableRow,
  VERDICT_CLASSES,
} from './report.ts';

/** What every table has. Losses are those of the series that decided. */
export const FIRST_COLUMNS = ['run', 'class', 'onset', 'best', 'last'] as const;
/** Hyperparameters that a table has columns for, at most; the learning rate is always among them. */
const MOST_HYPERPARAMETERS = 8;

/** Names of a learning rate in configurations, most usual first. */
const isLearningRate = (name: string): boolean => /(^|[._/])(lr|learning_?rate|base_?lr)$/i.test(name);

function rowOf(run: RunReport, names: readonly string[]): TableRow {
  const { verdict } = run;
  const series = decidingSeries(run) ?? run.series.find(({ role }) => role === 'loss');
  // Own members whatever a hyperparameter is called.
  return Object.fromEntries<Cell>([
    ...names.map((name): [string, Cell] => [
      name,
      Object.hasOwn(run.hyperparameters, name) ? (run.hyperparameters[name] ?? null) : null,
    ]),
    ['run', run.id],
    ['class', verdict.class],
    ['onset', verdict.onsetStep],
    ['best', series?.statistics.min ?? null],
    ['last', series?.statistics.last ?? null],
  ]);
}

/** Hyperparameters that are not the same in all runs, the learning rate first, then those that most runs tell. */
function differing(runs: readonly RunReport[]): string[] {
  const values = new Map<string, Set<Cell>>();
  for (const { hyperparameters } of runs)
    for (const [name, value] of Object.entries(hyperparameters))
      values.set(name, (values.get(name) ?? new Set()).add(value));
  const told = new Map(
    [...values.keys()].map((name) => [
      name,
      runs.reduce((n, { hyperparameters }) => n + Number(Object.hasOwn(hyperparameters, name)), 0),
    ]),
  );
  return [...values]
    .filter(
      ([name, seen]) =>
        (seen.size > 1 || told.get(name)! < runs.length) &&
        !(FIRST_COLUMNS as readonly string[]).includes(name),
    )
    .sort(
      ([a, x], [b, y]) =>
        Number(isLearningRate(b)) - Number(isLearningRate(a)) ||
        told.get(b)! - told.get(a)! ||
        x.size - y.size ||
        (a < b ? -1 : 1),
    )
    .slice(0, MOST_HYPERPARAMETERS)
    .map(([name]) => name);
}

const classRank = (name: Cell): number => (VERDICT_CLASSES as readonly Cell[]).indexOf(name);

/** The runs of a report, the gravest class first, of one class in the order of their onsets. */
export function runsTable({ runs }: Pick<Report, 'runs'>): RunsTable {
  const names = differing(runs);
  const rows = runs.map((run) => rowOf(run, names));
  return {
    columns: [...FIRST_COLUMNS, ...names],
    rows: rows.sort(
      (a, b) =>
        classRank(b.class!) - classRank(a.class!) ||
        Number(a.onset ?? Number.POSITIVE_INFINITY) - Number(b.onset ?? Number.POSITIVE_INFINITY) ||
        0,
    ),
  };
}

/** The rows that were chosen, or else all; a report of 0.1.0 has no table. */
export const tableOf = (report: Pick<Report, 'runs' | 'table'>): RunsTable =>
  report.table ?? runsTable(report);

const OPERATORS = ['!=', '>=', '<=', '=', '<', '>'] as const;
type Operator = (typeof OPERATORS)[number];

interface Condition {
  readonly key: string;
  readonly operator: Operator;
  readonly value: string;
}

/** Reads KEY=VALUE, KEY!=VALUE, KEY<VALUE and so on. @throws usage */
function readCondition(text: string): Condition {
  const found = OPERATORS.map((operator) => ({ operator, at: text.indexOf(operator) }))
    .filter(({ at }) => at > 0)
    .sort((a, b) => a.at - b.at || b.operator.length - a.operator.length)[0];
  if (found === undefined)
    throw diagError('usage', {
      problem: `--where ${text} is not KEY=VALUE`,
      hint: 'compare a column of the table with =, !=, <, <=, > or >=, e.g. --where class=healthy',
    });
  const { operator, at } = found;
  return { key: text.slice(0, at).trim(), operator, value: text.slice(at + operator.length).trim() };
}

function columnOf(key: string, columns: readonly string[], flag: string): string {
  if (columns.includes(key)) return key;
  throw diagError('usage', {
    problem: `${flag}: there is no column "${key}"`,
    hint: `${didYouMean(key, columns)}columns are ${columns.join(', ')}`,
  });
}

/** NaN where a text is not a number. */
const numberOf = (text: Cell): number =>
  typeof text === 'number'
    ? text
    : typeof text === 'string' && text.trim() !== ''
      ? Number(text)
      : Number.NaN;

function holds({ key, operator, value }: Condition, row: TableRow): boolean {
  const cell = row[key] ?? null;
  const [a, b] = [numberOf(cell), numberOf(value)];
  const byNumber = !Number.isNaN(a) && !Number.isNaN(b);
  const same = byNumber ? a === b : String(cell ?? '') === value;
  switch (operator) {
    case '=':
      return same;
    case '!=':
      return !same;
    case '<':
      return byNumber && a < b;
    case '<=':
      return byNumber && a <= b;
    case '>':
      return byNumber && a > b;
    case '>=':
      return byNumber && a >= b;
  }
}

/** Numbers by size, texts by letters, classes by gravity; what is missing or NaN comes last. */
function compare(key: string, a: Cell, b: Cell): number {
  if (key === 'class') return classRank(a) - classRank(b);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  if (!Number.isNaN(x) || !Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return String(a ?? '\uffff') < String(b ?? '\uffff') ? -1 : a === b ? 0 : 1;
}

/** What is asked of a table, as the flags give it. */
export interface Asked {
  /** Conditions that must all hold. */
  readonly where?: readonly string[];
  /** Columns, the first decides; a `-` in front turns the order round. */
  readonly sort?: readonly string[];
  /** Columns whose values make the groups. */
  readonly groupBy?: readonly string[];
}

/**
 * The rows that are asked for, in the order that is asked for. A hyperparameter that is the same in all runs is no column
 * of the table until it is asked for.
 *
 * @throws usage for a condition that cannot be read and for an unknown column, with the nearest
 */
export function selectRows(
  report: Pick<Report, 'runs' | 'table'>,
  { where = [], sort = [], groupBy = [] }: Asked,
): RunsTable {
  const known = new Set(report.runs.flatMap(({ hyperparameters }) => Object.keys(hyperparameters)));
  const table = tableOf(report);
  const columns = [...table.columns];
  const column = (key: string, flag: string): string => {
    if (!columns.includes(key) && known.has(key)) columns.push(key);
    return columnOf(key, columns, flag);
  };
  const conditions = where.map(readCondition);
  for (const { key } of conditions) column(key, '--where');
  const keys = sort.map((text) => {
    const down = text.startsWith('-') && !columns.includes(text);
    return { key: column(down ? text.slice(1) : text, '--sort'), sign: down ? -1 : 1 };
  });
  const groups = groupBy.map((key) => column(key, '--group-by'));
  const rows = withColumns(table.rows, columns, report.runs)
    .filter((row) => conditions.every((condition) => holds(condition, row)))
    .sort((a, b) => {
      for (const { key, sign } of keys) {
        const order = compare(key, a[key] ?? null, b[key] ?? null);
        if (order !== 0) return sign * order;
      }
      return 0;
    });
  return groups.length === 0 ? { columns, rows } : grouped(columns, rows, groups);
}

/** Rows with hyperparameters that the table had no column for. */
function withColumns(
  rows: readonly TableRow[],
  columns: readonly string[],
  runs: Report['runs'],
): readonly TableRow[] {
  const byId = new Map(runs.map(({ id, hyperparameters }) => [id, hyperparameters]));
  return rows.map((row) => {
    const own = byId.get(String(row.run)) ?? {};
    const missing = columns.filter((name) => !Object.hasOwn(row, name));
    return missing.length === 0
      ? row
      : Object.fromEntries<Cell>([
          ...Object.entries(row),
          ...missing.map((name): [string, Cell] => [
            name,
            Object.hasOwn(own, name) ? (own[name] ?? null) : null,
          ]),
        ]);
  });
}

/** Puts rows of the same values together, the groups in the order of their values. */
function grouped(
  columns: readonly string[],
  rows: readonly TableRow[],
  groupBy: readonly string[],
): RunsTable {
  const byValues = new Map<string, TableRow[]>();
  for (const row of rows) {
    const values = JSON.stringify(groupBy.map((key) => [typeof row[key], String(row[key] ?? null)]));
    byValues.set(values, [...(byValues.get(values) ?? []), row]);
  }
  const sorted = [...byValues.values()].sort(([a], [b]) => {
    for (const key of groupBy) {
      const order = compare(key, a![key] ?? null, b![key] ?? null);
      if (order !== 0) return order;
    }
    return 0;
  });
  return {
    columns,
    rows: sorted.flat(),
    groupBy,
    groups: sorted.map((same) => groupOf(same, groupBy)),
  };
}

function groupOf(rows: readonly TableRow[], groupBy: readonly string[]): TableGroup {
  const numbers = (key: string): number[] =>
    rows.flatMap((row) => (typeof row[key] === 'number' ? [row[key]] : []));
  // A loss of NaN is worse than any number.
  const last = numbers('last').map((value) => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value));
  const best = numbers('best').filter((value) => !Number.isNaN(value));
  return {
    values: Object.fromEntries<Cell>(groupBy.map((key) => [key, rows[0]![key] ?? null])),
    runs: rows.length,
    classes: Object.fromEntries(classCounts(rows).map(({ class: name, count }) => [name, count])),
    best: best.length === 0 ? null : Math.min(...best),
    last: last.length === 0 ? null : medianInPlace(Float64Array.from(last)),
  };
}

/** How many runs are of each class, gravest first. */
export function classCounts(rows: readonly TableRow[]): { readonly class: string; readonly count: number }[] {
  return [...VERDICT_CLASSES]
    .reverse()
    .map((name) => ({ class: name, count: rows.filter((row) => row.class === name).length }))
    .filter(({ count }) => count > 0);
}
