/**
 * Tables of text: Keras CSVLogger, Lightning, timm, AlgoPerf and pandas, W&B exports, hand-made ones.
 *
 * The separator (`,` `;` tab `|`) is found from the header; with `;` or tabs numbers may have a decimal comma.
 * An empty cell, `NA`, `null` or `None` is missing: no point, neither zero nor NaN. A cell that says `nan` is NaN. Any
 * other text is refused; a column of it is not a series.
 * A repeated header marks a restart. A quoted cell may hold separators, quotes (doubled) and line ends.
 */

import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { decodeName } from '../bytes/encoding.ts';
import { type LineFate, lineScanner } from '../bytes/lines.ts';
import { isAxisName } from './axis-words.ts';
import { countAt, placesOf, type Tally, tally } from './bad-lines.ts';
import { isCutShort } from './cut-number.ts';
import { type LogTable, logTable, namedByFile, runsOf } from './exported.ts';
import { type LogFormat, type LoggedRun, type LogReading, type LogReadOptions, wholeBy } from './format.ts';
import { isMissingText, numberOfText, scanNumber, scanned } from './number-text.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const DOT = 0x2e;
const HASH = 0x23;
const BLANK = 0x20;
/** Characters of a row with a quoted cell that spans lines. */
const MAX_QUOTED = 1 << 20;
const SEPARATORS = ['\t', ';', ',', '|'];

/** A row that is being cut into cells; it goes on in the next line while a quoted cell is open. */
interface CutRow {
  readonly cells: string[];
  /** What the open cell holds so far; undefined where none is open. */
  open: string | undefined;
}

/** Cuts a line, quotes resolved. Each character is looked at once, however many lines a row has. */
function cutLine(line: string, separator: string, row: CutRow = { cells: [], open: undefined }): CutRow {
  let at = 0;
  for (;;) {
    const goesOn = row.open !== undefined;
    if (goesOn || line[at] === '"') {
      let cell = goesOn ? `${row.open}\n` : '';
      let from = goesOn ? at : at + 1;
      row.open = undefined;
      for (;;) {
        const quote = line.indexOf('"', from);
        if (quote < 0) {
          row.open = cell + line.slice(from);
          return row;
        }
        cell += line.slice(from, quote);
        from = quote + 1;
        if (line[from] !== '"') break;
        cell += '"';
        from++;
      }
      const next = line.indexOf(separator, from);
      const after = line.slice(from, next < 0 ? line.length : next);
      // Text after the closing quote: no writer quotes so, and `"0.4"5` is not 0.45.
      row.cells.push(after.trim() === '' ? cell : `"${cell}"${after}`);
      if (next < 0) return row;
      at = next + 1;
    } else {
      const next = line.indexOf(separator, at);
      row.cells.push(line.slice(at, next < 0 ? line.length : next).trim());
      if (next < 0) return row;
      at = next + 1;
    }
  }
}

/** The cells of a line; undefined while a quoted cell is still open. */
function splitCells(line: string, separator: string): string[] | undefined {
  const { cells, open } = cutLine(line, separator);
  return open === undefined ? cells : undefined;
}

/** The separator that cuts a header into most cells; undefined where none cuts it. */
function separatorOf(header: string): string | undefined {
  const excel = /^sep=(.)$/.exec(header.trim());
  if (excel) return excel[1];
  let best: string | undefined;
  let most = 1;
  for (const separator of SEPARATORS) {
    const cells = splitCells(header, separator)?.length ?? 1;
    if (cells > most) {
      most = cells;
      best = separator;
    }
  }
  return best;
}

/** Whether numbers may have a decimal comma: in files that it does not separate. */
const hasDecimalComma = (separator: string): boolean => separator === ';' || separator === '\t';

const isNumber = (cell: string, separator: string): boolean =>
  numberOfText(cell, hasDecimalComma(separator)) !== undefined;

/** A header is names: short, and no cell of it a number. */
const isHeader = (cells: readonly string[], separator: string): boolean =>
  cells.every((cell) => cell.length <= 200 && (cell === '' || !isNumber(cell, separator))) &&
  cells.some((cell) => /^["\w(]/.test(cell));

export const csv: LogFormat = {
  id: 'csv',
  title: 'CSV',
  text: true,
  mayBeData: true,
  mayBeText: true,
  sniff(head) {
    const text = head.toString('latin1');
    const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
    const header = lines[0];
    if (header === undefined || /^\s*[{[<|]/.test(header)) return false;
    const separator = separatorOf(header);
    if (header.startsWith('sep=')) return true;
    // The last line of the head may be cut.
    const rows = lines.slice(1, 20).slice(0, lines.length > 20 || text.endsWith('\n') ? undefined : -1);
    if (separator === undefined) {
      // A single column: a name, then numbers only.
      const sole = header.trim();
      return (
        /^["A-Za-z_][\w./ "-]{0,80}$/.test(sole) &&
        rows.length >= 2 &&
        rows.every((row) => isNumber(row, ','))
      );
    }
    const cells = splitCells(header, separator);
    if (cells === undefined) return false;
    if (rows.length === 0)
      return (
        isHeader(cells, separator) &&
        cells.every((cell) => /^[\w./() -]{0,60}$/.test(cell)) &&
        cells.some((cell) => isAxisName(cell) || /loss/i.test(cell))
      );
    // A progress bar has bars between its cells too.
    if (rows.length > 0 && !isHeader(cells, separator)) return false;
    const good = rows.filter((row) => {
      const found = splitCells(row, separator);
      return (
        found === undefined ||
        (found.length === cells.length && found.some((cell) => isNumber(cell, separator)))
      );
    }).length;
    return good * 2 > rows.length;
  },

  read: wholeBy(readOn),
  readOn,
};

/** Reads what is pushed; a last line without an end, and one in an open quote, may be a part of a row. */
function readOn(path: string, { encoding }: LogReadOptions): LogReading {
  const badHeader: ErrorRecord[] = [];
  const badRows = tally();
  const openQuotes = tally();
  let linesInQuotes = 0;
  const restarts: number[] = [];
  const notes: string[] = [];
  let table = logTable();
  let separator = '';
  let separatorByte = 0;
  let decimalMark = DOT;
  let header: string[] | undefined;
  let headerText = '';
  /** Column of the table for each cell; -1 for those that are ambiguous. */
  let columns = new Int32Array(0);
  /** The cells of the row that is being read, until it is added as a whole; `missing` is 1 where one is empty. */
  let values = new Float64Array(0);
  let missing = new Uint8Array(0);
  /** Whether its cells go into the table one by one: from the first on that is text, or where columns are ambiguous. */
  let byCell = false;
  let isAmbiguous = false;
  /** A row whose quoted cell goes on in the next line. */
  let open: (CutRow & { line: number; lines: number; length: number; holdsRows: boolean }) | undefined;

  const begin = (text: string): void => {
    separator ||= separatorOf(text) ?? ',';
    const excel = /^sep=(.)$/.exec(text.trim());
    if (excel) return;
    const cells = splitCells(text, separator) ?? [text];
    separatorByte = separator.charCodeAt(0);
    decimalMark = hasDecimalComma(separator) ? -1 : DOT;
    const named = isHeader(cells, separator);
    header = cells.map((cell, k) => (named && cell !== '' ? cell : `(unnamed ${k})`));
    headerText = named ? text : '';
    table = logTable(named && cells[0] === '' ? header[0] : undefined);
    const counts = new Map<string, number>();
    for (const name of header) counts.set(name, (counts.get(name) ?? 0) + 1);
    for (const [column, count] of counts)
      if (count > 1)
        badHeader.push(diagError('log-duplicate-column', { column, count }, { path, line: 1 }).toRecord());
    columns = Int32Array.from(header, (name) => (counts.get(name) === 1 ? table.column(name) : -1));
    isAmbiguous = columns.includes(-1);
    values = new Float64Array(columns.length);
    missing = new Uint8Array(columns.length);
    if (!named) notes.push('the file has no header; its columns are numbered');
  };

  const setText = (cell: number, text: string, lineNumber: number): void => {
    if (isMissingText(text)) {
      table.miss(columns[cell]!);
      return;
    }
    const value = numberOfText(text, decimalMark !== DOT);
    if (value === undefined) table.refuse(columns[cell]!, text, lineNumber);
    else table.set(columns[cell]!, value);
  };

  /** A row as text: quoted cells, and whatever the fast way does not take. False if its cells do not fit. */
  const slowRow = (cells: readonly string[], lineNumber: number): boolean => {
    if (cells.length !== columns.length) return false;
    cells.forEach((cell, k) => {
      if (columns[k]! >= 0) setText(k, cell.trim(), lineNumber);
    });
    return true;
  };

  /** Whether a line that a quoted cell took looks like a row of its own. */
  const isRow = (line: string): boolean => {
    let cells = 1;
    for (let at = line.indexOf(separator); at >= 0; at = line.indexOf(separator, at + 1)) cells++;
    return cells === columns.length && isNumber(line.split(separator, 1)[0]!, separator);
  };

  /** From a cell on the row goes into the table cell by cell, those before it first. */
  const goByCell = (cell: number): void => {
    byCell = true;
    for (let k = 0; k < cell; k++)
      if (missing[k] === 1) table.miss(columns[k]!);
      else table.set(columns[k]!, values[k]!);
  };
  const endRow = (lineNumber: number): void => {
    if (byCell) table.endRow(lineNumber);
    else table.addRow(columns, values, lineNumber, missing);
  };

  /** The row in [start, end); 'slow' where a cell is quoted, false where the number of cells does not fit. */
  const fastRow = (bytes: Buffer, start: number, end: number, lineNumber: number): boolean | 'slow' => {
    const between = separatorByte;
    const count = columns.length;
    const [numbers, empty] = [values, missing];
    let at = start;
    byCell = isAmbiguous;
    for (let cell = 0; cell < count; cell++) {
      while (at < end && bytes[at] === BLANK) at++;
      // A separator at the very end opens one more, empty cell.
      const byte = at < end ? bytes[at]! : between;
      if (byte === QUOTE) return 'slow';
      if (byte === between) {
        if (!byCell) empty[cell] = 1;
        else if (columns[cell]! >= 0) table.miss(columns[cell]!);
      } else {
        let stop = scanNumber(bytes, at, end, decimalMark === -1 ? markOf(bytes, at, end) : DOT);
        while (stop > 0 && stop < end && bytes[stop] === BLANK) stop++;
        if (stop === end || (stop > 0 && bytes[stop] === between)) {
          if (!byCell) {
            numbers[cell] = scanned[0]!;
            empty[cell] = 0;
          } else if (columns[cell]! >= 0) table.set(columns[cell]!, scanned[0]!);
          at = stop;
        } else {
          let to = at;
          while (to < end && bytes[to] !== between) to++;
          if (!byCell) goByCell(cell);
          if (columns[cell]! >= 0) setText(cell, decodeName(bytes, at, to).trim(), lineNumber);
          at = to;
        }
      }
      if (at >= end) return cell === count - 1;
      at++;
      if (at === end && cell !== count - 2) return false;
    }
    return false;
  };
  const markOf = (bytes: Buffer, at: number, end: number): number => {
    for (let k = at; k < end && bytes[k] !== separatorByte; k++) if (bytes[k] === COMMA) return COMMA;
    return DOT;
  };

  /** The line goes on with the quoted cell of the row before it, or opens one. */
  const quoted = (text: string, lineNumber: number, terminated: boolean): LineFate => {
    const goesOn = open !== undefined;
    open ??= { cells: [], open: undefined, line: lineNumber, lines: 0, length: 0, holdsRows: false };
    open.lines++;
    open.length += text.length;
    if (goesOn && isRow(text)) open.holdsRows = true;
    cutLine(text, separator, open);
    const row = open;
    if (row.open !== undefined && terminated && row.length < MAX_QUOTED) return 'held';
    open = undefined;
    if (row.open !== undefined && row.lines === 1 && !terminated) return 'torn-record';
    // A cell that took lines which are rows was opened by a stray quote, wherever the next one closed it.
    if (row.open !== undefined || row.holdsRows) {
      countAt(openQuotes, row.line);
      linesInQuotes += row.lines;
      return 'unclosed-quote';
    }
    if (slowRow(row.cells, row.line)) {
      table.endRow(row.line);
      return 'record';
    }
    return misfit(row.line, terminated);
  };
  const misfit = (lineNumber: number, terminated: boolean): LineFate => {
    table.dropRow();
    if (!terminated) return 'torn-record';
    countAt(badRows, lineNumber);
    return 'wrong-cells';
  };

  const scanner = lineScanner(
    path,
    {
      blank: () => (open === undefined ? 'overhead' : quoted('', open.line, true)),
      line(bytes, start, end, lineNumber, terminated) {
        if (header === undefined) {
          if (bytes[start] === HASH) return 'overhead';
          begin(decodeName(bytes, start, end));
          if (header === undefined || headerText !== '') return 'overhead';
        }
        if (open !== undefined) return quoted(decodeName(bytes, start, end), lineNumber, terminated);
        if (
          headerText !== '' &&
          bytes[start]! > 0x39 &&
          end - start === Buffer.byteLength(headerText) &&
          decodeName(bytes, start, end) === headerText
        ) {
          restarts.push(lineNumber);
          return 'overhead';
        }
        const fits = fastRow(bytes, start, end, lineNumber);
        if (fits === 'slow') {
          table.dropRow();
          return quoted(decodeName(bytes, start, end), lineNumber, terminated);
        }
        if (!fits) return misfit(lineNumber, terminated);
        if (!terminated) {
          if (!byCell) goByCell(columns.length);
          if (isCut(bytes, start, end)) return misfit(lineNumber, terminated);
        }
        endRow(lineNumber);
        return 'record';
      },
      heldAtEnd() {
        countAt(openQuotes, open!.line);
        linesInQuotes += open!.lines;
        return 'unclosed-quote';
      },
    },
    encoding === undefined ? {} : { encoding },
  );

  /**
   * Whether the last cell of a last line without an end was cut where that changes its size: a number that stops at
   * its mark, or that lost the exponent that the value before it has.
   */
  function isCut(bytes: Buffer, start: number, end: number): boolean {
    const from = bytes.lastIndexOf(separatorByte, end - 1) + 1;
    const cell = bytes.toString('latin1', Math.max(from, start), end);
    const index = columns.at(-1)!;
    if (index < 0 || !/^[-+\d.eE]+$/.test(cell)) return false;
    const column = table.columns[index]!;
    const before = column.count < 2 ? Number.NaN : Math.abs(column.value.finish().at(-2)!);
    const lostExponent = before > 0 && before < 1e-4 && !/e/i.test(cell);
    const earlier = column.value.finish();
    return !/\d$/.test(cell) || lostExponent || isCutShort(cell, earlier.subarray(0, earlier.length - 1));
  }

  return {
    push: (chunk) => scanner.push(chunk),
    mayGoOn: (rest) => rest.length > 0 || open !== undefined,
    content() {
      const { account, errors } = scanner.end();
      const { series, stepUnit, notes: axisNotes } = table.finish();
      const all = [...notes, ...gapNotes(table), ...axisNotes];
      const runs = runsOf(namedByFile(series, path), table.runs()).map(
        (run): LoggedRun => ({ ...run, stepUnit, restarts: [...restarts], notes: all }),
      );
      const bad = badRowErrors(badRows, columns.length, { openQuotes, linesInQuotes }, path);
      return { kept: table.rows(), account, errors: [...badHeader, ...errors, ...bad], runs };
    },
  };
}

/** A note on empty cells, where some columns have few. */
function gapNotes({ columns, rows }: LogTable): string[] {
  const gaps = columns.filter(({ missing }) => missing > 0 && missing * 2 <= rows());
  if (gaps.length === 0) return [];
  const named = gaps.slice(0, 3).map(({ name, missing }) => `"${name}" in ${missing} of ${rows()} rows`);
  return [
    `empty cells are missing values, neither 0 nor NaN (pandas writes NaN so): ${named.join(', ')}${gaps.length > 3 ? `, and ${gaps.length - 3} more` : ''}`,
  ];
}

/** The errors of rows that do not fit, and of quotes that stay open. */
function badRowErrors(
  badRows: Tally,
  cells: number,
  { openQuotes, linesInQuotes }: { readonly openQuotes: Tally; readonly linesInQuotes: number },
  path: string,
): ErrorRecord[] {
  const errors: ErrorRecord[] = [];
  if (badRows.count > 0)
    errors.push(
      diagError(
        'log-lines-bad',
        {
          count: badRows.count,
          what: `rows of ${cells} cells`,
          one: `a row of ${cells} cells`,
          lines: placesOf(badRows),
        },
        { path, line: badRows.first[0]! },
      ).toRecord(),
    );
  if (openQuotes.count > 0)
    errors.push(
      diagError(
        'log-quote-open',
        { count: linesInQuotes, lines: placesOf(openQuotes) },
        { path, line: openQuotes.first[0]! },
      ).toRecord(),
    );
  return errors;
}
