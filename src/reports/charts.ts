/**
 * Charts for a terminal, drawn by asciichart. Several series share the axes; of every column the minimum and the
 * maximum are drawn, so that a spike is never averaged away; columns without a finite value are marked; a line of
 * markers below shows onset, recovery and restarts. The result is text: no clock, no terminal is read.
 */
import { Ansis } from 'ansis';
import asciichart from 'asciichart';
import stringWidth from 'string-width';
import { formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { largest, smallest } from '../model/order-statistics.ts';
import type { ChartSeries } from '../model/report.ts';
import { wrap } from './wrap.ts';

export interface ChartMarker {
  readonly step: number;
  /** One column wide. */
  readonly symbol: string;
  readonly label: string;
}

/** What a chart needs of a series: its buckets. */
export type ChartLine = Pick<ChartSeries, 'name' | 'firstStep' | 'lastStep' | 'min' | 'max' | 'nonFinite'>;

/** A line with one value a step; a step without a value of its own (NaN) is a gap, and marked. */
export function lineOfValues(name: string, steps: readonly number[], values: readonly number[]): ChartLine {
  const finite = values.map((value) => (Number.isFinite(value) ? value : Number.NaN));
  return {
    name,
    firstStep: steps,
    lastStep: steps,
    min: finite,
    max: finite,
    nonFinite: finite.map((value) => (Number.isNaN(value) ? 1 : 0)),
  };
}

export interface ChartOptions {
  /** Columns of the whole chart, labels included. */
  readonly width: number;
  /** Rows of the plot itself. Default 10. */
  readonly height?: number;
  readonly scale?: 'auto' | 'log' | 'linear';
  /** Steps shown; default all. */
  readonly from?: number;
  readonly to?: number;
  readonly stepName?: string;
  readonly markers?: readonly ChartMarker[];
  /** A horizontal line, such as a stability limit. */
  readonly limit?: { readonly value: number; readonly label: string };
  readonly colour: boolean;
  readonly ascii: boolean;
}

const ASCII = ['+', '|', '-', '-', '-', '\\', '/', '\\', '/', '|'];
const BOX = ['┤', '┤', '╶', '╴', '─', '╰', '╭', '╮', '╯', '│'];
const LABEL = 9;
const COLOURS = ['cyan', 'yellow', 'magenta', 'green', 'blue', 'red'] as const;
/** A range of more than two decades is drawn on a log scale. */
export const LOG_RATIO = 100;

/** Where a value lies between two others, 0 to 1; also where their distance is too large for a number. */
function shareOf(value: number, low: number, high: number): number {
  if (!(high > low)) return 0;
  const range = high - low;
  const share = Number.isFinite(range) ? (value - low) / range : (value / 2 - low / 2) / (high / 2 - low / 2);
  return Math.min(1, Math.max(0, share));
}

/** What can be drawn of a line: buckets at finite steps, and of them the finite extremes. */
function drawable({ name, firstStep, lastStep, min, max, nonFinite }: ChartLine): ChartLine {
  const at = [...firstStep.keys()].filter(
    (i) => Number.isFinite(firstStep[i]) && Number.isFinite(lastStep[i]),
  );
  const pick = (values: readonly number[]): number[] => at.map((i) => values[i]!);
  const finite = (values: readonly number[]): number[] =>
    pick(values).map((value) => (Number.isFinite(value) ? value : Number.NaN));
  return {
    name,
    firstStep: pick(firstStep),
    lastStep: pick(lastStep),
    min: finite(min),
    max: finite(max),
    nonFinite: pick(nonFinite),
  };
}

interface Column {
  min: number;
  max: number;
  /** Non-finite points in this column. */
  odd: number;
}

/** Puts the buckets of a series into columns by step; a column without points repeats the one before it. */
function columnsOf(series: ChartLine, from: number, to: number, count: number): (Column | undefined)[] {
  const columns = new Array<Column | undefined>(count).fill(undefined);
  const columnAt = (step: number): number => Math.round(shareOf(step, from, to) * (count - 1));
  for (let i = 0; i < series.min.length; i++) {
    const first = series.firstStep[i]!;
    const last = series.lastStep[i]!;
    if (!(last >= from && first <= to)) continue;
    // A wide bucket fills every column that it covers: where in it the extreme lies is not known.
    for (let c = columnAt(Math.max(first, from)); c <= columnAt(Math.min(last, to)); c++) {
      const column = columns[c] ?? { min: Number.NaN, max: Number.NaN, odd: 0 };
      columns[c] = column;
      const min = series.min[i]!;
      const max = series.max[i]!;
      if (!Number.isNaN(min) && !(column.min <= min)) column.min = min;
      if (!Number.isNaN(max) && !(column.max >= max)) column.max = max;
      column.odd += series.nonFinite[i]!;
    }
  }
  const end = columns.findLastIndex((column) => column !== undefined);
  let before: Column | undefined;
  for (let c = 0; c <= end; c++) {
    if (columns[c] === undefined) columns[c] = before && { ...before, odd: 0 };
    else before = columns[c];
  }
  return columns;
}

/**
 * Draws series over steps.
 *
 * @param series series of one unit; those without points in the range are left out
 * @returns lines without a trailing line break; one line that says so where there is nothing to draw
 */
export function drawChart(title: string, series: readonly ChartLine[], options: ChartOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const symbols = options.ascii ? ASCII : BOX;
  const lines = series.map(drawable);
  const steps = lines.flatMap((s) => [...s.firstStep, ...s.lastStep]);
  const from = options.from ?? smallest(steps);
  const to = options.to ?? largest(steps);
  const head = paint.bold(inertName(title));
  if (!(to >= from)) return `${head}: nothing to draw`;

  const plotWidth = Math.max(10, options.width - LABEL - 2);
  const drawn = lines
    .map((s) => ({ name: inertName(s.name), columns: columnsOf(s, from, to, plotWidth) }))
    .filter((s) => s.columns.some((column) => column !== undefined));
  const values = drawn.flatMap((s) =>
    s.columns.flatMap((c) => (c && !Number.isNaN(c.min) ? [c.min, c.max] : [])),
  );
  if (options.limit && values.length > 0) values.push(options.limit.value);
  if (drawn.length === 0) return `${head}: nothing to draw`;
  const oddColumns = new Set(drawn.flatMap((s) => s.columns.flatMap((c, i) => (c && c.odd > 0 ? [i] : []))));

  const low = smallest(values);
  const high = largest(values);
  const log =
    high > 0 &&
    (options.scale === 'log' || (options.scale !== 'linear' && low > 0 && high / low > LOG_RATIO));
  // On a log scale what is not positive has no place; it is drawn on the lowest row and the legend says so.
  const positive = log ? smallest(values.filter((v) => v > 0)) : Number.NaN;
  const scale = (v: number): number => (log ? Math.log10(v > 0 ? v : positive) : v);
  const unscale = (v: number): number => (log ? 10 ** v : v);
  const [bottom, top] = [scale(low), scale(high)];
  const heightOf = (v: number): number => shareOf(scale(v), bottom, top);
  const height = options.height ?? 10;

  const rows = Array.from({ length: height + 1 }, () =>
    Array.from({ length: plotWidth + LABEL + 2 }, (_, column) => (column === LABEL + 1 ? symbols[1]! : ' ')),
  );
  const lay = (
    line: readonly number[],
    present: readonly boolean[],
    colour: (text: string) => string,
  ): void => {
    // The first value sits on asciichart's axis, so it is given twice: every column then has its own cell. The label
    // is one blank under the axis: an empty one would eat the first column.
    const plot = asciichart.plot([line[0]!, ...line], {
      min: 0,
      max: 1,
      height,
      offset: 1,
      format: () => ' ',
      symbols,
    });
    for (const [r, text] of plot.split('\n').entries()) {
      for (const [c, character] of [...text].slice(1).entries()) {
        if (character !== ' ' && present[c] === true) rows[r]![LABEL + 2 + c] = colour(character);
      }
    }
  };
  if (options.limit && values.length > 0) {
    const row = height - Math.round(heightOf(options.limit.value) * height);
    for (let c = 0; c < plotWidth; c++) rows[row]![LABEL + 2 + c] = paint.dim(options.ascii ? '.' : '┄');
  }
  for (const [index, { columns }] of drawn.entries()) {
    const colour = paint[COLOURS[index % COLOURS.length]!];
    const present = columns.map((c) => c !== undefined && !Number.isNaN(c.min));
    for (const bound of ['min', 'max'] as const) {
      let carried = 0;
      const line = columns.map((c) => {
        if (c !== undefined && !Number.isNaN(c[bound])) carried = heightOf(c[bound]);
        return carried;
      });
      if (present.includes(true)) lay(line, present, colour);
    }
  }
  for (const [row, cells] of rows.entries()) {
    const share = (height - row) / height;
    // Of one value alone the axis goes up by one.
    const value = top > bottom ? bottom * (1 - share) + top * share : bottom + share;
    const label = values.length === 0 ? '' : formatNumber(unscale(value));
    for (const [i, character] of [...label.padStart(LABEL)].entries()) cells[i] = character;
  }

  const picture = [
    `${head}${log ? paint.dim(' (log scale)') : ''}`,
    ...legend(drawn, options.width, paint),
    ...rows.map((row) => row.join('').trimEnd()),
  ];
  const indent = ' '.repeat(LABEL + 1);
  if (oddColumns.size > 0) {
    const cross = options.ascii ? 'x' : '×';
    const row = Array.from({ length: plotWidth }, (_, c) => (oddColumns.has(c) ? cross : ' ')).join('');
    picture.push(`${indent} ${paint.red(row.trimEnd())}`);
  }
  picture.push(...axis(from, to, plotWidth, options, indent));
  picture.push(...markerLines(options.markers ?? [], from, to, plotWidth, indent, paint));
  const remarks = [
    ...(oddColumns.size > 0 ? [`${options.ascii ? 'x' : '×'} non-finite (NaN or Inf)`] : []),
    ...(log && low <= 0 ? [`values ${options.ascii ? '<=' : '≤'} 0 are drawn on the lowest row`] : []),
    ...(options.limit && values.length > 0
      ? [`${options.ascii ? '.' : '┄'} ${options.limit.label} ${formatNumber(options.limit.value)}`]
      : []),
  ];
  picture.push(...flow(remarks, plotWidth).map((line) => `${indent} ${line}`));
  return picture.join('\n');
}

/** The start of a text that fits into so many columns. */
function startOf(text: string, width: number): string {
  let start = '';
  for (const character of text) {
    if (stringWidth(start + character) > width) break;
    start += character;
  }
  return start;
}

/** Which colour is which series, in as many lines as it takes; one series needs none. */
function legend(drawn: readonly { name: string }[], width: number, paint: Ansis): string[] {
  if (drawn.length < 2) return [];
  const lines: string[] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const [i, { name }] of drawn.entries()) {
    const room = width - LABEL - 4;
    const shown = stringWidth(name) <= room ? name : `${startOf(name, room - 1)}~`;
    const text = paint[COLOURS[i % COLOURS.length]!](`- ${shown}`);
    const size = stringWidth(shown) + 2;
    if (used + 2 + size <= width) {
      lines[lines.length - 1] += `  ${text}`;
      used += 2 + size;
    } else {
      lines.push(`${' '.repeat(LABEL + 2)}${text}`);
      used = LABEL + 2 + size;
    }
  }
  return lines;
}

/** The step axis: a line with ticks at round steps, and at both ends where there is room. */
function axis(from: number, to: number, width: number, options: ChartOptions, indent: string): string[] {
  const columnAt = (step: number): number => Math.round(shareOf(step, from, to) * (width - 1));
  const line = new Array<string>(width).fill(options.ascii ? '-' : '─');
  const labels = new Array<string>(width).fill(' ');
  for (const step of [from, ...roundSteps(from, to, Math.max(1, Math.floor(width / 14))), to]) {
    const text = stepText(step);
    const column = columnAt(step);
    const start = Math.max(0, Math.min(width - text.length, column - Math.floor(text.length / 2)));
    if (labels.slice(Math.max(0, start - 2), start + text.length + 2).some((character) => character !== ' '))
      continue;
    line[column] = options.ascii ? '+' : '┴';
    labels.splice(start, text.length, ...text);
  }
  const name = options.stepName ?? 'step';
  return [
    `${indent}${options.ascii ? '+' : '└'}${line.join('')}`,
    `${name.padStart(LABEL)}  ${labels.join('').trimEnd()}`,
  ];
}

/** Multiples of 1, 2 or 5 × 10^k strictly between two steps, at most `most` of them. */
function roundSteps(from: number, to: number, most: number): number[] {
  if (!(to > from)) return [];
  const raw = (to - from) / most;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const stride = magnitude * ([1, 2, 5, 10].find((m) => m * magnitude >= raw) ?? 10);
  const found: number[] = [];
  for (let k = Math.floor(from / stride) + 1; k * stride < to && found.length <= most; k++)
    found.push(k * stride);
  return found;
}

const stepText = (step: number): string =>
  Math.abs(step) >= 1e9
    ? formatNumber(step)
    : step.toLocaleString('en-US', { maximumFractionDigits: 2, signDisplay: 'negative' });

/** Remarks beside each other, in lines that fit. */
function flow(remarks: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const remark of remarks.flatMap((one) => wrap(one, width, ''))) {
    const last = lines.at(-1);
    if (last !== undefined && stringWidth(last) + 3 + stringWidth(remark) <= width)
      lines[lines.length - 1] = `${last}   ${remark}`;
    else lines.push(remark);
  }
  return lines;
}

/** One row of symbols under the axis, then what each means. */
function markerLines(
  markers: readonly ChartMarker[],
  from: number,
  to: number,
  width: number,
  indent: string,
  paint: Ansis,
): string[] {
  const shown = markers.filter((m) => m.step >= from && m.step <= to);
  if (shown.length === 0) return [];
  const row = Array.from({ length: width }, () => ' ');
  for (const { step, symbol } of shown) {
    row[Math.round(shareOf(step, from, to) * (width - 1))] = symbol;
  }
  const words = shown.map((m) => `${m.symbol} ${m.label}`);
  const lines = flow(words.slice(0, 8), width);
  if (words.length > 8) lines.push(`and ${words.length - 8} more`);
  return [`${indent} ${paint.bold(row.join('').trimEnd())}`, ...lines.map((line) => `${indent} ${line}`)];
}
