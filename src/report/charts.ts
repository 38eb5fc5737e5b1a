/**
 * Charts for a terminal, drawn by asciichart. Several series share the axes. Each is a line through the middle of its
 * columns over a light shade from their minimum to their maximum, so that a spike is never averaged away; columns without
 * a finite value are marked; marks below show onset, recovery and restarts. The axis has decades or round numbers. The
 * result is text: no clock, no terminal is read.
 */
import { Ansis } from 'ansis';
import asciichart from 'asciichart';
import { formatNumber, formatStep } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { largest, smallest } from '../model/order-statistics.ts';
import type { ChartSeries } from '../model/report.ts';
import { chartScale } from './chart-scale.ts';
import { textWidth } from './text-width.ts';
import { startOf, wrap } from './wrap.ts';

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
  /** Rows of the plot itself, at most. Default 11. */
  readonly height?: number;
  /** Puts the title next to the top of the axis instead of above the chart, which saves a row. */
  readonly titleBeside?: boolean;
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
const ROWS = 11;
/** Distinguishes series without colours. */
const POINTS = ['●', '■', '▲', '◆', '○', '□'] as const;
const ASCII_POINTS = ['o', 'x', '*', '#', '@', '%'] as const;
/** Columns from one such point to the next of the same series. */
const POINT_EVERY = 18;
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
  /** Middles of its buckets, each between minimum and maximum, and how many there are. */
  middles: number[];
  /** Non-finite points in this column. */
  odd: number;
}

/** Puts the buckets of a series into columns by step; a column without points repeats the one before it. */
function columnsOf(
  series: ChartLine,
  from: number,
  to: number,
  count: number,
  middleOf: (min: number, max: number) => number,
): (Column | undefined)[] {
  const columns = new Array<Column | undefined>(count).fill(undefined);
  const columnAt = (step: number): number => Math.round(shareOf(step, from, to) * (count - 1));
  for (let i = 0; i < series.min.length; i++) {
    const first = series.firstStep[i]!;
    const last = series.lastStep[i]!;
    if (!(last >= from && first <= to)) continue;
    // A wide bucket fills every column that it covers: where in it the extreme lies is not known.
    for (let c = columnAt(Math.max(first, from)); c <= columnAt(Math.min(last, to)); c++) {
      const column = columns[c] ?? { min: Number.NaN, max: Number.NaN, middles: [], odd: 0 };
      columns[c] = column;
      const min = series.min[i]!;
      const max = series.max[i]!;
      if (!Number.isNaN(min) && !(column.min <= min)) column.min = min;
      if (!Number.isNaN(max) && !(column.max >= max)) column.max = max;
      if (!Number.isNaN(min) && !Number.isNaN(max)) column.middles.push(middleOf(min, max));
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

/** Minimum and maximum of all columns of all series. */
const extremesOf = (lines: readonly ChartLine[], from: number, to: number): number[] =>
  lines.flatMap(({ firstStep, lastStep, min, max }) =>
    min.flatMap((low, i) =>
      lastStep[i]! >= from && firstStep[i]! <= to
        ? [low, max[i]!].filter((value) => !Number.isNaN(value))
        : [],
    ),
  );

/** A series in columns. */
interface Drawn {
  readonly name: string;
  readonly columns: readonly (Column | undefined)[];
}

/** What a chart is drawn on: one cell for each row, the top one first, and column. */
interface Canvas {
  readonly cells: string[][];
  readonly scale: ReturnType<typeof chartScale>;
  readonly paint: Ansis;
  readonly options: ChartOptions;
}

const colourOf = (paint: Ansis, index: number) => paint[COLOURS[index % COLOURS.length]!];
const shadeOf = ({ ascii }: ChartOptions): string => (ascii ? ':' : '░');

const isLog = (low: number, high: number, asked: ChartOptions['scale']): boolean =>
  high > 0 && (asked === 'log' || (asked !== 'linear' && low > 0 && high / low > LOG_RATIO));

/**
 * Draws series over steps.
 *
 * @param series series of one unit; those without points in the range are left out
 * @returns lines without a trailing line break; one line that says so where there is nothing to draw
 */
export function drawChart(title: string, series: readonly ChartLine[], options: ChartOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const lines = series.map(drawable);
  const steps = lines.flatMap((s) => [...s.firstStep, ...s.lastStep]);
  const from = options.from ?? smallest(steps);
  const to = options.to ?? largest(steps);
  const head = paint.bold(inertName(title));
  if (!(to >= from)) return `${head}: nothing to draw`;

  const values = extremesOf(lines, from, to);
  const limit = values.length > 0 ? options.limit : undefined;
  if (limit) values.push(limit.value);
  const [low, high] = [smallest(values), largest(values)];
  const log = isLog(low, high, options.scale);
  // On a log scale what is not positive has no place; it is drawn on the lowest row and the remarks say so.
  const rows = Math.max(2, options.height ?? ROWS);
  const scale = chartScale(low, high, rows, log, smallest(values.filter((value) => value > 0)));
  const { height, rowOf } = scale;

  const labels = Array.from({ length: height + 1 }, (_, row) =>
    values.length === 0 ? '' : scale.labelOf(height - row),
  );
  const beside = options.titleBeside === true && textWidth(title) <= options.width / 4;
  const gutter = beside
    ? Math.max(LABEL, textWidth(title) + 1 + Math.max(...labels.map((label) => label.length)))
    : LABEL;
  const plotWidth = Math.max(10, options.width - gutter - 2);
  const drawn = lines
    .map((s) => ({
      name: inertName(s.name),
      columns: columnsOf(s, from, to, plotWidth, (min, max) => (rowOf(min) + rowOf(max)) / 2),
    }))
    .filter((s) => s.columns.some((column) => column !== undefined));
  if (drawn.length === 0) return `${head}: nothing to draw`;

  const cells = Array.from({ length: height + 1 }, () => new Array<string>(plotWidth).fill(' '));
  const canvas: Canvas = { cells, scale, paint, options };
  if (limit) cells[height - Math.round(rowOf(limit.value))]!.fill(paint.dim(options.ascii ? '.' : '┄'));
  // All shades first: none lies on a line.
  for (const [index, { columns }] of drawn.entries()) drawShades(canvas, columns, index);
  for (const [index, { columns }] of drawn.entries()) drawLine(canvas, columns, index, drawn.length);

  const indent = ' '.repeat(gutter + 1);
  const bar = options.ascii ? '|' : '│';
  const tick = (options.ascii ? ASCII : BOX)[1]!;
  // A line may lie on all of them.
  const shaded = cells.some((row) => row.some((cell) => cell.includes(shadeOf(options))));
  const legendOfShade = shaded ? `${shadeOf(options)} range in each column` : undefined;
  const odd = oddColumns(drawn, plotWidth, options);
  return [
    ...(beside ? [] : [`${head}${log ? paint.dim(' (log scale)') : ''}`]),
    ...legend(drawn, options, paint),
    ...cells.map((row, r) => {
      const label = labels[r]!;
      const left =
        beside && r === 0 ? `${head}${label.padStart(gutter - textWidth(title))}` : label.padStart(gutter);
      return `${left} ${label === '' ? bar : tick}${row.join('')}`.trimEnd();
    }),
    ...(odd === '' ? [] : [`${indent} ${paint.red(odd)}`]),
    ...axis(from, to, plotWidth, options, indent),
    ...markerLines(options.markers ?? [], from, to, plotWidth, indent, paint, legendOfShade),
    ...flow(remarksOn(odd !== '', log && low <= 0, limit, options), plotWidth).map(
      (line) => `${indent} ${line}`,
    ),
  ].join('\n');
}

/** What the marks in a chart mean. */
const remarksOn = (
  hasOdd: boolean,
  hasLowest: boolean,
  limit: ChartOptions['limit'],
  { ascii }: ChartOptions,
): string[] => [
  ...(hasOdd ? [`${ascii ? 'x' : '×'} non-finite (NaN or Inf)`] : []),
  ...(hasLowest ? [`values ${ascii ? '<=' : '≤'} 0 are drawn on the lowest row`] : []),
  ...(limit ? [`${ascii ? '.' : '┄'} ${limit.label} ${formatNumber(limit.value)}`] : []),
];

/** A mark under each column with a point that is not finite; empty without any. */
function oddColumns(drawn: readonly Drawn[], width: number, { ascii }: ChartOptions): string {
  const isOdd = (c: number): boolean => drawn.some(({ columns }) => (columns[c]?.odd ?? 0) > 0);
  const cross = ascii ? 'x' : '×';
  return Array.from({ length: width }, (_, c) => (isOdd(c) ? cross : ' '))
    .join('')
    .trimEnd();
}

/** Shades each column of a series from its minimum to its maximum. */
function drawShades(
  { cells, scale, paint, options }: Canvas,
  columns: readonly (Column | undefined)[],
  index: number,
): void {
  const cell = paint.dim(colourOf(paint, index)(shadeOf(options)));
  for (const [c, column] of columns.entries()) {
    if (column === undefined || Number.isNaN(column.min) || Number.isNaN(column.max)) continue;
    const [bottom, top] = [Math.round(scale.rowOf(column.min)), Math.round(scale.rowOf(column.max))];
    if (top > bottom) for (let row = bottom; row <= top; row++) cells[scale.height - row]![c] = cell;
  }
}

/** Draws a series as a line through the middles of its columns. @param count series in the chart */
function drawLine(
  { cells, scale: { height }, paint, options }: Canvas,
  columns: readonly (Column | undefined)[],
  index: number,
  count: number,
): void {
  const middles = columns.map((column) =>
    column === undefined || column.middles.length === 0
      ? undefined
      : column.middles.reduce((sum, middle) => sum + middle, 0) / column.middles.length,
  );
  if (middles.every((middle) => middle === undefined)) return;
  // Where it has no value the line is drawn level and left out.
  let carried = middles.find((middle) => middle !== undefined)!;
  const line = middles.map((middle) => {
    carried = middle ?? carried;
    return carried / height;
  });
  // The first value sits on asciichart's axis, so it is given twice: every column then has its own cell. The label
  // is one blank under the axis: an empty one would eat the first column.
  const plot = asciichart.plot([line[0]!, ...line], {
    min: 0,
    max: 1,
    height,
    offset: 1,
    format: () => ' ',
    symbols: options.ascii ? ASCII : BOX,
  });
  const points = options.ascii ? ASCII_POINTS : POINTS;
  for (const [r, text] of plot.split('\n').entries())
    for (const [c, character] of [...text].slice(1).entries()) {
      if (character === ' ' || middles[c] === undefined) continue;
      // Without colour a point now and then says whose line it is; series take turns.
      const marked =
        count > 1 &&
        !options.colour &&
        (c - index * 3 - 2) % POINT_EVERY === 0 &&
        height - r === Math.round(middles[c]);
      cells[r]![c] = marked ? points[index % points.length]! : colourOf(paint, index)(character);
    }
}

/** Which colour, or which point, is which series, in as many lines as it takes; one series needs none. */
function legend(
  drawn: readonly { name: string }[],
  { width, colour, ascii }: ChartOptions,
  paint: Ansis,
): string[] {
  if (drawn.length < 2) return [];
  const points = ascii ? ASCII_POINTS : POINTS;
  const lines: string[] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const [i, { name }] of drawn.entries()) {
    const room = width - LABEL - 4;
    const shown = textWidth(name) <= room ? name : `${startOf(name, room - 1)}~`;
    const text = paint[COLOURS[i % COLOURS.length]!](`${colour ? '-' : points[i % points.length]} ${shown}`);
    const size = textWidth(shown) + 2;
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
    const text = formatStep(step);
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
    `${name.padStart(indent.length - 1)}  ${labels.join('').trimEnd()}`,
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

/** Remarks next to each other, in lines that fit. */
function flow(remarks: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const remark of remarks.flatMap((one) => wrap(one, width, ''))) {
    const last = lines.at(-1);
    if (last !== undefined && textWidth(last) + 3 + textWidth(remark) <= width)
      lines[lines.length - 1] = `${last}   ${remark}`;
    else lines.push(remark);
  }
  return lines;
}

/** Marks that have a place of their own, at most. */
const MARKS = 8;

/**
 * Marks under their steps, each with its label on the side where there is room, else on the next line. Marks after the eighth
 * are counted. A remark is at an end of a line where there is room.
 */
function markerLines(
  markers: readonly ChartMarker[],
  from: number,
  to: number,
  width: number,
  indent: string,
  paint: Ansis,
  remark?: string,
): string[] {
  const shown = markers
    .filter((m) => m.step >= from && m.step <= to)
    .map((m) => ({ ...m, column: Math.round(shareOf(m.step, from, to) * (width - 1)) }));
  const lines: { text: string; start: number }[][] = [];
  const marks = shown.slice(0, MARKS);
  const isFree = (line: (typeof lines)[number], { start, text }: { text: string; start: number }): boolean =>
    line.every((one) => start > one.start + textWidth(one.text) || start + textWidth(text) < one.start);
  for (const [i, { symbol, label, column }] of marks.entries()) {
    const size = textWidth(label);
    const right = { text: `${symbol} ${label}`, start: column };
    const left = { text: `${label} ${symbol}`, start: column - size - 1 };
    // The mark that comes next keeps its place.
    const next = marks[i + 1]?.column ?? width + 2;
    const sides = (column + size + 4 <= next ? [right, left] : [left, right]).filter(
      ({ start }) => start >= 0 && start + size + 2 <= width,
    );
    if (sides.length === 0) sides.push({ text: symbol, start: column });
    const line = lines.find((one) => sides.some((side) => isFree(one, side)));
    if (line === undefined) lines.push([sides[0]!]);
    else line.push(sides.find((side) => isFree(line, side))!);
  }
  if (remark !== undefined) {
    const ends = [Math.max(0, width - textWidth(remark)), 0].map((start) => ({ text: remark, start }));
    const line = lines.find((one) => ends.some((end) => isFree(one, end)));
    if (line === undefined) lines.push([ends[0]!]);
    else line.push(ends.find((end) => isFree(line, end))!);
  }
  const more = shown.length - MARKS;
  return [
    ...lines.map((line) => {
      let text = '';
      for (const one of line.sort((a, b) => a.start - b.start))
        text += ' '.repeat(one.start - textWidth(text)) + one.text;
      return `${indent} ${paint.bold(text)}`;
    }),
    ...(more > 0 ? [`${indent} and ${more} more`] : []),
  ];
}
