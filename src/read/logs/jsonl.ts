/**
 * JSON objects, one a line: `{"step": 1, "loss": 0.7}`. Nested objects are flattened with `.` (`{"a": {"b": 1}}` is
 * the series `a.b`), arrays are skipped, numbers may be strings ("NaN", "1e400"), bare NaN and Infinity are read.
 */

import { diagError } from '../../model/errors.ts';
import { lineScanner } from '../bytes/lines.ts';
import { countAt, placesOf, tally } from './bad-lines.ts';
import { logTable, runsOf } from './exported.ts';
import { type LogFormat, type LogReading, type LogReadOptions, wholeBy } from './format.ts';
import { objectScanner, skipBlanks } from './json-line.ts';

const OPEN_BRACE = 0x7b;
const RECORD_START = /^\{\s*"[^"]*"\s*:/;

/** A dictionary of Python. */
const DICTIONARY = /^\{\s*'/;

/**
 * Whether a head is records, one a line. The first line that starts like an object decides. Text may precede
 * it, but no other format's records. A sole line is a record if it has a step, or no lists: those make a document.
 */
export function isRecordLines(text: string): boolean {
  // A list of them, one a line, is a document.
  if (/^\s*\[\s*\{/.test(text)) return false;
  const lines = text.split('\n', 50).map((line) => line.trim());
  // A damaged first record does not decide: it is reported as a loss and is not another format's text.
  const whole = text.split('\n', 50).some((line) => /^\{".*\}\r?$/.test(line));
  const mayBeDamaged = (line: string): boolean => whole || (line.endsWith('}') && line.includes('":'));
  const first = lines.findIndex(
    (line) =>
      line.startsWith('{') && (RECORD_START.test(line) || DICTIONARY.test(line) || !mayBeDamaged(line)),
  );
  if (first < 0 || !RECORD_START.test(lines[first]!)) return false;
  if (lines.slice(first + 1).some((line) => line.startsWith('{"'))) return true;
  const alone = lines[first]!;
  const holdsLists = /:\s*\[\s*[-\d{[NI]/.test(alone);
  // A step in a list belongs to a record in a document: `{"run a": [{"step": 0, …}]}`.
  const [head = ''] = alone.split(/:\s*\[\s*\{/, 1);
  const hasAxis = /"(_?step|global_step|iteration|iter|epoch)"\s*:\s*-?\d/.test(head);
  return (alone.endsWith('}') || lines.length === 1) && (!holdsLists || hasAxis);
}

export const jsonl: LogFormat = {
  id: 'jsonl',
  title: 'JSON lines',
  text: true,
  names: /\.(jsonl|ndjson)$/i,
  // The arguments of the run.
  headerRecords: 1,
  mayBeData: true,
  // A document of numbers is one object too: a summary, a vocabulary.
  noLog: (runs, path) =>
    /\.json(\.gz)?$/i.test(path) && runs.every(({ series }) => series.every(({ value }) => value.length < 2))
      ? 'a JSON document without series'
      : undefined,
  sniff: (head) => isRecordLines(head.toString('latin1')),
  read: wholeBy(readOn),
  readOn,
};

/** Reads what is pushed; the scanner and the table keep all state between lines. */
function readOn(path: string, { encoding }: LogReadOptions): LogReading {
  const table = logTable();
  const scan = objectScanner(table);
  const bad = tally();
  const lines = lineScanner(
    path,
    {
      line(bytes, start, end, lineNumber, terminated) {
        const at = skipBlanks(bytes, start, end);
        if (at === end) return 'overhead';
        if (bytes[at] === OPEN_BRACE && scan.row(bytes, at, end, lineNumber)) return 'record';
        if (!terminated) return 'torn-record';
        countAt(bad, lineNumber);
        return 'damaged';
      },
    },
    encoding === undefined ? {} : { encoding },
  );
  return {
    push: (chunk) => lines.push(chunk),
    mayGoOn: (rest) => rest.toString('latin1').trimEnd().at(-1) === '}',
    content() {
      const { account, errors } = lines.end();
      if (bad.count > 0)
        errors.push(
          diagError(
            'log-lines-bad',
            { count: bad.count, what: 'JSON objects', one: 'a JSON object', lines: placesOf(bad) },
            { path, line: bad.first[0]! },
          ).toRecord(),
        );
      errors.push(...scan.errors(path));
      const { series, ...rest } = table.finish();
      const runs = runsOf(series, table.runs()).map((run) => ({ ...run, ...rest }));
      return { kept: table.rows(), account, errors, runs };
    },
  };
}
