/** What the HTML report draws: groups of lines with markers and limits, small enough to be inlined. */
import { decidingSeries } from '../model/deciding-series.ts';
import { largest, smallest } from '../model/order-statistics.ts';
import type { ReplayEntry } from '../model/replay.ts';
import type { ChartSeries, RunReport } from '../model/report.ts';
import { type ChartLine, LOG_RATIO, lineOfValues } from './charts.ts';
import { RATIO_TITLE, ratioLines } from './ratio-chart.ts';
import { replayLabel } from './replay-label.ts';
import { eventsOf, leadingEvents, type RunEvent } from './run-events.ts';
import { ratiosOf } from './why.ts';

/** Stretch of a line whose steps only rise; a restart begins a new one. */
export interface LinePart {
  readonly x: readonly number[];
  /** Smallest and largest finite value of a bucket; null where it has none. Without `lo` each is that of `hi`. */
  readonly lo?: readonly (number | null)[];
  readonly hi: readonly (number | null)[];
  /** Steps of buckets with values that are not finite. */
  readonly odd: readonly number[];
}

export interface DrawnLine {
  readonly name: string;
  readonly parts: readonly LinePart[];
}

export interface HtmlChart {
  readonly title: string;
  readonly lines: readonly DrawnLine[];
  readonly marks: readonly RunEvent[];
  /** Incidents that have no mark, to say so. */
  readonly unmarked: number;
  readonly limits: readonly { readonly value: number; readonly label: string }[];
  /** Starts with a logarithmic axis. */
  readonly log: boolean;
  /** Points that the lines represent, and buckets that are drawn. */
  readonly points: number;
  readonly drawn: number;
  /** Lines that were left out, to say so. */
  readonly left: number;
}

/** Twice the pixels of a wide chart: no bucket is narrower than half a pixel. */
export const MAX_BUCKETS = 1000;
const MAX_LINES = 8;
/** Marks of a chart; what decides the verdict comes first. */
const MAX_MARKS = 40;

/** From what is exact to what says least. */
const MODES: readonly ReplayEntry['mode'][] = ['closed-loop', 'open-loop', 'as-recorded'];

/** Five digits are finer than a pixel. */
const DIGITS = 5;

/** A value in so many digits. A quotient of two whole numbers below 2^53 is the number nearest to its decimals, as parsing them gives. */
function short(value: number): number {
  const size = Math.floor(Math.log10(Math.abs(value)));
  const unit = 10 ** Math.abs(DIGITS - 1 - size);
  // Far from 1 a power of ten is not exact; 0 and what is not finite have no size.
  if (!(size > -15 && size < 20)) return Number(value.toPrecision(DIGITS));
  return size < DIGITS ? Math.round(value * unit) / unit : Math.round(value / unit) * unit;
}

/** Joins neighbouring buckets of a series until at most so many are left; splits where steps go back. */
function drawnLine(series: ChartLine, buckets: number): DrawnLine {
  const size = Math.ceil(series.firstStep.length / buckets);
  const parts: { x: number[]; lo: (number | null)[]; hi: (number | null)[]; odd: number[] }[] = [];
  let before = Number.POSITIVE_INFINITY;
  for (let from = 0; from < series.firstStep.length; ) {
    const first = series.firstStep[from]!;
    // A new part also where steps repeat: the x of a part must rise.
    if (!(first > before)) parts.push({ x: [], lo: [], hi: [], odd: [] });
    let lo = Number.NaN;
    let hi = Number.NaN;
    let odd = 0;
    let last = first;
    let k = from;
    for (; k < Math.min(from + size, series.firstStep.length); k++) {
      if (k > from && !(series.firstStep[k]! >= last)) break;
      if (!(lo <= series.min[k]!)) lo = Number.isNaN(series.min[k]!) ? lo : series.min[k]!;
      if (!(hi >= series.max[k]!)) hi = Number.isNaN(series.max[k]!) ? hi : series.max[k]!;
      odd += series.nonFinite[k]!;
      last = series.lastStep[k]!;
    }
    const part = parts[parts.length - 1]!;
    part.x.push(first);
    part.lo.push(Number.isNaN(lo) ? null : short(lo));
    part.hi.push(Number.isNaN(hi) ? null : short(hi));
    if (odd > 0) part.odd.push(first);
    before = last;
    from = k;
  }
  return {
    name: series.name,
    parts: parts.map(({ lo, ...part }) =>
      lo.every((low, i) => low === part.hi[i]) ? part : { ...part, lo },
    ),
  };
}

function chart(
  title: string,
  lines: readonly DrawnLine[],
  points: number,
  marks: readonly RunEvent[],
  limits: HtmlChart['limits'] = [],
): HtmlChart | undefined {
  const drawable = lines.filter((line) => line.parts.some(({ x }) => x.length > 0));
  if (drawable.length === 0) return undefined;
  const shown = drawable.slice(0, MAX_LINES);
  let [lowest, highest, drawn] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const { parts } of shown)
    for (const { lo, hi } of parts) {
      drawn += hi.length;
      for (const value of lo ?? hi) if (value !== null && value < lowest) lowest = value;
      for (const value of hi) if (value !== null && value > highest) highest = value;
    }
  return {
    title,
    lines: shown,
    marks: marks.slice(0, MAX_MARKS),
    unmarked: Math.max(0, marks.length - MAX_MARKS),
    limits,
    log: lowest > 0 && highest / lowest > LOG_RATIO,
    points,
    drawn,
    left: drawable.length - shown.length,
  };
}

/** A column that repeats the step axis shows nothing. */
const isStep = (series: ChartSeries): boolean =>
  series.min.every((value, i) => value === series.firstStep[i]) &&
  series.max.every((value, i) => value === series.lastStep[i]);

/** What charts mark: first what decides the verdict, with its steps, then other incidents by their class. */
function marksOf(run: RunReport): RunEvent[] {
  const leading = leadingEvents(run);
  const told = new Set(leading.map(({ step }) => step));
  return [...leading, ...eventsOf(run).filter(({ step, kind }) => kind === 'onset' && !told.has(step))];
}

/**
 * The charts of a run, in the order they are read: that of the series that decided comes first.
 *
 * @param buckets of a line, at most
 */
export function chartsOf(run: RunReport, buckets = MAX_BUCKETS): HtmlChart[] {
  const marks = marksOf(run);
  const line = (one: ChartLine): DrawnLine => drawnLine(one, buckets);
  const ofRoles = (title: string, ...roles: readonly ChartSeries['role'][]): HtmlChart | undefined => {
    const series = roles.flatMap((role) =>
      run.series.filter((s) => s.role === role && s.points > 0 && !isStep(s)),
    );
    const points = series.slice(0, MAX_LINES).reduce((sum, s) => sum + s.points, 0);
    return chart(title, series.map(line), points, marks);
  };
  const ofReplay = (
    title: string,
    values: (entry: ReplayEntry) => readonly number[] | null,
  ): HtmlChart | undefined => {
    // Lines have to fit: what is exact comes first.
    const entries = run.replay
      .filter((entry) => values(entry) !== null)
      .sort((a, b) => MODES.indexOf(a.mode) - MODES.indexOf(b.mode));
    const lines = entries.map((entry) =>
      line(
        lineOfValues(
          `${replayLabel(entry)} (${entry.mode})`,
          entry.steps.slice(0, values(entry)!.length),
          values(entry)!,
        ),
      ),
    );
    const points = entries.slice(0, MAX_LINES).reduce((sum, entry) => sum + values(entry)!.length, 0);
    return chart(title, lines, points, marks);
  };
  const charts = [
    ofRoles('Loss', 'loss', 'eval_loss'),
    ofRoles('Loss of each task', 'task_loss'),
    ofRoles('Norms', 'grad_norm', 'update_norm', 'param_norm'),
    // As recorded, every rule has the loss of the log.
    ofReplay('Loss under each clipping rule', (entry) => (entry.mode === 'as-recorded' ? null : entry.loss)),
    ofReplay('Smallest clip factor of each rule', (entry) => entry.minClipFactor),
    ofReplay('Update norm under each rule', (entry) => entry.updateNorm),
    curvatureChart(run, marks, line),
    ratiosOf(run).length > 1
      ? chart(RATIO_TITLE, ratioLines(ratiosOf(run)).map(line), ratiosOf(run).length, marks, [
          { value: 1, label: 'limit' },
        ])
      : undefined,
    ofRoles('Metrics', 'metric'),
    ofRoles('Learning rate and clipping', 'learning_rate', 'clip'),
    ofRoles('Other series', 'other'),
  ].filter((found) => found !== undefined);
  const decides = charts.findIndex(({ lines }) => lines.some(({ name }) => name === run.verdict.series));
  return decides < 1 ? charts : [charts[decides]!, ...charts.toSpliced(decides, 1)];
}

function curvatureChart(
  run: RunReport,
  marks: readonly RunEvent[],
  line: (one: ChartLine) => DrawnLine,
): HtmlChart | undefined {
  const lines = new Map<string, { steps: number[]; values: number[] }>();
  const limits = new Map<number, string>();
  const entries = run.curvature
    .filter((entry) => entry.step !== null && entry.eigenvalues.length > 0)
    .sort((a, b) => a.step! - b.step!);
  for (const entry of entries) {
    const name = `${entry.operator}, ${entry.block}${entry.task === 'all' ? '' : `, ${entry.task}`}`;
    const line = lines.get(name) ?? { steps: [], values: [] };
    lines.set(name, line);
    line.steps.push(entry.step!);
    line.values.push(entry.eigenvalues[0]!.value);
    const { limit } = entry.stability;
    if (limit !== null && Number.isFinite(limit)) limits.set(limit, 'stability limit');
  }
  return chart(
    'Top eigenvalue',
    [...lines].map(([name, { steps, values }]) => line(lineOfValues(name, steps, values))),
    entries.length,
    marks,
    [...limits].slice(0, 4).map(([value, label]) => ({ value: short(value), label })),
  );
}

/** Curves of many runs on one axis of steps: the largest value in each of its columns, null where a run has none. */
export interface Overlay {
  readonly title: string;
  readonly x: readonly number[];
  /** In the order of the report's runs; empty of a run without a loss. */
  readonly curves: readonly (readonly (number | null)[])[];
  readonly log: boolean;
}

/** The series that decided of every run, on `columns` columns. */
export function overlayOf(runs: readonly RunReport[], columns: number): Overlay | undefined {
  const series = runs.map((run) => decidingSeries(run) ?? run.series.find(({ role }) => role === 'loss'));
  const ends = series.flatMap((one) =>
    one === undefined ? [] : [smallest(one.firstStep), largest(one.lastStep)],
  );
  const finite = ends.filter(Number.isFinite);
  const [from, to] = [smallest(finite), largest(finite)];
  if (!(to > from && Number.isFinite(to - from))) return undefined;
  // A saved report may hold a bucket whose steps lie outside of all first and last ones.
  const columnAt = (step: number): number =>
    Math.min(columns - 1, Math.max(0, Math.round(((step - from) / (to - from)) * (columns - 1))));
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const curves = series.map((one) => {
    if (one === undefined) return [];
    const curve = new Array<number | null>(columns).fill(null);
    for (const [i, value] of one.max.entries()) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
      const [first, last] = [columnAt(one.firstStep[i]!), columnAt(one.lastStep[i]!)];
      const rounded = short(value);
      for (let c = first; c <= last; c++)
        if (c in curve && !(curve[c]! > rounded && curve[c] !== null)) curve[c] = rounded;
    }
    return curve;
  });
  return {
    title: 'Loss of every run',
    x: Array.from({ length: columns }, (_, c) => short(from + ((to - from) * c) / (columns - 1))),
    curves,
    log: low > 0 && high / low > LOG_RATIO,
  };
}
