/**
 * What a trainer printed: lines that repeat among any other text (text/), some with JSON objects after other text,
 * the bars of Keras, or lines that match `--pattern`.
 * A progress bar that overwrites itself with `\r` counts as several lines. Lines that match nothing do not count as
 * lost.
 */

import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { counted } from '../../model/format-number.ts';
import type { StepUnit } from '../../model/run.ts';
import { isBinary } from '../bytes/encoding.ts';
import {
  type LineFate,
  type LineSink,
  lineScanner,
  nothingWaits,
  type SettledFate,
  type Waiting,
} from '../bytes/lines.ts';
import { countAt, placesOf, type Tally, tally } from './bad-lines.ts';
import { withoutClosing } from './cell-after.ts';
import {
  type LogContent,
  type LogFormat,
  type LoggedRun,
  type LoggedSeries,
  type LogReadOptions,
  wholeBy,
} from './format.ts';
import type { Scalar } from './hyperparameters.ts';
import { DRAWING, KERAS_BAR, KERAS_PART, kerasBars } from './keras-bars.ts';
import { type LinePattern, linePattern } from './line-pattern.ts';
import { TwoHandlers, withoutStamp } from './line-prefix.ts';
import { isLossName, roleByName } from './metric-roles.ts';
import { MLLOG_MARK, type MllogEvent, mllogEvent } from './mllog.ts';
import { isMissingText, numberOfText } from './number-text.ts';
import { tableReader } from './printed-tables.ts';
import { type RowTable, rowTable } from './row-table.ts';
import { asSaid, asText, withoutDrawing } from './text/as-said.ts';
import type { TextLog } from './text/table.ts';
import type { Template, Templates } from './text/templates.ts';
import { fateOfLast, isPart, type LastLine, LONGEST_LAST_NUMBER } from './torn-line.ts';
import { isResultHead, trialResults } from './trial-results.ts';

/** Messages of the recorder and the guard on stderr: they may name a loss, but the trainer did not print them. */
const OWN_WORDS = 'clippy-diag: ';

const OVERFLOW = /overflow detected|detected overflow|Grad overflow/i;

/** Longer lines, in bytes, are skipped: expressions on them would take long. */
const LONGEST_RECORD = 64 << 10;

const isMeasure = (name: string): boolean => isLossName(name) || roleByName(name) === 'metric';

/** Notes on skipped lines and on skipped steps. */
function* notesOf(long: Tally, overflows: Tally): Generator<string> {
  if (long.count > 0)
    yield `${counted(long.count, 'line')} of more than ${LONGEST_RECORD >> 10} KiB ${long.count === 1 ? 'was' : 'were'} read as other text (first in line ${long.first[0]})`;
  if (overflows.count > 0)
    yield `${counted(overflows.count, 'line reports', 'lines report')} an overflow of gradients, which skips a step (first in line ${overflows.first[0]})`;
}

/** Whether a line of Keras draws a bar that is not full: the epoch is not over. */
const isPartOfBar = (bytes: Buffer, start: number, end: number): boolean =>
  KERAS_PART.test(bytes.toString('latin1', start, Math.min(end, start + LONGEST_BAR)));
const LONGEST_BAR = 80;

/** The end of a line that may be cut, without a last number that may be incomplete: `0.41` cut to `0.` is not 0. */
function endOfWhole(bytes: Buffer, start: number, end: number): number {
  // `mse is 0.0069.`: a second point ends the sentence, and the number before it is whole.
  if (/\d\.\d+\.$/.test(bytes.toString('latin1', Math.max(start, end - LONGEST_LAST_NUMBER), end)))
    return end;
  let to = end;
  const ends = (what: RegExp): boolean => to > start && what.test(String.fromCharCode(bytes[to - 1]!));
  while (ends(/[-+.eE]/)) to--;
  if (to < end && ends(/\d/)) while (ends(/[-+.eE\d]/)) to--;
  return to;
}

/**
 * Other lines are the log if they have so many times the losses of known layouts: those report only evaluations
 * (nanoGPT).
 */
const MANY_MORE = 8;
/** How many points of the training loss printed lines have, by their own steps. */
const pointsOf = ({ series, stepUnit }: TextLog): number =>
  stepUnit === 'step'
    ? series.reduce(
        (most, { name, value }) => (roleByName(name) === 'loss-like' ? Math.max(most, value.length) : most),
        0,
      )
    : 0;

/** Lines that are skipped: long ones are printed data, and what two handlers print is read once. */
class OtherLines {
  readonly long = tally();
  private readonly handlers = new TwoHandlers();
  constructor(private readonly hasPattern: boolean) {}

  takes(bytes: Buffer, start: number, end: number, line: number): boolean {
    if (end - start <= LONGEST_RECORD) return !this.hasPattern && this.handlers.tells(bytes, start, end);
    countAt(this.long, line);
    return true;
  }
}

/** Rows of one known layout, and the axis that counts them. */
interface Dialect {
  readonly table: RowTable;
  readonly axis: 'step' | 'epoch';
}

const recordsOf = ({ used }: TextLog): number => [...used].reduce((sum, { order }) => sum + order.length, 0);

/** How many losses known layouts have read; infinite where all other lines are other text. */
function lossPoints(trials: Iterable<RowTable>, dialects: Iterable<Dialect>): number {
  if ([...trials].some((table) => table.rows() > 0)) return Number.POSITIVE_INFINITY;
  const counts = [...dialects].flatMap(({ table, axis }) =>
    table.columns.flatMap(({ name, count }) =>
      isLossName(name) && count > 0 ? [axis === 'epoch' ? Number.POSITIVE_INFINITY : count] : [],
    ),
  );
  return Math.max(0, ...counts);
}

/** The series of known layouts and of printed lines together. */
function toldBy(dialects: Iterable<Dialect>, printed: TextLog | undefined, hasPattern: boolean) {
  const series = new Map<string, LoggedSeries>();
  const notes = new Set<string>();
  let kept = 0;
  let longest = 0;
  let stepUnit: StepUnit = 'row';
  for (const { table, axis } of dialects) {
    const finished = table.finish();
    kept += table.rows();
    if (table.rows() > longest) {
      longest = table.rows();
      stepUnit = finished.stepUnit;
    }
    for (const note of finished.notes) notes.add(note);
    for (const one of finished.series) {
      // An axis that this reader filled itself is not a series; a name that two layouts share gets the axis in front.
      if (!hasPattern && one.name === axis) continue;
      const name = series.has(one.name) ? `${axis} ${one.name}` : one.name;
      if (!series.has(name)) series.set(name, { ...one, name });
    }
  }
  if (printed !== undefined) {
    kept += recordsOf(printed);
    for (const note of printed.notes) notes.add(note);
    for (const one of printed.series) if (!series.has(one.name)) series.set(one.name, one);
    stepUnit = printed.stepUnit;
  }
  return { series: [...series.values()], notes, kept, stepUnit };
}

/** The error for damaged lines of MLPerf; empty where no line is damaged. */
const brokenErrors = (broken: Tally, path: string): ErrorRecord[] =>
  broken.count === 0
    ? []
    : [
        diagError(
          'log-lines-bad',
          { count: broken.count, what: 'lines of MLPerf', one: 'a line of MLPerf', lines: placesOf(broken) },
          { path, line: broken.first[0]! },
        ).toRecord(),
      ];

/** The tables of known layouts. */
class Dialects {
  readonly all = new Map<string, Dialect>();

  tableOf(id: string, axis: 'step' | 'epoch' = 'step'): RowTable {
    let found = this.all.get(id);
    if (found === undefined) {
      found = { table: rowTable(), axis };
      this.all.set(id, found);
    }
    return found.table;
  }
}

/** Lines of MLPerf's logger: settings, steps, evaluations, and where training begins again. */
class MllogLines {
  readonly hyperparameters = new Map<string, Scalar>();
  readonly restarts: number[] = [];
  /** The last step or epoch that a line named. */
  private lastAt = 0;
  constructor(private readonly dialects: Dialects) {}

  take({ starts, at, values }: MllogEvent, lineNumber: number): LineFate {
    const { all } = this.dialects;
    if (starts) {
      if (all.size > 0) this.restarts.push(lineNumber);
      return 'overhead';
    }
    const begun = all.has('mllog step') ? 'step' : all.has('mllog epoch') ? 'epoch' : undefined;
    const measures = begun !== undefined && [...values.keys()].some(isMeasure);
    if (at === undefined && !measures) return this.setting(values);
    // An evaluation names its epoch: in a log by steps it is placed at the last step.
    const axis = at?.axis === 'step' || begun === 'step' ? 'step' : 'epoch';
    if (at !== undefined && (axis === 'epoch' || at.axis === 'step')) this.lastAt = at.value;
    const table = this.dialects.tableOf(`mllog ${axis}`, axis);
    let told = false;
    for (const [name, cell] of values) if (setEvent(table, name, cell, lineNumber)) told = true;
    if (!told) {
      table.dropRow();
      return 'passed-over';
    }
    table.set(table.column(axis), this.lastAt);
    table.endRow(lineNumber);
    return 'record';
  }

  private setting(values: MllogEvent['values']): LineFate {
    for (const [name, value] of values)
      if (value !== null && !this.hyperparameters.has(name)) this.hyperparameters.set(name, value);
    return values.size > 0 ? 'record' : 'passed-over';
  }
}

/** Sets the cell of a value that an event names; false where it is a truth or a text of something else than a loss. */
function setEvent(table: RowTable, name: string, cell: Scalar, lineNumber: number): boolean {
  const value = typeof cell === 'string' ? numberOfText(cell) : cell;
  if (typeof value === 'boolean' || (value === undefined && !isLossName(name))) return false;
  if (typeof value === 'number') table.set(table.column(name), value);
  else if (value === null || isMissingText(String(cell))) table.miss(table.column(name));
  else table.refuse(table.column(name), String(cell), lineNumber);
  return true;
}

/** Adds what a user's pattern takes of a line; undefined where it is other text. */
function takeByPattern(
  pattern: LinePattern,
  table: RowTable,
  text: string,
  lineNumber: number,
): LineFate | undefined {
  const groups = pattern.take(text);
  if (groups === undefined) {
    const left = pattern.left(text);
    if (left === undefined) return undefined;
    table.refuse(table.column(left.name), left.text, lineNumber);
  }
  for (const [name, cell] of groups ?? []) {
    const column = table.column(name);
    const value = numberOfText(cell) ?? numberOfText(withoutClosing(cell));
    if (value !== undefined) table.set(column, value);
    else if (isMissingText(cell)) table.miss(column);
    else table.refuse(column, cell, lineNumber);
  }
  table.endRow(lineNumber);
  return 'record';
}

/** What is loaded only where text is read: as much code as all other log formats together. */
interface TextReader {
  readonly templates: Templates;
  readonly table: typeof import('./text/table.ts');
}

/** The lines of a text, one after the other: by a user's pattern, by known layouts, or as they repeat. */
class PrintedLines implements LineSink {
  readonly dialects = new Dialects();
  readonly results = trialResults();
  readonly overflows = tally();
  readonly broken = tally();
  readonly other: OtherLines;
  readonly events = new MllogLines(this.dialects);
  readonly keras = kerasBars(() => this.dialects.tableOf('keras', 'epoch'));
  /** What the lines that repeat were read as; undefined before the end, and where they are other text. */
  printed: TextLog | undefined;
  private readonly tables = tableReader();
  private readonly lastLine = nothingWaits();
  private torn: LastLine | undefined;
  /** The first line with a loss of a box or a dictionary, which may not be completed. */
  private held: { readonly line: number; readonly text: string } | undefined;

  constructor(
    private readonly text: TextReader,
    private readonly pattern: LinePattern | undefined,
    private readonly options: LogReadOptions,
    private readonly path: string,
  ) {
    this.other = new OtherLines(pattern !== undefined);
  }

  /** Whether a line means what its words say, whatever came before it. */
  private isPlain(bytes: Buffer, start: number, end: number): boolean {
    const { keras } = this;
    return (
      this.pattern === undefined &&
      (!keras.hasBegun() || (!keras.waits() && isPartOfBar(bytes, start, end))) &&
      !this.tables.isOpen() &&
      !this.results.isOpen()
    );
  }

  line(bytes: Buffer, start: number, end: number, lineNumber: number, terminated: boolean): LineFate {
    if (this.other.takes(bytes, start, end, lineNumber)) return 'passed-over';
    const isPlain = terminated && this.isPlain(bytes, start, end);
    const known = isPlain ? this.text.templates.again(bytes, start, end, lineNumber) : undefined;
    if (known !== undefined) return known.waits;
    const to = terminated ? end : endOfWhole(bytes, start, end);
    const raw = bytes.toString('utf8', start, to);
    if (this.pattern !== undefined) {
      const table = this.dialects.tableOf('pattern');
      const fate = takeByPattern(this.pattern, table, withoutDrawing(raw), lineNumber) ?? 'passed-over';
      return terminated || (fate === 'record' && to === end) ? fate : 'torn-record';
    }
    if (raw.includes(OWN_WORDS)) return 'passed-over';
    const text = asText(raw);
    const bare = withoutStamp(text);
    const fate = this.byLayout(bare, lineNumber, terminated);
    if (fate !== undefined) return !terminated && to < end ? 'torn-record' : fate;
    const table = this.tables.take(bare);
    if (table === 'held') {
      if (this.held === undefined && /loss/i.test(raw)) this.held = { line: lineNumber, text: raw };
      return 'held';
    }
    if (table === 'drawn') return 'passed-over';
    const said = table ?? asSaid(text, bare);
    const taken = this.repeated(bytes, start, to, lineNumber, said, raw);
    // What it is depends on its words alone, unless a table or another line has decided it.
    if (isPlain && said === raw && !OVERFLOW.test(text) && !this.tables.isOpen())
      this.text.templates.remember(bytes, start, end);
    if (terminated) return taken?.waits ?? 'passed-over';
    this.torn = { template: taken, cut: to < end, raw: bytes.toString('utf8', start, end) };
    return this.lastLine;
  }

  /** Takes a line of a known layout. @returns undefined where it is of none */
  private byLayout(text: string, lineNumber: number, terminated: boolean): LineFate | undefined {
    const { results } = this;
    // The last line of a result may be cut within a number; the result may be whole without it.
    if (!terminated && results.isOpen() && text.startsWith(' ')) return 'torn-record';
    const result = results.take(text, lineNumber);
    if (result !== undefined) return terminated ? result : 'torn-record';
    const event = text.includes(MLLOG_MARK) ? mllogEvent(text) : undefined;
    if (event === 'damaged') {
      if (!terminated) return 'torn-record';
      countAt(this.broken, lineNumber);
      return event;
    }
    if (event !== undefined) return this.events.take(event, lineNumber);
    if (this.keras.take(text, lineNumber)) return 'record';
    if (OVERFLOW.test(text)) countAt(this.overflows, lineNumber);
    return undefined;
  }

  /** @param said what the line says; its own text, or that of the table whose row it is */
  private repeated(
    bytes: Buffer,
    start: number,
    to: number,
    lineNumber: number,
    said: string,
    raw: string,
  ): Template | undefined {
    const { templates } = this.text;
    return said === raw
      ? templates.add(bytes, start, to, lineNumber)
      : templates.add(Buffer.from(said), 0, Buffer.byteLength(said), lineNumber, raw);
  }

  blank(): LineFate {
    this.results.end();
    return 'overhead';
  }

  *settle(): Generator<readonly [Waiting, SettledFate]> {
    const { results, dialects, lastLine } = this;
    const { templates, table } = this.text;
    results.end();
    yield* results.fates();
    this.withoutPart();
    const all = templates.all();
    const printed =
      this.pattern === undefined ? table.logIn(all, templates.lines, this.options, this.path) : undefined;
    const known = lossPoints(results.trials.values(), dialects.all.values());
    this.printed = printed !== undefined && pointsOf(printed) < MANY_MORE * known ? undefined : printed;
    yield* table.fatesOf(all, this.printed);
    yield [templates.dropped, 'passed-over'];
    if (this.torn !== undefined) yield [lastLine, fateOfLast(this.torn, this.printed?.used)];
  }

  /** Takes back a last line that is a part of a record. */
  private withoutPart(): void {
    const { templates } = this.text;
    if (this.torn?.template === undefined || !isPart(this.torn, templates.all())) return;
    templates.takeBack(this.torn.template);
    this.torn = { ...this.torn, template: undefined };
  }

  /** The log, after the end of the lines. */
  content(): Pick<LogContent, 'kept' | 'likeliest' | 'readBy' | 'runs'> {
    const { keras, dialects, results, printed, events } = this;
    const bars = keras.whole();
    const all = new Map(dialects.all);
    if (bars !== undefined) all.set('keras', { table: bars, axis: 'epoch' });
    const { series, notes, stepUnit, ...told } = toldBy(all.values(), printed, this.pattern !== undefined);
    let { kept } = told;
    const runs = [...results.trials].flatMap(([name, table]): LoggedRun[] => {
      kept += table.rows();
      return table.rows() === 0 ? [] : [{ ...(results.trials.size > 1 ? { name } : {}), ...table.finish() }];
    });
    for (const note of notesOf(this.other.long, this.overflows)) notes.add(note);
    const { templates, table } = this.text;
    const likeliest = kept === 0 ? (table.likeliestOf(templates.all()) ?? this.held) : undefined;
    const main = {
      stepUnit,
      ...(printed?.planned === undefined ? {} : { planned: printed.planned }),
      series,
      restarts: [...events.restarts, ...(printed?.restarts ?? [])],
      hyperparameters: new Map(events.hyperparameters),
      notes: [...notes],
    };
    return {
      likeliest: likeliest === undefined ? [] : [likeliest],
      kept,
      ...(printed === undefined ? {} : { readBy: { how: printed.by, statement: printed.statement } }),
      // Next to the results of trials, other text without series is not a run.
      runs: runs.length > 0 && main.series.length === 0 ? runs : [main, ...runs],
    };
  }
}

const readOn: NonNullable<LogFormat['readOn']> = async (path, options) => {
  const pattern = options.pattern === undefined ? undefined : await linePattern(options.pattern);
  const { Templates } = await import('./text/templates.ts');
  const text = { templates: new Templates(), table: await import('./text/table.ts') };
  const lines = new PrintedLines(text, pattern, options, path);
  const scanner = lineScanner(path, lines, {
    carriageReturns: true,
    ...(options.encoding === undefined ? {} : { encoding: options.encoding }),
  });
  return {
    push: (chunk, isWhole) => scanner.push(chunk, isWhole),
    // A line without an end waits for its rest: a program that writes blocks cuts lines anywhere.
    mayGoOn: () => lines.results.isOpen(),
    content() {
      const { account, errors } = scanner.end();
      const found = lines.content();
      return { ...found, account, errors: [...errors, ...brokenErrors(lines.broken, path)] };
    },
  };
};

export const stdout: LogFormat = {
  id: 'stdout',
  title: 'Printed training log',
  text: true,
  vague: true,
  anyText: { names: /(\.(log|txt|out|err|stdout|stderr)(\.gz)?|^slurm-[^.]*|^nohup[^.]*)$/i },
  sniff(head) {
    if (isBinary(head)) return false;
    const lines = head
      .toString('latin1')
      .replace(DRAWING, '')
      .split(/[\r\n]+/);
    return lines.some(
      (line) =>
        line.includes(MLLOG_MARK) ||
        KERAS_BAR.test(line) ||
        isResultHead(line) ||
        /\]\[INFO\] - \{"/.test(line),
    );
  },
  carriageReturns: true,
  read: wholeBy(readOn),
  readOn,
};
