/**
 * One JSON document: lists of numbers by name (`{"loss": [0.7, 0.6]}`, a Keras history), lists of records
 * (`[{"epoch": 1, "loss": 0.7}]`, Chainer), the JSON of a TensorBoard chart (`[[time, step, value], …]`), or single
 * numbers (a summary). Names of nested members are joined with `.`; lists of one length beside each other share an axis.
 */
import { diagError, type ErrorRecord } from '../model/errors.ts';
import type { Lost } from '../model/log.ts';
import type { Run } from '../model/run.ts';
import type { LogFormat, LoggedRun, LoggedSeries } from './format.ts';
import { lineCounter, type Member, membersOf, wholeDocument } from './json-document.ts';
import { objectScanner, skipBlanks } from './json-line.ts';
import { isRecordLines } from './jsonl.ts';
import { scanNumber, scanned } from './number-text.ts';
import { isAxisName, rowTable } from './row-table.ts';

const OPEN = 0x7b;
const OPEN_LIST = 0x5b;
const QUOTE = 0x22;
const MAX_DEPTH = 100;
/** JSON documents that are something else: models, indexes of weights, notebooks, reports. */
const OTHER_DOCUMENTS =
  /"(weightsManifest|modelTopology|weight_map|nbformat|toolVersion|architectures|added_tokens|model_type|\$schema|expectedClass|log_history)"\s*:/;

interface NumberList {
  readonly name: string;
  /** Index of each number in the list: a null is missing, not zero. */
  readonly index: number[];
  readonly value: number[];
  readonly length: number;
}

/** Many JSON documents hold numbers or lists of them. */
function unmeasured(runs: readonly Run[]): string | undefined {
  const series = runs.flatMap((run) => run.series);
  if (!series.some(({ value }) => value.length > 1)) return 'a JSON document without series';
  if (!series.some(({ role }) => role !== 'other'))
    return 'a JSON document without a loss, a metric or a norm';
  return undefined;
}

export const json: LogFormat = {
  id: 'json',
  title: 'JSON document',
  tried: 'a JSON document of lists of numbers or of records',
  text: true,
  document: true,
  vague: true,
  noLog: unmeasured,
  sniff(head) {
    const text = head.toString('latin1');
    return (
      /^\s*(\{\s*"|\[\s*[[{]|\[\s*-?\d[\d.eE+-]*\s*,\s*(-?\d|null|NaN))/.test(text) &&
      /[:[,]\s*-?(\d|NaN|Infinity)/.test(text) &&
      !OTHER_DOCUMENTS.test(text) &&
      !isRecordLines(text)
    );
  },
  async read(chunks, path) {
    const bytes = await wholeDocument(chunks, path);
    const stop = bytes.length;
    const start = skipBlanks(bytes, 0, stop);
    const lineOf = lineCounter(bytes);
    const errors: ErrorRecord[] = [];
    const series: LoggedSeries[] = [];
    const notes: string[] = [];
    let stepUnit: LoggedRun['stepUnit'] = 'row';
    let longest = 0;
    let kept = 0;
    let lost = 0;
    let cut = -1;
    const names = new Map<string, number>();

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
        // Lists stand in one line: their points are told apart by their index.
        series.push(withLines && line !== undefined ? { ...one, line } : one);
      }
    };

    const number = (at: number, end: number): number | undefined => {
      const from = bytes[at] === QUOTE ? at + 1 : at;
      const to = scanNumber(bytes, from, end);
      if (to < 0) return undefined;
      return skipBlanks(bytes, bytes[at] === QUOTE ? to + 1 : to, end) === end ? scanned[0] : undefined;
    };

    /** A list: of numbers, of records, or of triples; anything else is passed over. */
    const list = (name: string, member: Member, lists: NumberList[]): void => {
      const index: number[] = [];
      const value: number[] = [];
      const end = { at: 0 };
      let length = 0;
      let records: ReturnType<typeof recordReader> | undefined;
      for (const element of membersOf(bytes, member.start, member.end, end)) {
        const byte = bytes[element.start];
        // The last number of a cut document may be cut itself.
        if (!element.whole) {
          cut = element.start;
          break;
        }
        if (byte === OPEN) {
          records ??= recordReader(name);
          if (!records.row(element)) lost++;
        } else if (byte === OPEN_LIST) {
          const triple = [...membersOf(bytes, element.start, element.end)].map((one) =>
            number(one.start, one.end),
          );
          if (triple.length !== 3 || triple.includes(undefined)) continue;
          records ??= recordReader(name);
          records.triple(triple as number[], element);
        } else {
          const found = number(element.start, element.end);
          if (found !== undefined) {
            index.push(length);
            value.push(found);
          }
        }
        length++;
      }
      if (end.at < 0 && cut < 0) cut = member.end;
      records?.finish();
      if (value.length > 0) lists.push({ name: name === '' ? 'value' : name, index, value, length });
    };

    const recordReader = (name: string) => {
      const table = rowTable();
      const scan = objectScanner(table);
      return {
        row: (element: Member): boolean => scan.row(bytes, element.start, element.end, lineOf(element.start)),
        triple([time, step, value]: number[], element: Member): void {
          table.set(table.column('timestamp'), time!);
          table.set(table.column('step'), step!);
          table.set(table.column(name === '' ? 'value' : name), value!);
          table.endRow(lineOf(element.start));
        },
        finish(): void {
          const found = table.finish();
          errors.push(...scan.errors(path));
          const prefixed = found.series.some((one) => names.has(one.name)) && name !== '';
          add(
            prefixed
              ? { ...found, series: found.series.map((one) => ({ ...one, name: `${name}.${one.name}` })) }
              : found,
            table.rows(),
            true,
          );
        },
      };
    };

    /** The lists beside each other that have one length are a table. */
    const tables = (lists: readonly NumberList[]): void => {
      for (const length of new Set(lists.map((one) => one.length))) {
        const among = lists.filter((one) => one.length === length);
        const table = rowTable();
        // An axis in a nested object is found by its last name, and keeps its whole one.
        const wholeName = new Map<string, string>();
        const columns = among.map(({ name }) => {
          const last = name.split('.').at(-1)!;
          const short = among.length > 1 && isAxisName(last) && !wholeName.has(last) ? last : name;
          wholeName.set(short, name);
          return table.column(short);
        });
        const next = among.map(() => 0);
        for (let row = 0; row < length; row++) {
          among.forEach(({ index, value }, k) => {
            if (index[next[k]!] === row) {
              table.set(columns[k]!, value[next[k]!]!);
              next[k]!++;
            }
          });
          table.endRow(1);
        }
        const found = table.finish();
        const series = found.series.map((one) => ({ ...one, name: wholeName.get(one.name) ?? one.name }));
        add({ ...found, series }, length, false);
      }
    };

    const object = (prefix: string, member: Pick<Member, 'start' | 'end'>, depth: number): void => {
      const lists: NumberList[] = [];
      const singles: NumberList[] = [];
      const end = { at: 0 };
      for (const one of membersOf(bytes, member.start, member.end, end)) {
        const name = prefix + one.key;
        const byte = bytes[one.start];
        if (byte === OPEN && depth < MAX_DEPTH) object(`${name}.`, one, depth + 1);
        else if (byte === OPEN_LIST) list(name, one, lists);
        else if (one.whole) {
          const found = number(one.start, one.end);
          if (found !== undefined) singles.push({ name, index: [0], value: [found], length: 1 });
        }
      }
      if (end.at < 0 && cut < 0) cut = member.end;
      tables(lists);
      // A lone number is a series of one point, with no axis but its own.
      for (const single of singles) tables([single]);
    };

    if (bytes[start] === OPEN) object('', { start, end: stop }, 0);
    else if (bytes[start] === OPEN_LIST) {
      const lists: NumberList[] = [];
      list('', { key: '', start, end: stop, whole: true }, lists);
      tables(lists);
    }
    const doubled = [...names].filter(([, count]) => count > 1).map(([name]) => name);
    for (const key of doubled)
      errors.push(diagError('log-duplicate-key', { key, count: 1, lines: 'any' }, { path }).toRecord());
    if (cut >= 0)
      errors.push(
        diagError(
          'log-document-damaged',
          { offset: cut, reason: `it has ${stop} bytes and does not end there` },
          { path, byteOffset: cut },
        ).toRecord(),
      );
    const torn = cut >= 0 ? stop - cut : 0;
    const losses: Lost[] = torn > 0 ? [{ reason: 'torn-record', bytes: torn, at: cut }] : [];
    if (lost > 0) losses.push({ reason: 'damaged', records: lost, bytes: 0, at: 0 });
    return {
      kept,
      account: { bytes: stop, records: stop - torn, overhead: 0, passedOver: 0, lost: losses },
      errors,
      runs: [{ stepUnit, series: series.filter((one) => !doubled.includes(one.name)), notes }],
    };
  },
};
