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
import { answerLines, CHART_FRAME, chartLines, markOf } from '../../report/brief.ts';
import { answerOf, HEALTHY_TITLE } from '../../report/brief-answer.ts';
import { type Mood, moodPaint } from '../../report/class-paint.ts';
import type { RenderOptions } from '../../report/format.ts';
import { type Answered, GRAVITY, worstFirst } from '../../report/kilobyte-brief.ts';
import { runsPage } from '../../report/runs-page.ts';
import { shortNames } from '../../report/short-names.ts';
import { renderTerminal } from '../../report/terminal.ts';
import { textWidth } from '../../report/text-width.ts';
import { startOf } from '../../report/wrap.ts';
import { rateText } from '../cli/duration.ts';
import { type Stall, stallWords } from '../engine/watch-alerts.ts';

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

/** What a look printed: where the run is, its loss, its speed and its answer; of several runs how many are bad, and a line for each of these. */
export function watchLine(report: Report, pace: WatchPace | null, stalls: readonly Stall[] = []): string {
  const [run] = report.runs;
  if (report.runs.length > 1) {
    const { heading, lines } = badRuns(report, pace, stalls);
    return [
      heading,
      ...lines.map(({ run: { id }, words, state }) => `${inertName(id)}  ${words}  ${state}`),
    ].join('\n');
  }
  return run === undefined ? '' : `${stateOf(run)}${rateOf(run, pace)}  ${answerOf(run, report).title}`;
}

interface BadRun {
  readonly run: RunReport;
  readonly mood: Mood;
  /** What is wrong: the title of its answer, or that it stalled. */
  readonly words: string;
  readonly state: string;
}

/** How many of several runs are bad, and these, the worst first; after them the ones that stalled. */
function badRuns(
  report: Report,
  pace: WatchPace | null,
  stalls: readonly Stall[],
): { readonly heading: string; readonly lines: readonly BadRun[] } {
  const silent = new Map(stalls.map((stall) => [stall.run, stall]));
  const all = worstFirst(report);
  /** A warning next to a healthy loss is no reason to look at this run among many. */
  const moodOf = ({ answer }: Answered): Mood => (answer.title === HEALTHY_TITLE ? 'good' : answer.mood);
  const line = (one: Answered): BadRun => {
    const { run, answer } = one;
    const stall = silent.get(run.id);
    const stalled = stall === undefined ? [] : [`STALLED for ${stall.since}`];
    const mood = moodOf(one);
    return {
      run,
      mood: mood === 'good' ? 'doubtful' : mood,
      words: [...(mood === 'good' ? [] : [answer.title]), ...stalled].join(', '),
      state: `${stateOf(run)}${rateOf(run, pace)}`,
    };
  };
  const count = (mood: Mood): number => all.filter((one) => moodOf(one) === mood).length;
  const counts = [
    `${formatCount(count('bad'))} bad`,
    ...(count('doubtful') > 0 ? [`${formatCount(count('doubtful'))} doubtful`] : []),
    ...(silent.size > 0 ? [`${formatCount(silent.size)} stalled`] : []),
  ];
  const named = all.filter((one) => moodOf(one) !== 'good' || silent.has(one.run.id)).map(line);
  return {
    heading: `${formatCount(all.length)} runs, ${counts.join(', ')}`,
    lines: named.sort((a, b) => GRAVITY[a.mood] - GRAVITY[b.mood]),
  };
}

/** An alert as the screen shows it. */
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
  /** Runs whose records stopped coming. */
  readonly stalls: readonly Stall[];
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

/** A text in so many columns; one that is longer ends after a whole word: `step 4` is not step 401. */
function inWords(text: string, { width, ascii }: RenderOptions): string {
  if (textWidth(text) <= width) return text;
  const mark = ascii ? '...' : '…';
  const start = startOf(text, width - mark.length - 1);
  const end = start.lastIndexOf(' ');
  return startOf(`${end > 0 ? start.slice(0, end) : start} ${mark}`, width);
}

const stallLine = (stalls: readonly Stall[], paint: Ansis, options: RenderOptions): string[] =>
  stalls.length === 0 ? [] : [paint.bold.yellow(inWords(`! STALLED: ${stallWords(stalls[0]!)}`, options))];

interface Head {
  readonly lines: readonly string[];
  /** The run that the chart and the answer are of: the one of the first line that names a run. */
  readonly shown: RunReport;
  /** Bad runs that the head had no room for, for the part that scrolls. */
  readonly left: readonly string[];
}

/** The state of one run, and that it stalled. */
function headOfOne(
  run: RunReport,
  { pace, now, stalls }: WatchView,
  options: RenderOptions,
  paint: Ansis,
): Head {
  const age = pace === null ? '' : `  last record ${durationText(now - pace.at)} ago`;
  return {
    lines: [
      inWords(`${stateOf(run)}${rateOf(run, pace)}${age}`, options),
      ...stallLine(stalls, paint, options),
    ],
    shown: run,
    left: [],
  };
}

/** A line and as many of the parts of a state as have room: half a part says nothing. */
function fitting(start: string, state: string, options: RenderOptions): string {
  let line = start;
  for (const part of state.split('  ')) {
    if (textWidth(line) + textWidth(part) + 2 > options.width) break;
    line += `  ${part}`;
  }
  return inWords(line, options);
}

/** Rows of a screen that lines of bad runs may take. */
const BAD_SHARE = 0.3;

/** How many runs there are and how many are bad, and a line for each of these; without any, one for the run of the newest record. */
function headOfMany(view: WatchView, rows: number, options: RenderOptions, paint: Ansis): Head {
  const { width } = options;
  const { pace, now, stalls } = view;
  const report = view.report!;
  const { heading, lines: bad } = badRuns(report, pace, stalls);
  const age = pace === null ? '' : `  last record ${durationText(now - pace.at)} ago`;
  const newest = report.runs.find(({ id }) => id === pace?.run) ?? report.runs[0]!;
  const named: readonly BadRun[] =
    bad.length > 0
      ? bad
      : [
          {
            run: newest,
            mood: 'good',
            words: answerOf(newest, report).title,
            state: `${stateOf(newest)}${rateOf(newest, pace)}`,
          },
        ];
  const names = named.map(({ run }) => inertName(run.id));
  // A mark of what is left out has two columns more in ASCII, and a name two of them at most.
  const most = Math.floor(width / 3) - (options.ascii ? 4 : 0);
  const shortened = shortNames(names, Math.min(most, Math.max(...names.map(textWidth)))).map((name) =>
    options.ascii ? toAscii(name) : name,
  );
  const nameWidth = Math.max(...shortened.map(textWidth));
  const texts = named.map(({ mood, words, state }, i) => {
    const name = `${shortened[i]!}${' '.repeat(Math.max(0, nameWidth - textWidth(shortened[i]!)))}`;
    return moodPaint(paint, mood)(fitting(`${markOf(mood, options)} ${name}  ${words}`, state, options));
  });
  const room = Math.max(1, Math.floor(BAD_SHARE * rows));
  const kept = texts.length <= room ? texts.length : Math.max(1, room - 1);
  const more = texts.length - kept;
  return {
    lines: [
      paint.bold(inWords(`${heading}${age}`, options)),
      ...texts.slice(0, kept),
      ...(more > 0 ? [inWords(`  and ${formatCount(more)} more, below the chart`, options)] : []),
    ],
    shown: named[0]!.run,
    left: texts.slice(kept),
  };
}

/** The screen of a watcher, on so many rows. Pure. */
export function watchScreen(view: WatchView, rows: number, options: RenderOptions): Screen {
  const { report, now, stalls, lastAlert, keys } = view;
  const paint = new Ansis(options.colour ? 1 : 0);
  const alert =
    lastAlert === null
      ? []
      : [paint.red(inWords(alertLine(lastAlert, now, (report?.runs.length ?? 0) > 1), options))];
  const asLines = (lines: readonly string[]): string[] =>
    lines.slice(0, rows).map((line) => inertOutput(inertButColours(options.ascii ? toAscii(line) : line)));
  if (report === undefined || report.runs.length === 0) {
    const waiting = `waiting for records in ${inertName(view.path)}${keys ? ' · q quit' : ''}`;
    return {
      lines: asLines([inWords(waiting, options), ...stallLine(stalls, paint, options), ...alert]),
      scrollMost: 0,
      page: 1,
    };
  }
  const several = report.runs.length > 1;
  const {
    lines: top,
    shown,
    left,
  } = several ? headOfMany(view, rows, options, paint) : headOfOne(report.runs[0]!, view, options, paint);
  const said = answerOf(shown, report);
  const [title = '', ...answer] = answerLines(said, said.parts, { ...options, rows }, paint);
  const head = several ? top : [...top, title];
  const foot = alert.length + (keys ? 1 : 0);
  const room = Math.max(0, rows - head.length - foot);
  const chartRows = Math.min(room, CHART_MOST, Math.max(CHART_LEAST, Math.round(CHART_SHARE * room)));
  const chart = chartLines(shown, chartRows, { ...options, rows });
  const details = several
    ? [...left, ...(left.length > 0 ? [''] : []), title, ...answer, '', ...runsPage(report, options)]
    : [...answer, '', ...renderTerminal(report, options).trimEnd().split('\n')];
  const page = Math.max(0, room - chart.length - 1);
  const scrollMost = Math.max(0, details.length - page);
  const from = Math.min(scrollMost, Math.max(0, view.scroll));
  const pane = page === 0 ? [] : ['', ...details.slice(from, from + page)];
  const lines = [...head, ...chart, ...pane];
  while (lines.length < rows - foot) lines.push('');
  lines.push(...alert);
  if (keys) {
    const last = Math.min(details.length, from + page);
    const move = options.ascii ? 'arrows' : '↑ ↓';
    lines.push(
      paint.dim(
        inWords(
          `q quit · ${move} PgUp PgDn scroll · lines ${from + 1} to ${last} of ${details.length}`,
          options,
        ),
      ),
    );
  }
  return { lines: asLines(lines), scrollMost, page: Math.max(1, page) };
}

/** Lines as a terminal draws them over what is there, without a flicker; one that is too long is cut, not broken. */
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
