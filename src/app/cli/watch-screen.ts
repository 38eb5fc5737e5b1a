/**
 * What a watcher shows. On a terminal one screen, drawn anew in place: a line of state, the answer, the chart, everything
 * else in a part that scrolls, the last alert, the keys. Elsewhere a line for each look.
 */
import { Ansis } from 'ansis';
import { decidingSeries } from '../../model/deciding-series.ts';
import { durationText } from '../../model/duration.ts';
import { formatCount, formatNumber } from '../../model/format-number.ts';
import { inertButColours, inertName, inertOutput } from '../../model/inert-text.ts';
import type { Report, RunReport } from '../../model/report.ts';
import { toAscii } from '../../report/ascii.ts';
import { answerLines, CHART_FRAME, chartLines } from '../../report/brief.ts';
import { answerOf } from '../../report/brief-answer.ts';
import type { RenderOptions } from '../../report/format.ts';
import { runsPage } from '../../report/runs-page.ts';
import { renderTerminal } from '../../report/terminal.ts';
import { startOf } from '../../report/wrap.ts';
import { rateText } from './duration.ts';

/** What is known of the watched run besides its report. */
export interface WatchPace {
  readonly run: string;
  /** Milliseconds. */
  readonly at: number;
  /** Steps a second. */
  readonly rate: number | null;
}

/** Where a run is: its step and its loss. */
function stateOf(run: RunReport): string {
  const loss = run.series.find(({ role, points }) => role === 'loss' && points > 0) ?? decidingSeries(run);
  const step = loss?.statistics.lastStep ?? run.attemptList[run.attemptList.length - 1]?.lastStep ?? 0;
  const value = loss === undefined ? '' : `  ${inertName(loss.name)} ${formatNumber(loss.statistics.last)}`;
  return `${run.stepUnit} ${formatCount(step)}${value}`;
}

const rateOf = (run: RunReport, pace: WatchPace | null): string =>
  pace === null || pace.run !== run.id || pace.rate === null ? '' : `  ${rateText(pace.rate, run.stepUnit)}`;

/** One line a run: where it is, its loss, how fast it goes, and what is thought of it so far. */
export function watchLine(report: Report, pace: WatchPace | null): string {
  return report.runs
    .map((run) => {
      const name = report.runs.length > 1 ? `${inertName(run.id)}  ` : '';
      return `${name}${stateOf(run)}${rateOf(run, pace)}  ${answerOf(run, report).title}`;
    })
    .join('\n');
}

/** An alert as the screen tells it. */
export interface WatchAlert {
  readonly run: string;
  readonly message: string;
  /** Milliseconds. */
  readonly at: number;
}

export interface WatchView {
  /** What is watched. */
  readonly path: string;
  /** Undefined as long as there is nothing to report on. */
  readonly report: Report | undefined;
  readonly pace: WatchPace | null;
  /** Milliseconds. */
  readonly now: number;
  /** In words, where records stopped coming. */
  readonly stalled: string | null;
  readonly lastAlert: WatchAlert | null;
  /** The first line of the scrolling part that is shown. */
  readonly scroll: number;
  /** Whether there is a keyboard to scroll and quit by. */
  readonly keys: boolean;
}

/** Rows that the chart gets of those that are left to it and the scrolling part. */
const CHART_SHARE = 0.6;
const CHART_LEAST = CHART_FRAME + 2;
const CHART_MOST = 40;

export interface Screen {
  /** At most as many as the terminal has rows. */
  readonly lines: readonly string[];
  /** The furthest that there is to scroll, and how many lines a page has. */
  readonly scrollMost: number;
  readonly page: number;
}

const alertLine = ({ run, message, at }: WatchAlert, now: number, named: boolean): string =>
  `last alert, ${durationText(now - at)} ago: ${inertName(message)}${named ? `, ${inertName(run)}` : ''}`;

/** The screen of a watcher, on so many rows. Pure. */
export function watchScreen(view: WatchView, rows: number, options: RenderOptions): Screen {
  const { report, pace, now, stalled, lastAlert, keys } = view;
  const paint = new Ansis(options.colour ? 1 : 0);
  const alert =
    lastAlert === null
      ? []
      : [paint.red(startOf(alertLine(lastAlert, now, (report?.runs.length ?? 0) > 1), options.width))];
  const asLines = (lines: readonly string[]): string[] =>
    lines.slice(0, rows).map((line) => inertOutput(inertButColours(options.ascii ? toAscii(line) : line)));
  if (report === undefined || report.runs.length === 0) {
    const waiting = `waiting for records in ${inertName(view.path)}${keys ? ' · q quit' : ''}`;
    const warning = stalled === null ? [] : [paint.bold.yellow(startOf(`! ${stalled}`, options.width))];
    return {
      lines: asLines([startOf(waiting, options.width), ...warning, ...alert]),
      scrollMost: 0,
      page: 1,
    };
  }
  const several = report.runs.length > 1;
  const watched = report.runs.find(({ id }) => id === pace?.run) ?? report.runs[0]!;
  // Of several runs the worst is shown; the line of state is that of the newest record.
  const shown = report.runs.find(({ id }) => id === report.verdict.run) ?? watched;
  const age = pace === null ? '' : `  last record ${durationText(now - pace.at)} ago`;
  const state = `${stateOf(watched)}${rateOf(watched, pace)}${age}`;
  const [title = '', ...answer] = answerLines(answerOf(shown, report), null, { ...options, rows }, paint);
  const head = [
    startOf(state, options.width),
    ...(stalled === null ? [] : [paint.bold.yellow(startOf(`! ${stalled}`, options.width))]),
    several ? `${title}   ${paint.dim(inertName(shown.id))}` : title,
  ];
  const foot = alert.length + (keys ? 1 : 0);
  const room = Math.max(0, rows - head.length - foot);
  const chartRows = Math.min(room, CHART_MOST, Math.max(CHART_LEAST, Math.round(CHART_SHARE * room)));
  const chart = chartLines(shown, chartRows, { ...options, rows });
  const details = several
    ? [...answer, '', ...runsPage(report, options)]
    : [...answer, '', ...renderTerminal(report, options).trimEnd().split('\n')];
  const page = Math.max(0, room - chart.length - 1);
  const scrollMost = Math.max(0, details.length - page);
  const from = Math.min(scrollMost, Math.max(0, view.scroll));
  const pane = page === 0 ? [] : ['', ...details.slice(from, from + page)];
  const lines = [...head, ...chart, ...pane];
  while (lines.length < rows - foot) lines.push('');
  lines.push(...alert);
  if (keys)
    lines.push(
      paint.dim(
        startOf(
          `q quit · ${options.ascii ? 'arrows' : '↑ ↓'} PgUp PgDn scroll · lines ${from + 1} to ${Math.min(details.length, from + page)} of ${details.length}`,
          options.width,
        ),
      ),
    );
  return { lines: asLines(lines), scrollMost, page: Math.max(1, page) };
}

/** Lines as a terminal draws them over what stands there, without a flicker; one that is too long is cut, not broken. */
export const drawn = (lines: readonly string[]): string =>
  `\u001b[?7l\u001b[H\u001b[J${lines.join('\r\n')}\u001b[?7h`;

const KEYS: readonly (readonly [RegExp, (page: number, most: number, at: number) => number])[] = [
  [/^(?:\u001b[[O]A|k)/, (_, __, at) => at - 1],
  [/^(?:\u001b[[O]B|j|\r|\n)/, (_, __, at) => at + 1],
  [/^(?:\u001b\[5~|b)/, (page, _, at) => at - page],
  [/^(?:\u001b\[6~| )/, (page, _, at) => at + page],
  [/^(?:\u001b[[O]H|\u001b\[[17]~|g)/, () => 0],
  [/^(?:\u001b[[O]F|\u001b\[[48]~|G)/, (_, most) => most],
];
const OTHER_KEY = /^(?:\u001b[[O][\d;]*[ -/]*[@-~]?|[\s\S])/;

/** What was typed: where the screen is scrolled to, and whether it asks to end. */
export function afterKeys(
  typed: string,
  at: number,
  { scrollMost, page }: Pick<Screen, 'scrollMost' | 'page'>,
): { readonly scroll: number; readonly quit: boolean } {
  let scroll = at;
  for (let rest = typed; rest !== ''; ) {
    if (/^q/i.test(rest)) return { scroll, quit: true };
    const [key, move] = KEYS.find(([pattern]) => pattern.test(rest)) ?? [OTHER_KEY, () => scroll];
    scroll = Math.min(scrollMost, Math.max(0, move(page, scrollMost, scroll)));
    rest = rest.slice(key.exec(rest)![0].length);
  }
  return { scroll, quit: false };
}
