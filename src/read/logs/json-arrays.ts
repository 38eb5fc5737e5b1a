/**
 * One JSON document: lists of numbers by name (`{"loss": [0.7, 0.6]}`, a Keras history), lists of records
 * (`[{"epoch": 1, "loss": 0.7}]`, Chainer), the JSON of a TensorBoard chart (`[[time, step, value], …]`), or single
 * numbers (a summary). Names of nested members are joined with `.`; sibling lists of one length share an axis.
 */
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import type { Run, StepUnit } from '../../model/run.ts';
import { isAxisName } from './axis-words.ts';
import { type LogTable, logTable, type NamedRuns, namedByFile, runsOf } from './exported.ts';
import type { LogContent, LogFormat, LoggedRun, LoggedSeries } from './format.ts';
import {
  type DocumentLedger,
  documentLedger,
  lineCounter,
  type Member,
  type MembersEnd,
  membersEnd,
  membersOf,
  wholeDocument,
} from './json-document.ts';
import {
  type ObjectScanner,
  objectScanner,
  skipBlanks,
  skipValue,
  stringEnd,
  textOfString,
} from './json-line.ts';
import { isRecordLines } from './jsonl.ts';
import { namesLossValue, splitsAmong } from './metric-roles.ts';
import { isMissingText, LONGEST_NUMBER, numberOfText, scanNumber, scanned } from './number-text.ts';
import type { RowSeries } from './row-series.ts';
import { type RowTable, rowTable } from './row-table.ts';

const OPEN = 0x7b;
const OPEN_LIST = 0x5b;
const QUOTE = 0x22;
const MAX_DEPTH = 100;
/** Characters of the name of a run. */
const LONGEST_NAME = 200;
/** JSON documents that are something else: models, indexes of weights, notebooks, reports. */
const OTHER_DOCUMENTS =
  /"(weightsManifest|modelTopology|weight_map|nbformat|toolVersion|architectures|added_tokens|model_type|\$schema|expectedClass|log_history)"\s*:/;

/** An element of a list, or a lone member: a number, a missing value, or text that is not a number. */
type Cell = number | 'missing' | { readonly refused: string; readonly line: number };

/** `[1,  2000] loss: 2.17` is printed text. */
const TEXT_AFTER_LIST = /^\s*\[[-\d.,eE \t]*\][ \t]*[^\s[\]{},]/;

interface NumberList {
  readonly name: string;
  /** By index; undefined for what is not a cell (a list, a truth value). */
  readonly cells: readonly (Cell | undefined)[];
}

/** Many JSON documents hold numbers or lists of them. */
function unmeasured(runs: readonly Run[]): string | undefined {
  const series = runs.flatMap((run) => run.series);
  if (!series.some(({ value }) => value.length > 1)) return 'a JSON document without series';
  if (!series.some(({ role }) => role !== 'other'))
    return 'a JSON document without a loss, a metric or a norm';
  return undefined;
}

/** The series of a member of the document, by their indices among all. */
interface Part {
  readonly key: string;
  readonly from: number;
  readonly to: number;
  /** It is an element of a list, and a run whatever else it holds. */
  readonly listed?: true;
}

/** A list named like a loss: a history holds it, a record of a step does not. */
const LIST_OF_LOSSES = /"[^"]{0,80}loss"\s{0,8}:\s{0,8}\[\s{0,8}(?:-?\d|NaN|null)/;
/** Keys that name a run in a list. */
const RUN_NAME = /^(?:run(?:_?name|_?id)?|name|id|label|experiment)$/i;
/** The part of a name after `history`: Keras's `History.history`, saved with the settings of its run. */
const inHistory = (name: string): string | undefined => {
  const parts = name.split('.');
  const at = parts.slice(0, -1).lastIndexOf('history');
  return at < 0 ? undefined : parts.slice(at + 1).join('.');
};

/**
 * The runs of a document that has one in each of its members or elements:
 * `{"lr 0.1": {"step": […], "loss": […]}, "lr 0.2": …}`. Each has its own axis or a history, and a loss of the
 * same name. Splits (`train`, `val`) do too, and are one run. Tasks have no axis.
 */
function runsOfParts(series: readonly LoggedSeries[], parts: readonly Part[]): NamedRuns {
  const splits = splitsAmong(parts.map(({ key }) => key));
  const found = parts
    .map(({ key, from, to, listed }) => ({
      key,
      listed,
      own: series.slice(from, to).map(({ name }) => ({
        name,
        bare: name.startsWith(`${key}.`) ? name.slice(key.length + 1) : name,
      })),
    }))
    .filter(
      ({ key, own, listed }) =>
        listed ||
        (!splits.has(key) &&
          own.some(({ bare }) => isAxisName(bare.split('.').at(-1)!) || inHistory(bare) !== undefined)),
    );
  const losses = found.map(({ own }) => own.flatMap(({ bare }) => (namesLossValue(bare) ? [bare] : [])));
  if (found.length < 2 || !losses.every((all) => all.some((name) => losses[0]!.includes(name))))
    return new Map();
  return new Map(
    found.flatMap(({ key, own }) => own.map(({ name, bare }) => [name, { run: key, name: bare }] as const)),
  );
}

export const json: LogFormat = {
  id: 'json',
  title: 'JSON document',
  text: true,
  document: true,
  vague: true,
  noLog: unmeasured,
  sniff(head) {
    const text = head.toString('latin1');
    return (
      /^\s*(\{\s*"|\[\s*[[{]|\[\s*-?\d[\d.]*(?:[eE][+-]?\d+)?\s*,\s*(-?\d|null|NaN))/.test(text) &&
      /[:[,]\s*-?(\d|NaN|Infinity)/.test(text) &&
      !OTHER_DOCUMENTS.test(text) &&
      !isRecordLines(text) &&
      !TEXT_AFTER_LIST.test(text)
    );
  },
  async read(chunks, path, { encoding }) {
    const bytes = await wholeDocument(chunks, path);
    const reader = new DocumentReader(bytes, path, documentLedger(bytes, encoding));
    return reader.read();
  },
};

/** The series of a document, as they are found. */
class Found {
  readonly series: LoggedSeries[] = [];
  readonly notes: string[] = [];
  stepUnit: StepUnit = 'row';
  kept = 0;
  /** The runs that records name. */
  readonly runOf = new Map<string, { run: string; name: string }>();
  readonly parts: Part[] = [];
  private readonly names = new Map<string, number>();
  private longest = 0;

  /** @param withLines whether the points are in lines of their own */
  add({ series, stepUnit, notes }: RowSeries, rows: number, withLines: boolean): void {
    this.kept += rows;
    if (rows > this.longest) {
      this.longest = rows;
      this.stepUnit = stepUnit;
    }
    this.notes.push(...notes);
    for (const { line, ...one } of series) {
      this.names.set(one.name, (this.names.get(one.name) ?? 0) + 1);
      const quantity = inHistory(one.name);
      this.series.push({
        ...one,
        // Lists are in one line: their points are distinguished by their index.
        ...(withLines && line !== undefined ? { line } : {}),
        ...(quantity === undefined ? {} : { quantity }),
      });
    }
  }

  /** The series of a list of records; a name that others have too gets that of the list in front. */
  addRecords(name: string, found: RowSeries, rows: number): void {
    const isPrefixed = name !== '' && found.series.some((one) => this.names.has(one.name));
    const called = (own: string): string => (own === name || !isPrefixed ? own : `${name}.${own}`);
    this.add(
      { ...found, series: found.series.map((one) => ({ ...one, name: called(one.name) })) },
      rows,
      true,
    );
  }

  /** Sibling lists of one length are a table. */
  addTables(lists: readonly NumberList[]): void {
    for (const length of new Set(lists.map(({ cells }) => cells.length))) {
      const among = lists.filter(({ cells }) => cells.length === length);
      const table = rowTable();
      // An axis in a nested object is found by its last name, and keeps its whole one.
      const wholeName = new Map<string, string>();
      const columns = among.map(({ name }) => {
        const last = name.split('.').at(-1)!;
        const short = among.length > 1 && isAxisName(last) && !wholeName.has(last) ? last : name;
        wholeName.set(short, name);
        return table.column(short);
      });
      for (let row = 0; row < length; row++) {
        for (let k = 0; k < among.length; k++) setCell(table, columns[k]!, among[k]!.cells[row]);
        table.endRow(1);
      }
      const found = table.finish();
      const series = found.series.map((one) => ({ ...one, name: wholeName.get(one.name) ?? one.name }));
      this.add({ ...found, series }, length, false);
    }
  }

  /** Names that several series have: none of them is kept. */
  doubled(): string[] {
    return [...this.names].filter(([, count]) => count > 1).map(([name]) => name);
  }

  runs(path: string): LoggedRun[] {
    const { series, parts, runOf, stepUnit, notes } = this;
    for (const [name, run] of runsOfParts(series, parts)) runOf.set(name, run);
    const doubled = this.doubled();
    const kept = series.filter((one) => !doubled.includes(one.name));
    return runsOf(namedByFile(kept, path), runOf).map((run) => ({ ...run, stepUnit, notes }));
  }
}

function setCell(table: RowTable, column: number, cell: Cell | undefined): void {
  if (typeof cell === 'number') table.set(column, cell);
  else if (cell === 'missing') table.miss(column);
  else if (cell !== undefined) table.refuse(column, cell.refused, cell.line);
}

/** The records of a list, as rows of a table, which is made for the first: most lists have none. */
class RecordList {
  private made: { readonly table: LogTable; readonly scan: ObjectScanner } | undefined;
  constructor(
    private readonly name: string,
    private readonly bytes: Buffer,
    private readonly lineOf: (position: number) => number,
  ) {}

  private rows(): NonNullable<RecordList['made']> {
    if (this.made === undefined) {
      const table = logTable();
      this.made = { table, scan: objectScanner(table) };
    }
    return this.made;
  }

  row({ start, end }: Member): boolean {
    return this.rows().scan.row(this.bytes, start, end, this.lineOf(start));
  }

  /** Puts its series among those that were found. @returns errors of its records */
  addTo(found: Found, path: string): ErrorRecord[] {
    if (this.made === undefined) return [];
    const { table, scan } = this.made;
    for (const [called, run] of table.runs()) found.runOf.set(called, run);
    found.addRecords(this.name, table.finish(), table.rows());
    return scan.errors(path);
  }

  triple([time, step, value]: Triple, { start }: Member): void {
    const { name } = this;
    const { table } = this.rows();
    table.set(table.column('timestamp'), time);
    table.set(table.column('step'), step);
    setCell(table, table.column(name === '' ? 'value' : name), value);
    table.endRow(this.lineOf(start));
  }
}

/** `[time, step, value]`, as TensorBoard exports a chart. */
type Triple = readonly [time: number, step: number, value: Cell];

/** Goes through a document, with an account of each byte. */
class DocumentReader {
  private readonly found = new Found();
  private readonly errors: ErrorRecord[] = [];
  private readonly lineOf: (position: number) => number;
  /** Where the document is cut or breaks, so that nothing after it can be read; and whether its text ends there. */
  private broken = -1;
  private cut = false;
  private bad = 0;
  private firstBad = -1;

  constructor(
    private readonly bytes: Buffer,
    private readonly path: string,
    private readonly ledger: DocumentLedger,
  ) {
    this.lineOf = lineCounter(bytes);
  }

  read(): LogContent {
    const { bytes, ledger, found, path } = this;
    const stop = bytes.length;
    const start = skipBlanks(bytes, 0, stop);
    const top: Member = { key: '', start, end: stop, whole: false };
    if (bytes[start] === OPEN) this.object('', top, 0);
    else if (bytes[start] === OPEN_LIST) {
      const lists: NumberList[] = [];
      this.list('', top, lists);
      found.addTables(lists);
    }
    if (this.broken >= 0) ledger.lose(this.cut ? 'torn-record' : 'damaged', this.broken, stop);
    else {
      const isDocument = bytes[start] === OPEN || bytes[start] === OPEN_LIST;
      const after = isDocument ? skipBlanks(bytes, skipValue(bytes, start, stop), stop) : start;
      if (after < stop) this.lose(after, stop);
    }
    const runs = found.runs(path);
    for (const key of found.doubled())
      this.errors.push(diagError('log-duplicate-key', { key, count: 1, lines: 'any' }, { path }).toRecord());
    return { kept: found.kept, account: ledger.account(), errors: [...this.errors, ...this.damage()], runs };
  }

  private damage(): ErrorRecord[] {
    const { broken, bad, bytes, path } = this;
    if (broken < 0 && bad === 0) return [];
    const offset = bad > 0 ? this.firstBad : broken;
    const reason =
      bad > 0 ? `${bad} stretches are no JSON` : `it has ${bytes.length} bytes and does not end there`;
    return [diagError('log-document-damaged', { offset, reason }, { path, byteOffset: offset }).toRecord()];
  }

  private lose(from: number, to: number, records?: number): void {
    if (this.bad++ === 0) this.firstBad = from;
    this.ledger.lose('damaged', from, to, records);
  }

  /** What is left of an object or list after what could be read of it. */
  private close(member: Pick<Member, 'end' | 'whole'>, end: MembersEnd): void {
    if (end.at >= 0 || this.broken >= 0) return;
    if (member.whole) this.lose(end.stopped, member.end);
    else {
      this.broken = end.stopped;
      this.cut = end.cut;
    }
  }

  private isNested(at: number): boolean {
    return this.bytes[at] === OPEN || this.bytes[at] === OPEN_LIST;
  }

  private cellOf(from: number, to: number): Cell | undefined {
    const { bytes } = this;
    const quoted = bytes[from] === QUOTE;
    const start = quoted ? from + 1 : from;
    const end = quoted ? stringEnd(bytes, start, to) : to;
    const stop = scanNumber(bytes, start, end);
    if (stop > 0 && skipBlanks(bytes, stop, end) === end) return scanned[0]!;
    const text = textOfString(bytes, start, Math.min(end, start + LONGEST_NUMBER + 1));
    const value = numberOfText(text);
    if (value !== undefined) return value;
    if (isMissingText(text)) return 'missing';
    if (!quoted && /^(true|false)\s*$/.test(text)) return undefined;
    return { refused: text, line: this.lineOf(from) };
  }

  /** Whether an element is a run with a list of its losses; an element with an epoch is a record of it. */
  private holdsHistory({ start, end }: Member): boolean {
    const { bytes } = this;
    return (
      bytes.subarray(start, end).includes(OPEN_LIST) &&
      LIST_OF_LOSSES.test(bytes.toString('latin1', start, end)) &&
      ![...membersOf(bytes, start, end)].some((one) => isAxisName(one.key) && !this.isNested(one.start))
    );
  }

  /** What a run in a list calls itself, if no other has the name; else its place. */
  private runName(element: Member, place: number): string {
    const { bytes, found } = this;
    for (const { key, start, end, whole } of membersOf(bytes, element.start, element.end)) {
      if (!whole || !RUN_NAME.test(key) || this.isNested(start)) continue;
      const quoted = bytes[start] === QUOTE;
      const name = quoted ? textOfString(bytes, start + 1, end - 1) : bytes.toString('latin1', start, end);
      if (name.length <= LONGEST_NAME && found.parts.every((one) => one.key !== name)) return name;
    }
    return `${place}`;
  }

  /** A list: of numbers, of records, of triples, or of runs; anything else is skipped. */
  private list(name: string, member: Member, lists: NumberList[]): void {
    const { bytes, ledger } = this;
    const cells: (Cell | undefined)[] = [];
    const end = membersEnd();
    const records = new RecordList(name, bytes, this.lineOf);
    let bytesOfCells = 0;
    for (const element of membersOf(bytes, member.start, member.end, end)) {
      // The last number of a cut document may be cut itself.
      if (!element.whole) break;
      let cell: Cell | undefined;
      if (ledger.isHoled(element.start, element.end)) this.lose(element.start, element.end);
      else if (this.isNested(element.start)) this.nestedElement(name, element, records);
      else {
        cell = this.cellOf(element.start, element.end);
        if (cell === undefined) ledger.passOver(element.start, element.end);
        else bytesOfCells += ledger.pass(element.start, element.end);
      }
      cells.push(cell);
    }
    this.close(member, end);
    this.errors.push(...records.addTo(this.found, this.path));
    // A list of words is not a series, unless it has the name of a loss.
    const isSeries =
      cells.some((cell) => typeof cell === 'number') || (bytesOfCells > 0 && namesLossValue(name));
    ledger.enter(isSeries ? 'record' : 'passOver', bytesOfCells);
    if (isSeries) lists.push({ name: name === '' ? 'value' : name, cells });
  }

  /** An element that is an object or a list: a run, a record, or a triple. */
  private nestedElement(name: string, element: Member, records: RecordList): void {
    const { bytes, ledger, found } = this;
    const { start, end } = element;
    if (bytes[start] === OPEN_LIST) {
      const triple = this.tripleOf(element);
      if (triple === undefined) {
        ledger.passOver(start, end);
        return;
      }
      records.triple(triple, element);
      ledger.record(start, end);
    } else if (name === '' && this.holdsHistory(element)) {
      const from = found.series.length;
      const key = this.runName(element, found.parts.length);
      this.object(`${key}.`, element, 1);
      found.parts.push({ key, from, to: found.series.length, listed: true });
    } else if (records.row(element)) ledger.record(start, end);
    else this.lose(start, end, 1);
  }

  private tripleOf(element: Member): Triple | undefined {
    const end = membersEnd();
    const cells = [...membersOf(this.bytes, element.start, element.end, end)].map((one) =>
      this.isNested(one.start) ? undefined : this.cellOf(one.start, one.end),
    );
    const [time, step, value] = cells;
    return cells.length === 3 &&
      end.at >= 0 &&
      typeof time === 'number' &&
      typeof step === 'number' &&
      value !== undefined
      ? [time, step, value]
      : undefined;
  }

  private object(prefix: string, member: Member, depth: number): void {
    const { bytes, found } = this;
    const lists: NumberList[] = [];
    const singles: NumberList[] = [];
    const end = membersEnd();
    for (const one of membersOf(bytes, member.start, member.end, end)) {
      const name = prefix + one.key;
      const byte = bytes[one.start];
      // A value that runs beyond its container is damage of the container, and ends with it.
      const inner = { ...one, whole: one.whole || member.whole };
      const from = found.series.length;
      if (byte === OPEN && depth < MAX_DEPTH) this.object(`${name}.`, inner, depth + 1);
      else if (byte === OPEN_LIST) this.list(name, inner, lists);
      else if (one.whole) this.single(name, one, singles);
      if (depth === 0 && found.series.length > from)
        found.parts.push({ key: one.key, from, to: found.series.length });
    }
    this.close(member, end);
    found.addTables(lists);
    // A lone number is a series of one point, with no axis but its own.
    for (const single of singles) found.addTables([single]);
  }

  private single(name: string, { start, end }: Member, singles: NumberList[]): void {
    const { ledger } = this;
    if (ledger.isHoled(start, end)) {
      this.lose(start, end);
      return;
    }
    const cell = this.bytes[start] === OPEN ? undefined : this.cellOf(start, end);
    if (typeof cell === 'number') {
      singles.push({ name, cells: [cell] });
      ledger.record(start, end);
    } else ledger.passOver(start, end);
  }
}
