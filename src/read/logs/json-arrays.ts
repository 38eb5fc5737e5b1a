/**
 * One JSON document: lists of numbers by name (`{"loss": [0.7, 0.6]}`, a Keras history), lists of records
 * (`[{"epoch": 1, "loss": 0.7}]`, Chainer), the JSON of a TensorBoard chart (`[[time, step, value], …]`), or single
 * numbers (a summary). Names of nested members are joined with `.`; sibling lists of one length share an axis.
 */
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import type { Run } from '../../model/run.ts';
import { isAxisName } from './axis-words.ts';
import { logTable, type NamedRuns, namedByFile, runsOf } from './exported.ts';
import type { LogFormat, LoggedRun, LoggedSeries } from './format.ts';
import {
  documentLedger,
  lineCounter,
  type Member,
  type MembersEnd,
  membersEnd,
  membersOf,
  wholeDocument,
} from './json-document.ts';
import { objectScanner, skipBlanks, skipValue, stringEnd, textOfString } from './json-line.ts';
import { isRecordLines } from './jsonl.ts';
import { namesLossValue, splitsAmong } from './metric-roles.ts';
import { isMissingText, LONGEST_NUMBER, numberOfText, scanNumber, scanned } from './number-text.ts';
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
    const stop = bytes.length;
    const start = skipBlanks(bytes, 0, stop);
    const lineOf = lineCounter(bytes);
    const errors: ErrorRecord[] = [];
    const series: LoggedSeries[] = [];
    const notes: string[] = [];
    let stepUnit: LoggedRun['stepUnit'] = 'row';
    let longest = 0;
    const ledger = documentLedger(bytes, encoding);
    let kept = 0;
    /** Where the document is cut or breaks, so that nothing after it can be read; and whether its text ends there. */
    let broken = -1;
    let cut = false;
    let bad = 0;
    let firstBad = -1;
    const lose = (from: number, to: number, records?: number): void => {
      if (bad++ === 0) firstBad = from;
      ledger.lose('damaged', from, to, records);
    };
    /** What is left of an object or list after what could be read of it. */
    const close = (member: Pick<Member, 'end' | 'whole'>, end: MembersEnd): void => {
      if (end.at >= 0 || broken >= 0) return;
      if (member.whole) lose(end.stopped, member.end);
      else {
        broken = end.stopped;
        cut = end.cut;
      }
    };
    const names = new Map<string, number>();
    /** The runs that records name. */
    const runOf = new Map<string, { run: string; name: string }>();
    const parts: Part[] = [];

    const add = (
      found: Pick<LoggedRun, 'series' | 'stepUnit' | 'notes'>,
      rows: number,
      withLines: boolean,
    ): void => {
      kept += rows;
      if (rows > longest) {
        longest = rows;
        stepUnit = found.stepUnit;
      }
      notes.push(...(found.notes ?? []));
      for (const { line, ...one } of found.series) {
        names.set(one.name, (names.get(one.name) ?? 0) + 1);
        const quantity = inHistory(one.name);
        series.push({
          ...one,
          // Lists are in one line: their points are distinguished by their index.
          ...(withLines && line !== undefined ? { line } : {}),
          ...(quantity === undefined ? {} : { quantity }),
        });
      }
    };

    const cellOf = (from: number, to: number): Cell | undefined => {
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
      return { refused: text, line: lineOf(from) };
    };

    /** Whether an element is a run with a list of its losses; an element with an epoch is a record of it. */
    const holdsHistory = ({ start, end }: Member): boolean =>
      bytes.subarray(start, end).includes(OPEN_LIST) &&
      LIST_OF_LOSSES.test(bytes.toString('latin1', start, end)) &&
      ![...membersOf(bytes, start, end)].some(
        (one) => isAxisName(one.key) && ![OPEN, OPEN_LIST].includes(bytes[one.start]!),
      );

    /** What a run in a list calls itself, if no other has the name; else its place. */
    const runName = (element: Member, place: number): string => {
      for (const { key, start, end, whole } of membersOf(bytes, element.start, element.end)) {
        if (!whole || !RUN_NAME.test(key) || [OPEN, OPEN_LIST].includes(bytes[start]!)) continue;
        const quoted = bytes[start] === QUOTE;
        const name = quoted ? textOfString(bytes, start + 1, end - 1) : bytes.toString('latin1', start, end);
        if (name.length <= LONGEST_NAME && parts.every((one) => one.key !== name)) return name;
      }
      return `${place}`;
    };

    /** A list: of numbers, of records, of triples, or of runs; anything else is skipped. */
    const list = (name: string, member: Member, lists: NumberList[]): void => {
      const cells: (Cell | undefined)[] = [];
      const end = membersEnd();
      let bytesOfCells = 0;
      let records: ReturnType<typeof recordReader> | undefined;
      for (const element of membersOf(bytes, member.start, member.end, end)) {
        const byte = bytes[element.start];
        // The last number of a cut document may be cut itself.
        if (!element.whole) break;
        let cell: Cell | undefined;
        if (ledger.isHoled(element.start, element.end)) lose(element.start, element.end);
        else if (byte === OPEN && name === '' && holdsHistory(element)) {
          const from = series.length;
          const key = runName(element, parts.length);
          object(`${key}.`, element, 1);
          parts.push({ key, from, to: series.length, listed: true });
        } else if (byte === OPEN) {
          records ??= recordReader(name);
          if (records.row(element)) ledger.record(element.start, element.end);
          else lose(element.start, element.end, 1);
        } else if (byte === OPEN_LIST) {
          const triple = tripleOf(element);
          if (triple === undefined) ledger.passOver(element.start, element.end);
          else {
            records ??= recordReader(name);
            records.triple(triple, element);
            ledger.record(element.start, element.end);
          }
        } else {
          cell = cellOf(element.start, element.end);
          if (cell === undefined) ledger.passOver(element.start, element.end);
          else bytesOfCells += ledger.pass(element.start, element.end);
        }
        cells.push(cell);
      }
      close(member, end);
      records?.finish();
      // A list of words is not a series, unless it has the name of a loss.
      const isSeries =
        cells.some((cell) => typeof cell === 'number') || (bytesOfCells > 0 && namesLossValue(name));
      ledger.enter(isSeries ? 'record' : 'passOver', bytesOfCells);
      if (isSeries) lists.push({ name: name === '' ? 'value' : name, cells });
    };

    /** `[time, step, value]`, as TensorBoard exports a chart. */
    const tripleOf = (element: Member): [number, number, Cell] | undefined => {
      const end = membersEnd();
      const cells = [...membersOf(bytes, element.start, element.end, end)].map((one) =>
        bytes[one.start] === OPEN || bytes[one.start] === OPEN_LIST ? undefined : cellOf(one.start, one.end),
      );
      const [time, step, value] = cells;
      return cells.length === 3 &&
        end.at >= 0 &&
        typeof time === 'number' &&
        typeof step === 'number' &&
        value !== undefined
        ? [time, step, value]
        : undefined;
    };

    const setCell = (table: RowTable, column: number, cell: Cell | undefined): void => {
      if (typeof cell === 'number') table.set(column, cell);
      else if (cell === 'missing') table.miss(column);
      else if (cell !== undefined) table.refuse(column, cell.refused, cell.line);
    };

    const recordReader = (name: string) => {
      const table = logTable();
      const scan = objectScanner(table);
      return {
        row: (element: Member): boolean => scan.row(bytes, element.start, element.end, lineOf(element.start)),
        triple([time, step, value]: [number, number, Cell], element: Member): void {
          table.set(table.column('timestamp'), time);
          table.set(table.column('step'), step);
          setCell(table, table.column(name === '' ? 'value' : name), value);
          table.endRow(lineOf(element.start));
        },
        finish(): void {
          const found = table.finish();
          errors.push(...scan.errors(path));
          for (const [called, run] of table.runs()) runOf.set(called, run);
          const prefixed = found.series.some((one) => names.has(one.name)) && name !== '';
          const called = (own: string): string => (own === name ? own : `${name}.${own}`);
          add(
            prefixed
              ? { ...found, series: found.series.map((one) => ({ ...one, name: called(one.name) })) }
              : found,
            table.rows(),
            true,
          );
        },
      };
    };

    /** Sibling lists of one length are a table. */
    const tables = (lists: readonly NumberList[]): void => {
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
        add({ ...found, series }, length, false);
      }
    };

    const object = (prefix: string, member: Member, depth: number): void => {
      const lists: NumberList[] = [];
      const singles: NumberList[] = [];
      const end = membersEnd();
      for (const one of membersOf(bytes, member.start, member.end, end)) {
        const name = prefix + one.key;
        const byte = bytes[one.start];
        // A value that runs beyond its container is damage of the container, and ends with it.
        const inner = { ...one, whole: one.whole || member.whole };
        const from = series.length;
        if (byte === OPEN && depth < MAX_DEPTH) object(`${name}.`, inner, depth + 1);
        else if (byte === OPEN_LIST) list(name, inner, lists);
        else if (one.whole && ledger.isHoled(one.start, one.end)) lose(one.start, one.end);
        else if (one.whole) {
          const found = byte === OPEN ? undefined : cellOf(one.start, one.end);
          if (typeof found === 'number') {
            singles.push({ name, cells: [found] });
            ledger.record(one.start, one.end);
          } else ledger.passOver(one.start, one.end);
        }
        if (depth === 0 && series.length > from) parts.push({ key: one.key, from, to: series.length });
      }
      close(member, end);
      tables(lists);
      // A lone number is a series of one point, with no axis but its own.
      for (const single of singles) tables([single]);
    };

    const top: Member = { key: '', start, end: stop, whole: false };
    if (bytes[start] === OPEN) object('', top, 0);
    else if (bytes[start] === OPEN_LIST) {
      const lists: NumberList[] = [];
      list('', top, lists);
      tables(lists);
    }
    if (broken >= 0) ledger.lose(cut ? 'torn-record' : 'damaged', broken, stop);
    else {
      const isDocument = bytes[start] === OPEN || bytes[start] === OPEN_LIST;
      const after = isDocument ? skipBlanks(bytes, skipValue(bytes, start, stop), stop) : start;
      if (after < stop) lose(after, stop);
    }
    for (const [name, run] of runsOfParts(series, parts)) runOf.set(name, run);
    const doubled = [...names].filter(([, count]) => count > 1).map(([name]) => name);
    for (const key of doubled)
      errors.push(diagError('log-duplicate-key', { key, count: 1, lines: 'any' }, { path }).toRecord());
    if (broken >= 0 || bad > 0) {
      const offset = bad > 0 ? firstBad : broken;
      errors.push(
        diagError(
          'log-document-damaged',
          {
            offset,
            reason: bad > 0 ? `${bad} stretches are no JSON` : `it has ${stop} bytes and does not end there`,
          },
          { path, byteOffset: offset },
        ).toRecord(),
      );
    }
    return {
      kept,
      account: ledger.account(),
      errors,
      runs: runsOf(
        namedByFile(
          series.filter((one) => !doubled.includes(one.name)),
          path,
        ),
        runOf,
      ).map((run) => ({ ...run, stepUnit, notes })),
    };
  },
};
