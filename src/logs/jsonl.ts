/**
 * JSON objects, one a line: `{"step": 1, "loss": 0.7}`. Nested objects are flattened with `.` (`{"a": {"b": 1}}` is
 * the series `a.b`), arrays are passed over, numbers may be strings ("NaN", "1e400"), bare NaN and Infinity are read.
 */
import { scanLines, tooLongLine } from '../bytes/lines.ts';
import { diagError, type ErrorRecord } from '../model/errors.ts';
import { countAt, placesOf, tally } from './bad-lines.ts';
import type { LogFormat } from './format.ts';
import { objectScanner } from './json-line.ts';
import { rowTable } from './row-table.ts';

const OPEN_BRACE = 0x7b;

/**
 * Whether a head is records, one a line. The first line that starts like an object decides; text may stand before it,
 * but no other format's records. One line alone is a record if it has a step, or no lists: those make a document.
 */
export function isRecordLines(text: string): boolean {
  const lines = text.split('\n', 50).map((line) => line.trim());
  const first = lines.findIndex((line) => line.startsWith('{'));
  if (first < 0 || !/^\{\s*"[^"]*"\s*:/.test(lines[first]!)) return false;
  if (lines.slice(first + 1).some((line) => line.startsWith('{"'))) return true;
  const alone = lines[first]!;
  const holdsLists = /:\s*\[\s*[-\d{[NI]/.test(alone);
  const hasAxis = /"(_?step|global_step|iteration|iter|epoch)"\s*:\s*-?\d/.test(alone);
  return (alone.endsWith('}') || lines.length === 1) && (!holdsLists || hasAxis);
}

export const jsonl: LogFormat = {
  id: 'jsonl',
  title: 'JSON lines',
  tried: 'JSON objects, one a line',
  text: true,
  sniff: (head) => isRecordLines(head.toString('latin1')),
  async read(chunks, path) {
    const table = rowTable();
    const scan = objectScanner(table);
    const bad = tally();
    const errors: ErrorRecord[] = [];
    let unreadBytes = 0;
    await scanLines(chunks, {
      line(bytes, start, end, lineNumber, terminated) {
        let at = start;
        while (at < end && bytes[at]! <= 0x20) at++;
        if (at === end) return;
        if (bytes[at] === OPEN_BRACE && scan.row(bytes, at, end, lineNumber)) return;
        if (terminated) countAt(bad, lineNumber);
        else unreadBytes = end - start;
      },
      tooLong(lineNumber, length) {
        errors.push(tooLongLine(path, lineNumber, length));
      },
    });
    if (bad.count > 0)
      errors.push(
        diagError(
          'log-lines-bad',
          { count: bad.count, what: 'JSON objects', lines: placesOf(bad) },
          { path, line: bad.first[0]! },
        ).toRecord(),
      );
    errors.push(...scan.errors(path));
    return {
      kept: table.rows(),
      lost: bad.count + errors.filter((error) => error.id === 'limit-exceeded').length,
      unreadBytes,
      errors,
      runs: [table.finish()],
    };
  },
};
