/**
 * The page for a first look: what happened, where, why, what to do, one chart, and what was tried, on one screen. Everything
 * else is on the full page ({@link renderTerminal}).
 */
import { Ansis } from 'ansis';
import { decidingSeries } from '../model/deciding-series.ts';
import type { Report, RunReport } from '../model/report.ts';
import type { Answer } from './answer.ts';
import { toAscii } from './ascii.ts';
import { answerOf, troubleOf } from './brief-answer.ts';
import { type ChartMarker, drawChart } from './charts.ts';
import { type Mood, moodPaint } from './class-paint.ts';
import type { RenderOptions } from './format.ts';
import { jobAnswer } from './job-answer.ts';
import { leadingEvents, symbolOf } from './run-events.ts';
import { runsPage } from './runs-page.ts';
import { cutMiddle } from './short-names.ts';
import { chartGroups, headline } from './terminal.ts';
import { textTable } from './text-table.ts';
import { textWidth } from './text-width.ts';
import { figuresOf, figureText, NOTHING, partsWithTried } from './tried.ts';
import { wrap } from './wrap.ts';

export interface BriefOptions extends RenderOptions {
  /** Rows of the terminal; 24 where there is none. */
  readonly rows: number;
  /** What is still being worked on: a later page says more. */
  readonly pending?: string;
}

/** Rows that a page has where no terminal says how many. */
export const PAGE_ROWS = 24;
/** Rows of the answer, at most, and of the chart: the plot needs three to be one. */
const ANSWER_ROWS = 14;
const CHART_ROWS = 8;
const CHART_LEAST = 6;
const PLOT_LEAST = 2;
/** Rows of a chart that are not its plot: the axis, its steps, the marks. */
export const CHART_FRAME = 3;
/** A taller terminal gets a taller chart, up to this. */
const CHART_MOST = 16;
/** The head of the table and two rows. */
const TABLE_LEAST = 3;
const GUTTER = 10;
const CODE_INDENT = ' '.repeat(GUTTER + 4);

const MARKS: Readonly<Record<Mood, { unicode: string; ascii: string }>> = {
  good: { unicode: '✓', ascii: 'OK' },
  doubtful: { unicode: '!', ascii: '!' },
  bad: { unicode: '✗', ascii: 'x' },
};

/**
 * As many whole sentences as fit into so many lines; else what is short of it, or the start of the first.
 *
 * @param whole whether what is short of it is better than a part
 */
function fitted(
  text: string,
  most: number,
  width: number,
  indent: string,
  short?: string,
  whole = false,
): string[] {
  const sentences = text.split(/(?<=\.) (?=\S)/);
  for (let kept = sentences.length; kept > (whole ? sentences.length - 1 : 0); kept--) {
    const lines = wrap(sentences.slice(0, kept).join(' '), width, indent);
    if (lines.length <= most) return lines;
  }
  if (short !== undefined) return fitted(short, most, width, indent);
  const lines = wrap(sentences[0]!, width, indent).slice(0, most);
  const last = lines[most - 1]!;
  return [
    ...lines.slice(0, -1),
    textWidth(last) + 2 <= width ? `${last} …` : `${last.slice(0, width - 2).replace(/ \S*$/, '')} …`,
  ];
}

/** Lines that a paragraph may have, at most. */
const PART_LINES: Readonly<Record<string, number>> = {
  Where: 2,
  Why: 4,
  Fix: 3,
  Try: 3,
  Tried: 2,
  Code: 4,
  Also: 4,
  Beware: 2,
};

/** The sign before the first line of an answer. */
export const markOf = (mood: Mood, { ascii }: Pick<RenderOptions, 'ascii'>): string =>
  MARKS[mood][ascii ? 'ascii' : 'unicode'];

/** Columns of a name of which enough is left to know it by. */
const NAME = 16;

/** The facts that have room; a name that has none loses its middle, of which the mark has more columns in ASCII. */
function factsIn(facts: string, width: number): string {
  const [name = '', ...more] = facts.split(' · ');
  const roomOf = (): number => width - more.reduce((sum, one) => sum + 3 + textWidth(one), 0);
  while (more.length > 0 && roomOf() < Math.min(NAME, textWidth(name))) more.pop();
  return [cutMiddle(name, roomOf()), ...more].join(' · ');
}

/** What happened, where, why and what to do, in as many lines as an answer may have. */
export function answerLines(
  answer: Pick<Answer, 'mood' | 'title' | 'change' | 'facts'>,
  parts: Answer['parts'],
  options: BriefOptions,
  paint: Ansis,
): string[] {
  const { mood, title, change, facts } = answer;
  const { width } = options;
  const mark = markOf(mood, options);
  const first = `${mark} ${title}`;
  const beside = textWidth(first) + 3 + textWidth(change) <= width;
  const lines = [
    moodPaint(paint, mood)(first) + (beside ? `   ${change}` : ''),
    ...(beside ? [] : fitted(change, 3, width, '  ')),
    paint.dim(`  ${factsIn(facts, width - (options.ascii ? 6 : 2))}`),
  ];
  if (parts.length === 0) return lines;
  // What is well takes as few lines as it can.
  if (mood !== 'good') lines.push('');
  // The rest needs at least a line each, and an order to paste something two more.
  const least = ({ code }: { readonly code?: string }): number =>
    code === undefined ? 1 : Math.max(4, 2 + code.split('\n').length);
  let room = ANSWER_ROWS - lines.length;
  const indent = ' '.repeat(GUTTER);
  for (const [i, { label, text, short, code, after }] of parts.entries()) {
    const rest = parts.slice(i + 1).reduce((sum, one) => sum + least(one), 0);
    const codeLines =
      code === undefined ? [] : code.split('\n').map((line) => paint.cyan(CODE_INDENT + line));
    const most = Math.max(1, Math.min(PART_LINES[label] ?? 2, room - rest - codeLines.length));
    const shown = [
      ...fitted(text, most, width, indent, short, label === 'Tried').map((line, n) =>
        n === 0 ? `  ${paint.bold(label.padEnd(GUTTER - 2))}${line.trimStart()}` : line,
      ),
      ...codeLines,
      ...(after === undefined ? [] : fitted(after, 2, width, indent)),
    ];
    lines.push(...shown);
    room -= shown.length;
  }
  return lines;
}

const marksOf = (run: RunReport, ascii: boolean): ChartMarker[] =>
  leadingEvents(run).map(({ step, kind, label }) => ({ step, symbol: symbolOf(kind, ascii), label }));

/** The chart of the series that decided, in so many rows with its axis and marks; none where there is nothing to draw. */
export function chartLines(run: RunReport, rows: number, options: BriefOptions): string[] {
  const decided = decidingSeries(run);
  const series =
    decided === undefined || decided.points < 2 ? (chartGroups(run.series)[0]?.series ?? []) : [decided];
  if (series.length === 0) return [];
  const drawn = (height: number): string[] =>
    drawChart(series[0]!.name, series.slice(0, 1), {
      width: options.width,
      height,
      titleBeside: true,
      colour: options.colour,
      ascii: options.ascii,
      stepName: run.stepUnit,
      markers: marksOf(run, options.ascii),
    }).split('\n');
  const lines = drawn(rows - CHART_FRAME);
  // Values that are not finite, and marks that do not fit in one row, take further rows.
  const over = lines.length - rows;
  return over > 0 ? drawn(Math.max(PLOT_LEAST, rows - CHART_FRAME - over)) : lines;
}

function triedLines({ tried, over }: Answer, rows: number, options: BriefOptions, paint: Ansis): string[] {
  const shown = tried.slice(0, rows - 1);
  const remedies = tried.filter(({ name }) => name !== NOTHING);
  const held = remedies.filter(({ holds }) => holds === true).length;
  const figures = figuresOf(shown);
  const [yes, no] = options.ascii ? ['+', 'x'] : ['✓', '✗'];
  const markOf = (holds: boolean | null) => (holds === null ? '?' : holds ? yes : no);
  const paintOf = (holds: boolean | null) =>
    holds === null ? paint.yellow : holds ? paint.green : paint.red;
  const lines = textTable({
    head: [
      shown.length < tried.length
        ? `  Tried: ${held} of ${remedies.length} held, ${shown.length} shown`
        : `  Tried${over}`,
      ...figures.map(({ title }) => title),
      '',
    ],
    rows: shown.map((one) => [
      `${markOf(one.holds)} ${one.name}`,
      ...figures.map((figure) => figureText(figure, one, '')),
      one.use ? (options.ascii ? '<- use' : '← use') : '',
    ]),
    left: 1,
    width: options.width - 2,
    paintHead: paint.dim,
    paintCell: (text, r, c) => (c === 0 ? paintOf(shown[r]!.holds)(text) : text),
  });
  return lines.map((line) => `  ${line}`);
}

/** The page of `explain` that says most about a run; undefined where nothing was found. */
export const explainable = (run: RunReport, report: Report): string | undefined =>
  (jobAnswer(run) === null ? undefined : 'job-crashed') ??
  run.cause?.failure ??
  run.findings.find(({ severity }) => severity !== 'note')?.id ??
  report.warnings[0]?.id ??
  (run.verdict.class === 'inconclusive' && run.verdict.onsetStep !== null
    ? 'cause'
    : run.verdict.class === 'inconclusive' || run.verdict.class === 'healthy'
      ? run.findings[0]?.id
      : undefined);

/** What else there is to see, as much of it as a line holds. */
function moreLine(run: RunReport, report: Report, { checked }: Answer, width: number): string {
  const kind = explainable(run, report);
  const parts = [
    '--verbose',
    '--report html:report.html',
    ...(kind === undefined ? [] : [`explain ${kind}`]),
  ];
  const proofs = [...(checked ?? [])];
  const line = (): string =>
    `  ${proofs.length === 0 ? '' : `${proofs.join(' · ')}. `}More: ${parts.join(' · ')}`;
  // What may go first are the last of the proofs, which are of least use, then what is before the last page.
  while (parts.length > (kind === undefined ? 1 : 2) && line().length > width) parts.splice(1, 1);
  while (proofs.length > 1 && line().length > width) proofs.pop();
  while (parts.length > 1 && line().length > width)
    parts.splice(checked === null || parts.length > 2 ? -2 : -1, 1);
  return line();
}

/** The page of one run. Pure. */
export function briefRun(run: RunReport, report: Report, options: BriefOptions): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const whole = answerOf(run, report);
  // A search that still runs is not mentioned.
  const answer =
    options.pending === undefined
      ? whole
      : { ...whole, parts: whole.parts.filter(({ label }) => label !== 'Why' && label !== 'Fix') };
  const last =
    options.pending === undefined
      ? paint.dim(moreLine(run, report, answer, options.width))
      : `  ${paint.dim(`Working on it: ${options.pending} …`)}`;
  const bare = answerLines(answer, answer.parts, options, paint);
  if (answer.mood === 'good') return [...bare, last];
  // Besides the blank before the chart, and the last line.
  const wanted = answer.tried.length === 0 ? 0 : answer.tried.length + 1;
  const room = options.rows - bare.length - 2 - CHART_ROWS;
  const table = room >= TABLE_LEAST + 1 ? Math.min(wanted, room - 1) : 0;
  const lines = table === 0 ? answerLines(answer, partsWithTried(answer), options, paint) : bare;
  const most = options.rows > PAGE_ROWS + 4 ? CHART_MOST : CHART_ROWS;
  const free = options.rows - lines.length - 2 - (table > 0 ? table + 1 : 0);
  const chart = chartLines(run, Math.max(CHART_LEAST, Math.min(free, most)), options);
  if (chart.length > 0) lines.push('', ...chart);
  if (table > 0) {
    lines.push('', ...triedLines(answer, table, options, paint));
  }
  return [...lines, last];
}

/** The brief page of a report, with a line break at its end. */
export function renderBrief(report: Report, options: BriefOptions): string {
  const [run, ...others] = report.runs;
  const lines =
    run === undefined
      ? [
          headline(report),
          ...(troubleOf(report) === null ? [] : wrap(troubleOf(report)!, options.width, '  ')),
        ]
      : others.length === 0
        ? briefRun(run, report, options)
        : runsPage(report, options);
  const text = `${lines.join('\n')}\n`;
  return options.ascii ? toAscii(text) : text;
}
