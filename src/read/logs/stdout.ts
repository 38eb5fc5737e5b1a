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
import { type LineFate, lineScanner, nothingWaits } from '../bytes/lines.ts';
import { countAt, placesOf, type Tally, tally } from './bad-lines.ts';
import { withoutClosing } from './cell-after.ts';
import { type LogContent, type LogFormat, type LoggedRun, type LoggedSeries, wholeBy } from './format.ts';
import type { Scalar } from './hyperparameters.ts';
import { DRAWING, KERAS_BAR, KERAS_PART, kerasBars } from './keras-bars.ts';
import { linePattern } from './line-pattern.ts';
import { TwoHandlers } from './line-prefix.ts';
import { isLossName, roleByName } from './metric-roles.ts';
import { MLLOG_MARK, type MllogEvent, mllogEvent } from './mllog.ts';
import { isMissingText, numberOfText } from './number-text.ts';
import { tableReader } from './printed-tables.ts';
import { type RowTable, rowTable } from './row-table.ts';
import { asSaid, asText, withoutDrawing } from './text/as-said.ts';
import type { TextLog } from './text/table.ts';
import { fateOfLast, isPart, type LastLine } from './torn-line.ts';
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

const LONGEST_NUMBER = 40;
/** The end of a line that may be cut, without a last number that may be incomplete: `0.41` cut to `0.` is not 0. */
function endOfWhole(bytes: Buffer, start: number, end: number): number {
  // `mse is 0.0069.`: a second point ends the sentence, and the number before it is whole.
  if (/\d\.\d+\.$/.test(bytes.toString('latin1', Math.max(start, end - LONGEST_NUMBER), end))) return end;
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

const readOn: NonNullable<LogFormat['readOn']> = async (path, options) => {
  const dialects = new Map<string, Dialect>();
  const tables = tableReader();
  const results = trialResults();
  const overflows = tally();
  const broken = tally();
  const other = new OtherLines(options.pattern !== undefined);
  const pattern = options.pattern === undefined ? undefined : await linePattern(options.pattern);
  /** From MLPerf's logger: settings, and lines where training begins again. */
  const hyperparameters = new Map<string, Scalar>();
  const restarts: number[] = [];
  /** The last step or epoch in the lines of MLPerf's logger. */
  let lastEventAt = 0;

  const tableOf = (id: string, axis: 'step' | 'epoch' = 'step'): RowTable => {
    let found = dialects.get(id);
    if (found === undefined) {
      found = { table: rowTable(), axis };
      dialects.set(id, found);
    }
    return found.table;
  };
  const keras = kerasBars(() => tableOf('keras', 'epoch'));
  const takeEvent = ({ starts, at, values }: MllogEvent, lineNumber: number): LineFate => {
    if (starts) {
      if (dialects.size > 0) restarts.push(lineNumber);
      return 'overhead';
    }
    const begun = dialects.has('mllog step') ? 'step' : dialects.has('mllog epoch') ? 'epoch' : undefined;
    const measures = begun !== undefined && [...values.keys()].some(isMeasure);
    if (at === undefined && !measures) {
      for (const [name, value] of values)
        if (value !== null && !hyperparameters.has(name)) hyperparameters.set(name, value);
      return values.size > 0 ? 'record' : 'passed-over';
    }
    // An evaluation names its epoch: in a log by steps it is placed at the last step.
    const stepped = at?.axis === 'step' || begun === 'step';
    const table = tableOf(stepped ? 'mllog step' : 'mllog epoch', stepped ? 'step' : 'epoch');
    if (at !== undefined && (!stepped || at.axis === 'step')) lastEventAt = at.value;
    let told = false;
    for (const [name, cell] of values) {
      const value = typeof cell === 'string' ? numberOfText(cell) : cell;
      if (typeof value === 'boolean' || (value === undefined && !isLossName(name))) continue;
      told = true;
      if (typeof value === 'number') table.set(table.column(name), value);
      else if (value === null || isMissingText(String(cell))) table.miss(table.column(name));
      else table.refuse(table.column(name), String(cell), lineNumber);
    }
    if (!told) {
      table.dropRow();
      return 'passed-over';
    }
    table.set(table.column(stepped ? 'step' : 'epoch'), lastEventAt);
    table.endRow(lineNumber);
    return 'record';
  };
  const read = (text: string, lineNumber: number): LineFate | undefined => {
    if (pattern !== undefined) {
      const groups = pattern.take(text);
      const table = tableOf('pattern');
      if (groups === undefined) {
        const left = pattern.left(text);
        if (left === undefined) return undefined;
        table.refuse(table.column(left.name), left.text, lineNumber);
        table.endRow(lineNumber);
        return 'record';
      }
      for (const [name, cell] of groups) {
        const column = table.column(name);
        const value = numberOfText(cell) ?? numberOfText(withoutClosing(cell));
        if (value !== undefined) table.set(column, value);
        else if (isMissingText(cell)) table.miss(column);
        else table.refuse(column, cell, lineNumber);
      }
      table.endRow(lineNumber);
      return 'record';
    }
    const event = text.includes(MLLOG_MARK) ? mllogEvent(text) : undefined;
    if (event === 'damaged') return event;
    if (event !== undefined) return takeEvent(event, lineNumber);
    if (keras.take(text, lineNumber)) return 'record';
    if (OVERFLOW.test(text)) countAt(overflows, lineNumber);
    return undefined;
  };

  // As much code as all other log formats together: loaded only where text is read.
  const { Templates } = await import('./text/templates.ts');
  const { fatesOf, likeliestOf, logIn } = await import('./text/table.ts');
  const templates = new Templates();
  const lastLine = nothingWaits();
  let torn: LastLine | undefined;
  let printed: TextLog | undefined;

  const scanner = lineScanner(
    path,
    {
      line(bytes, start, end, lineNumber, terminated) {
        if (other.takes(bytes, start, end, lineNumber)) return 'passed-over';
        const plainText =
          pattern === undefined &&
          (!keras.hasBegun() || (!keras.waits() && isPartOfBar(bytes, start, end))) &&
          !tables.isOpen() &&
          !results.isOpen() &&
          terminated;
        const known = plainText ? templates.again(bytes, start, end, lineNumber) : undefined;
        if (known !== undefined) return known.waits;
        const to = terminated ? end : endOfWhole(bytes, start, end);
        const raw = bytes.toString('utf8', start, to);
        if (pattern === undefined && raw.includes(OWN_WORDS)) return 'passed-over';
        const text = pattern === undefined ? asText(raw) : withoutDrawing(raw);
        if (pattern === undefined) {
          // The last line of a result may be cut within a number; the result may be whole without it.
          if (!terminated && results.isOpen() && text.startsWith(' ')) return 'torn-record';
          const result = results.take(text, lineNumber);
          if (result !== undefined) return terminated ? result : 'torn-record';
        }
        const fate = read(text, lineNumber);
        if (fate === 'damaged') {
          if (!terminated) return 'torn-record';
          countAt(broken, lineNumber);
        }
        if (fate !== undefined) return !terminated && to < end ? 'torn-record' : fate;
        if (pattern !== undefined) return terminated ? 'passed-over' : 'torn-record';
        const table = tables.take(text);
        if (table === 'held') return 'held';
        if (table === 'drawn') return 'passed-over';
        const said = table ?? asSaid(text);
        const taken =
          said === raw
            ? templates.add(bytes, start, to, lineNumber)
            : templates.add(Buffer.from(said), 0, Buffer.byteLength(said), lineNumber, raw);
        // What it is depends on its words alone, unless a table or another line has decided it.
        if (plainText && said === raw && !OVERFLOW.test(text) && !tables.isOpen())
          templates.remember(bytes, start, end);
        if (terminated) return taken?.waits ?? 'passed-over';
        torn = { template: taken, cut: to < end, raw: bytes.toString('utf8', start, end) };
        return lastLine;
      },
      blank() {
        results.end();
        return 'overhead';
      },
      *settle() {
        results.end();
        yield* results.fates();
        if (torn?.template !== undefined && isPart(torn, templates.all())) {
          templates.takeBack(torn.template);
          torn = { ...torn, template: undefined };
        }
        const all = templates.all();
        printed = pattern === undefined ? logIn(all, templates.lines, options, path) : undefined;
        const known = lossPoints(results.trials.values(), dialects.values());
        if (printed !== undefined && pointsOf(printed) < MANY_MORE * known) printed = undefined;
        yield* fatesOf(all, printed);
        yield [templates.dropped, 'passed-over'];
        if (torn !== undefined) yield [lastLine, fateOfLast(torn, printed?.used)];
      },
    },
    { carriageReturns: true, ...(options.encoding === undefined ? {} : { encoding: options.encoding }) },
  );
  const content = (): LogContent => {
    const { account, errors } = scanner.end();
    const bars = keras.whole();
    const all = new Map(dialects);
    if (bars !== undefined) all.set('keras', { table: bars, axis: 'epoch' });
    const { series, notes, stepUnit, ...told } = toldBy(all.values(), printed, pattern !== undefined);
    let { kept } = told;
    const runs = [...results.trials].flatMap(([name, table]): LoggedRun[] => {
      kept += table.rows();
      return table.rows() === 0 ? [] : [{ ...(results.trials.size > 1 ? { name } : {}), ...table.finish() }];
    });
    for (const note of notesOf(other.long, overflows)) notes.add(note);
    const likeliest = kept === 0 ? likeliestOf(templates.all()) : undefined;
    const main = {
      stepUnit,
      series,
      restarts: [...restarts],
      hyperparameters: new Map(hyperparameters),
      notes: [...notes],
    };
    return {
      likeliest: likeliest === undefined ? [] : [likeliest],
      kept,
      account,
      errors: [...errors, ...brokenErrors(broken, path)],
      ...(printed === undefined ? {} : { readBy: { how: printed.by, statement: printed.statement } }),
      // Next to the results of trials, other text without series is not a run.
      runs: runs.length > 0 && main.series.length === 0 ? runs : [main, ...runs],
    };
  };
  return {
    push: (chunk, isWhole) => scanner.push(chunk, isWhole),
    // A line without an end waits for its rest: a program that writes blocks cuts lines anywhere.
    mayGoOn: () => results.isOpen(),
    content,
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
