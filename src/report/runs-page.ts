/** Many runs on one page: how many went how, the table, and how to see one of them. */
import { Ansis } from 'ansis';
import type { Cell } from '../model/cell.ts';
import {
  type CapturesComparison,
  type Comparison,
  isOldComparison,
  type RunComparison,
} from '../model/comparison.ts';
import { counted, formatCount, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { Report, RunsTable, TableGroup } from '../model/report.ts';
import { sweepSentence } from '../model/runs-sentence.ts';
import { classCounts, tableOf } from '../model/runs-table.ts';
import { shellWord } from '../model/shell-word.ts';
import { illBeside, troubleOf } from './brief-answer.ts';
import { classPaint } from './class-paint.ts';
import type { RenderOptions } from './format.ts';
import { cutMiddle, shortNames } from './short-names.ts';
import { GAP, textTable } from './text-table.ts';
import { textWidth } from './text-width.ts';
import { wrap } from './wrap.ts';

/** A value that is longer is cut in its middle: beginnings and ends of names tell runs apart. */
export const CELL_WIDTH = 36;
/** The names of runs give way where columns would not fit, to a third of the page, and at most to this. */
const RUN_WIDTH_LEAST = 48;

/** A value of the table as text. */
export const cellText = (value: Cell, column: string): string =>
  value === null
    ? '-'
    : typeof value === 'number'
      ? column === 'onset'
        ? formatCount(value)
        : formatNumber(value)
      : cutMiddle(inertName(String(value)), CELL_WIDTH);

/** How many runs are of each class. */
export function countsLine(report: Report, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const { rows } = tableOf(report);
  const counts = classCounts(rows).map(({ class: name, count }) =>
    classPaint(paint, name)(`${formatCount(count)} ${name}`),
  );
  const left = report.runs.length - rows.length;
  return (
    `${paint.bold(counted(rows.length, 'run'))}: ${counts.join(', ') || 'none fits --where'}` +
    (left > 0 ? paint.dim(` (${formatCount(left)} left out by --where)`) : '')
  );
}

/** `12 runs: 3 healthy, 9 drift`. */
export const countsTitle = ({ rows }: RunsTable): string =>
  `${counted(rows.length, 'run')}: ${classCounts(rows)
    .map(({ class: name, count }) => `${formatCount(count)} ${name}`)
    .join(', ')}`;

/**
 * The rows of a table, or one value for each of them, group by group.
 *
 * @param all one for each row, in their order
 * @returns one group without a title where the table has none
 */
export function byGroup<Row>(
  { groups }: RunsTable,
  all: readonly Row[],
): readonly { readonly title: string | null; readonly own: readonly Row[] }[] {
  if (groups === undefined) return [{ title: null, own: all }];
  let from = 0;
  return groups.map((group) => {
    const own = all.slice(from, from + group.runs);
    from += group.runs;
    return { title: groupTitle(group), own };
  });
}

/** What the rows of a group share, how they went, and how good they are. */
function groupTitle({ values, runs, classes, best, last }: TableGroup): string {
  const number = (value: number): string => formatNumber(value, 'brief');
  return [
    Object.entries(values)
      .map(([key, value]) => `${inertName(key)} ${cellText(value, key)}`)
      .join(', '),
    `${counted(runs, 'run')}: ${Object.entries(classes)
      .map(([name, count]) => `${formatCount(count)} ${name}`)
      .join(', ')}`,
    ...(best === null ? [] : [`best ${number(best)}`]),
    ...(last === null
      ? []
      : [last === Number.POSITIVE_INFINITY ? 'half end in no number' : `median last ${number(last)}`]),
  ].join(' · ');
}

/** Runs that are named where their loss is healthy and they are not well. */
const NAMED = 3;

/** Which runs of the table are not well though their loss is healthy; null where there are none. */
export function illSentence(report: Report): string | null {
  const shown = new Set(tableOf(report).rows.map(({ run }) => run));
  const ill = illBeside(report.runs.filter(({ id }) => shown.has(id)));
  if (ill.length === 0) return null;
  const named = ill.slice(0, NAMED).map(({ id, title }) => `${inertName(id)}: ${title}`);
  const more = ill.length > NAMED ? `; ${formatCount(ill.length - NAMED)} more` : '';
  return `Of the healthy losses, not every run is well. ${named.join('; ')}${more}.`;
}

/** How many are of each class, and the table. */
export function runsLines(report: Report, options: RenderOptions): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const table = tableOf(report);
  const { columns, rows } = table;
  const cells = rows.map((row) => columns.slice(1).map((column) => cellText(row[column] ?? null, column)));
  const names = rows.map(({ run }) => inertName(String(run)));
  const head = columns.map((column) => cutMiddle(inertName(column), CELL_WIDTH));
  const widths = head.map((name, c) =>
    Math.max(
      ...[name, ...(c === 0 ? names : cells.map((row) => row[c - 1]!))].map((text) => textWidth(text)),
    ),
  );
  const others = widths.slice(1).reduce((sum, width) => sum + width + GAP, 0);
  const leastForNames = Math.min(RUN_WIDTH_LEAST, Math.floor(options.width / 3));
  const nameWidth = Math.min(widths[0]!, Math.max(leastForNames, options.width - others));
  let used = nameWidth;
  const shown = widths.findIndex((width, c) => {
    if (c > 0) used += width + GAP;
    return c > 1 && used > options.width;
  });
  const dropped = shown < 0 ? [] : head.slice(shown);
  const shortened = shortNames(names, nameWidth);
  const [headLine, ...rowLines] = textTable({
    head,
    rows: cells.map((row, r) => [shortened[r]!, ...row]),
    left: 2,
    width: options.width,
    paintHead: paint.bold,
    paintCell: (text, r, c) => (c === 1 ? classPaint(paint, String(rows[r]!.class))(text) : text),
  });
  const groups = byGroup(table, rowLines).map(({ title, own }) => [
    ...(title === null ? [] : wrap(title, options.width, '', '  ').map((line) => paint.bold(line))),
    ...own,
  ]);
  const conclusion = sweepSentence(table);
  const ill = illSentence(report);
  return [
    countsLine(report, options),
    ...(conclusion === null ? [] : wrap(inertName(conclusion), options.width, '')),
    ...(ill === null ? [] : wrap(ill, options.width, '')),
    '',
    headLine!,
    ...groups.flatMap((lines, i) => (i === 0 ? lines : ['', ...lines])),
    ...(dropped.length === 0
      ? []
      : [paint.dim(`not shown for want of columns: ${cutMiddle(dropped.join(', '), options.width - 34)}`)]),
  ];
}

/** What is the same in two captures, and from which step on the rest is not. */
function capturesWords({ steps: [from, to], compared }: CapturesComparison): string {
  const differ = compared.filter(({ differsAt }) => differsAt !== null);
  const same = compared.filter(({ differsAt }) => differsAt === null).map(({ what }) => what);
  const first = [...differ].sort((a, b) => a.differsAt! - b.differsAt!);
  return [
    `Their captures, steps ${formatCount(from)} to ${formatCount(to)}:`,
    ...(first.length === 0
      ? []
      : [
          `${first.map(({ what, differsAt }) => `${what} differs from step ${formatCount(differsAt!)}`).join(', ')}${same.length > 0 ? ';' : '.'}`,
        ]),
    ...(same.length === 0 ? [] : [`the same to the bit: ${same.join(', ')}.`]),
  ].join(' ');
}

/** What a comparison says, a sentence a line; names are untrusted text. */
export const comparisonLines = (comparison: Comparison | RunComparison): string[] =>
  isOldComparison(comparison) ? linesOfOld(comparison) : linesOf(comparison);

const linesOf = ({ statement, settings }: RunComparison): string[] =>
  [
    statement,
    ...(settings.length === 0
      ? []
      : [
          `Settings that differ: ${settings.map(({ key, a, b }) => `${key} ${cellText(a, '')} and ${cellText(b, '')}`).join('; ')}.`,
        ]),
  ].map(inertName);

/** Of a report of schema 2.x. */
function linesOfOld({
  why,
  runs,
  compared,
  series,
  settings,
  settingsCompared,
  captures,
}: Comparison): string[] {
  const value = (one: Cell | undefined): string => (one === undefined ? 'not recorded' : cellText(one, ''));
  const also = compared.filter(({ name, partsAt }) => partsAt !== null && name !== series);
  return [
    `First run: ${runs[0]}; second run: ${runs[1]}.`,
    why,
    ...(also.length === 0
      ? []
      : [
          `Also apart to the end: ${also.map(({ name, partsAt }) => `${name} from ${formatCount(partsAt!)}`).join(', ')}.`,
        ]),
    ...(captures === undefined ? [] : [capturesWords(captures)]),
    settings.length > 0
      ? `Settings that differ: ${settings.map(({ name, first, second }) => `${name} ${value(first)} and ${value(second)}`).join('; ')}.`
      : settingsCompared > 0
        ? `All ${formatCount(settingsCompared)} settings that both tell are the same.`
        : 'Neither has its settings: put hparams.json or config.yaml next to each log.',
  ].map(inertName);
}

/** The lines of the page of many runs. */
export function runsPage(report: Report, options: RenderOptions): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const { rows } = tableOf(report);
  const trouble = troubleOf(report);
  const name = rows[0]?.run;
  return [
    ...(report.comparison === undefined
      ? []
      : [...comparisonLines(report.comparison).flatMap((line) => wrap(line, options.width, '', '  ')), '']),
    ...runsLines(report, options),
    '',
    ...(trouble === null ? [] : wrap(`Beware: ${trouble}`, options.width, '  ')),
    ...(name === undefined
      ? []
      : [paint.dim(`  One of them: --run ${shellWord(inertName(String(name)))} · all: --verbose`)]),
  ];
}
