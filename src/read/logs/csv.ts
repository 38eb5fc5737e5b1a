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
import { type LineFate, type LineSink, lineScanner } from '../bytes/lines.ts';
import { isAxisName } from './axis-words.ts';
import { countAt, placesOf, type Tally, tally } from './bad-lines.ts';
import { isCutShort } from './cut-number.ts';
import { type LogTable, logTable, namedByFile, runsOf } from './exported.ts';
import {
  type LogContent,
  type LogFormat,
  type LoggedRun,
  type LogReading,
  type LogReadOptions,
  wholeBy,
} from './format.ts';
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

/** The text in quotes from a place on, and where it ends: below 0 where it goes on in the next line. */
function inQuotes(line: string, at: number): { readonly text: string; readonly end: number } {
  let text = '';
  for (let from = at; ; from++) {
    const quote = line.indexOf('"', from);
    if (quote < 0) return { text: text + line.slice(from), end: -1 };
    text += line.slice(from, quote);
    from = quote + 1;
    if (line[from] !== '"') return { text, end: from };
    text += '"';
  }
}

/** Cuts a line, quotes resolved. Each character is looked at once, however many lines a row has. */
function cutLine(line: string, separator: string, row: CutRow = { cells: [], open: undefined }): CutRow {
  let at = 0;
  for (;;) {
    const begun = row.open;
    let quoted: string | undefined;
    if (begun !== undefined || line[at] === '"') {
      const { text, end } = inQuotes(line, begun === undefined ? at + 1 : at);
      quoted = begun === undefined ? text : `${begun}\n${text}`;
      row.open = end < 0 ? quoted : undefined;
      if (end < 0) return row;
      at = end;
    }
    const next = line.indexOf(separator, at);
    const rest = line.slice(at, next < 0 ? line.length : next);
    // Text after the closing quote: no writer quotes so, and `"0.4"5` is not 0.45.
    row.cells.push(quoted === undefined ? rest.trim() : rest.trim() === '' ? quoted : `"${quoted}"${rest}`);
    if (next < 0) return row;
    at = next + 1;
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
  const rows = new CsvRows(path);
  const scanner = lineScanner(path, rows, encoding === undefined ? {} : { encoding });
  return {
    push: (chunk) => scanner.push(chunk),
    mayGoOn: (rest) => rest.length > 0 || rows.isOpen(),
    content() {
      const { account, errors } = scanner.end();
      const found = rows.content();
      return { ...found, account, errors: [...rows.badHeader, ...errors, ...found.errors] };
    },
  };
}

/** The names of the columns, and how a line is cut. */
class Header {
  readonly separatorByte: number;
  readonly hasComma: boolean;
  readonly table: LogTable;
  /** Column of the table for each cell; -1 for those that are ambiguous. */
  readonly columns: Int32Array;
  readonly isAmbiguous: boolean;
  /** Names that occur more than once, and how often. */
  readonly twice: readonly (readonly [string, number])[];

  /** @param text as the file has it; empty where the first line is no header */
  constructor(
    readonly text: string,
    readonly separator: string,
    cells: readonly string[],
  ) {
    this.separatorByte = separator.charCodeAt(0);
    this.hasComma = hasDecimalComma(separator);
    const names = cells.map((cell, k) => (text !== '' && cell !== '' ? cell : `(unnamed ${k})`));
    const table = logTable(text !== '' && cells[0] === '' ? names[0] : undefined);
    const counts = new Map<string, number>();
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    this.twice = [...counts].filter(([, count]) => count > 1);
    this.columns = Int32Array.from(names, (name) => (counts.get(name) === 1 ? table.column(name) : -1));
    this.isAmbiguous = this.columns.includes(-1);
    this.table = table;
  }

  /** Whether a line is the header once more. */
  isAgain(bytes: Buffer, start: number, end: number): boolean {
    const { text } = this;
    return (
      text !== '' &&
      bytes[start]! > 0x39 &&
      end - start === Buffer.byteLength(text) &&
      decodeName(bytes, start, end) === text
    );
  }
}

/** The cells of one row, until it is added as a whole. */
class RowCells {
  private readonly values: Float64Array;
  /** 1 for each cell that is empty. */
  private readonly empty: Uint8Array;
  /** Whether its cells go into the table one by one: from the first on that is text, or where columns are ambiguous. */
  private byCell = false;

  constructor(private readonly header: Header) {
    this.values = new Float64Array(header.columns.length);
    this.empty = new Uint8Array(header.columns.length);
  }

  /** Reads the row in [start, end); 'slow' where a cell is quoted, false where the number of cells does not fit. */
  read(bytes: Buffer, start: number, end: number, lineNumber: number): boolean | 'slow' {
    const { columns, isAmbiguous } = this.header;
    const count = columns.length;
    let at = start;
    this.byCell = isAmbiguous;
    for (let cell = 0; cell < count; cell++) {
      while (at < end && bytes[at] === BLANK) at++;
      if (at < end && bytes[at] === QUOTE) return 'slow';
      at = this.readCell(cell, bytes, at, end, lineNumber);
      if (at >= end) return cell === count - 1;
      at++;
      // A separator at the very end opens one more, empty cell.
      if (at === end && cell !== count - 2) return false;
    }
    return false;
  }

  /** @returns where the cell ends */
  private readCell(cell: number, bytes: Buffer, at: number, end: number, lineNumber: number): number {
    const { separatorByte, hasComma, columns, table } = this.header;
    if (at >= end || bytes[at] === separatorByte) {
      if (!this.byCell) this.empty[cell] = 1;
      else if (columns[cell]! >= 0) table.miss(columns[cell]!);
      return at;
    }
    let stop = scanNumber(bytes, at, end, hasComma ? markOf(bytes, at, end, separatorByte) : DOT);
    while (stop > 0 && stop < end && bytes[stop] === BLANK) stop++;
    if (stop === end || (stop > 0 && bytes[stop] === separatorByte)) {
      if (!this.byCell) {
        this.values[cell] = scanned[0]!;
        this.empty[cell] = 0;
      } else if (columns[cell]! >= 0) table.set(columns[cell]!, scanned[0]!);
      return stop;
    }
    let to = at;
    while (to < end && bytes[to] !== separatorByte) to++;
    this.goByCell(cell);
    if (columns[cell]! >= 0) this.setText(cell, decodeName(bytes, at, to).trim(), lineNumber);
    return to;
  }

  /** From a cell on the row goes into the table cell by cell, those before it first. */
  goByCell(cell = this.values.length): void {
    if (this.byCell) return;
    const { columns, table } = this.header;
    this.byCell = true;
    for (let k = 0; k < cell; k++)
      if (this.empty[k] === 1) table.miss(columns[k]!);
      else table.set(columns[k]!, this.values[k]!);
  }

  private setText(cell: number, text: string, lineNumber: number): void {
    const { columns, table, hasComma } = this.header;
    if (isMissingText(text)) {
      table.miss(columns[cell]!);
      return;
    }
    const value = numberOfText(text, hasComma);
    if (value === undefined) table.refuse(columns[cell]!, text, lineNumber);
    else table.set(columns[cell]!, value);
  }

  /** Adds a row that is cut into texts. @returns false where the number of cells does not fit */
  addTexts(cells: readonly string[], lineNumber: number): boolean {
    const { columns, table } = this.header;
    if (cells.length !== columns.length) return false;
    cells.forEach((cell, k) => {
      if (columns[k]! >= 0) this.setText(k, cell.trim(), lineNumber);
    });
    table.endRow(lineNumber);
    return true;
  }

  add(lineNumber: number): void {
    const { columns, table } = this.header;
    if (this.byCell) table.endRow(lineNumber);
    else table.addRow(columns, this.values, lineNumber, this.empty);
  }
}

/** The decimal mark of a cell that may have a comma. */
function markOf(bytes: Buffer, at: number, end: number, separatorByte: number): number {
  for (let k = at; k < end && bytes[k] !== separatorByte; k++) if (bytes[k] === COMMA) return COMMA;
  return DOT;
}

/** The lines of a table, one after the other. */
class CsvRows implements LineSink {
  readonly badHeader: ErrorRecord[] = [];
  private readonly badRows = tally();
  private readonly openQuotes = tally();
  private linesInQuotes = 0;
  private readonly restarts: number[] = [];
  private readonly notes: string[] = [];
  /** As a line `sep=;` says. */
  private separator = '';
  private header: Header | undefined;
  private cells: RowCells | undefined;
  /** A row whose quoted cell goes on in the next line. */
  private open: (CutRow & { line: number; lines: number; length: number; holdsRows: boolean }) | undefined;

  constructor(private readonly path: string) {}

  isOpen(): boolean {
    return this.open !== undefined;
  }

  blank(): LineFate {
    return this.open === undefined ? 'overhead' : this.quoted('', this.open.line, true);
  }

  line(bytes: Buffer, start: number, end: number, lineNumber: number, terminated: boolean): LineFate {
    const header = this.header ?? this.begin(bytes, start, end);
    if (typeof header === 'string') return header;
    if (this.open !== undefined) return this.quoted(decodeName(bytes, start, end), lineNumber, terminated);
    if (header.isAgain(bytes, start, end)) {
      this.restarts.push(lineNumber);
      return 'overhead';
    }
    const cells = this.cells!;
    const fits = cells.read(bytes, start, end, lineNumber);
    if (fits === 'slow') {
      header.table.dropRow();
      return this.quoted(decodeName(bytes, start, end), lineNumber, terminated);
    }
    if (!fits) return this.misfit(lineNumber, terminated);
    if (!terminated) {
      cells.goByCell();
      if (isCut(bytes, start, end, header)) return this.misfit(lineNumber, terminated);
    }
    cells.add(lineNumber);
    return 'record';
  }

  /** Reads the header. @returns what becomes of its line; the header where the line is the first row */
  private begin(bytes: Buffer, start: number, end: number): 'overhead' | Header {
    if (bytes[start] === HASH) return 'overhead';
    const text = decodeName(bytes, start, end);
    this.separator ||= separatorOf(text) ?? ',';
    if (/^sep=(.)$/.test(text.trim())) return 'overhead';
    const cells = splitCells(text, this.separator) ?? [text];
    const named = isHeader(cells, this.separator);
    const header = new Header(named ? text : '', this.separator, cells);
    this.header = header;
    this.cells = new RowCells(header);
    for (const [column, count] of header.twice)
      this.badHeader.push(
        diagError('log-duplicate-column', { column, count }, { path: this.path, line: 1 }).toRecord(),
      );
    if (!named) this.notes.push('the file has no header; its columns are numbered');
    return named ? 'overhead' : header;
  }

  /** Whether a line that a quoted cell took looks like a row of its own. */
  private isRow(line: string): boolean {
    const { separator, columns } = this.header!;
    let cells = 1;
    for (let at = line.indexOf(separator); at >= 0; at = line.indexOf(separator, at + 1)) cells++;
    return cells === columns.length && isNumber(line.split(separator, 1)[0]!, separator);
  }

  /** The line goes on with the quoted cell of the row before it, or opens one. */
  private quoted(text: string, lineNumber: number, terminated: boolean): LineFate {
    const goesOn = this.open !== undefined;
    this.open ??= { cells: [], open: undefined, line: lineNumber, lines: 0, length: 0, holdsRows: false };
    const row = this.open;
    row.lines++;
    row.length += text.length;
    if (goesOn && this.isRow(text)) row.holdsRows = true;
    cutLine(text, this.header!.separator, row);
    if (row.open !== undefined && terminated && row.length < MAX_QUOTED) return 'held';
    this.open = undefined;
    if (row.open !== undefined && row.lines === 1 && !terminated) return 'torn-record';
    // A cell that took lines which are rows was opened by a stray quote, wherever the next one closed it.
    if (row.open !== undefined || row.holdsRows) return this.stray(row);
    return this.cells!.addTexts(row.cells, row.line) ? 'record' : this.misfit(row.line, terminated);
  }

  private stray(row: { readonly line: number; readonly lines: number }): LineFate {
    countAt(this.openQuotes, row.line);
    this.linesInQuotes += row.lines;
    return 'unclosed-quote';
  }

  private misfit(lineNumber: number, terminated: boolean): LineFate {
    this.header!.table.dropRow();
    if (!terminated) return 'torn-record';
    countAt(this.badRows, lineNumber);
    return 'wrong-cells';
  }

  heldAtEnd(): LineFate {
    return this.stray(this.open!);
  }

  /** The runs, after the end of the lines. */
  content(): Pick<LogContent, 'kept' | 'errors' | 'runs'> {
    const { table, columns } = this.header ?? { table: logTable(), columns: [] };
    const { series, stepUnit, notes: axisNotes } = table.finish();
    const notes = [...this.notes, ...gapNotes(table), ...axisNotes];
    const runs = runsOf(namedByFile(series, this.path), table.runs()).map(
      (run): LoggedRun => ({ ...run, stepUnit, restarts: [...this.restarts], notes }),
    );
    const quotes = { places: this.openQuotes, lines: this.linesInQuotes };
    const errors = badRowErrors(this.badRows, columns.length, quotes, this.path);
    return { kept: table.rows(), errors, runs };
  }
}

/**
 * Whether the last cell of a last line without an end was cut where that changes its size: a number that stops at its
 * mark, that lost the exponent that the value before it has, or most of its decimals.
 */
function isCut(
  bytes: Buffer,
  start: number,
  end: number,
  { separatorByte, columns, table }: Header,
): boolean {
  const from = bytes.lastIndexOf(separatorByte, end - 1) + 1;
  const cell = bytes.toString('latin1', Math.max(from, start), end);
  const index = columns.at(-1)!;
  if (index < 0 || !/^[-+\d.eE]+$/.test(cell)) return false;
  const values = table.columns[index]!.value.finish();
  const before = values.length < 2 ? Number.NaN : Math.abs(values.at(-2)!);
  const lostExponent = before > 0 && before < 1e-4 && !/e/i.test(cell);
  return !/\d$/.test(cell) || lostExponent || isCutShort(cell, values.subarray(0, values.length - 1));
}

/** A note on empty cells, where some columns have few. */
function gapNotes(table: LogTable): string[] {
  const rows = table.rows();
  const gaps = table.columns.filter(({ missing }) => missing > 0 && missing * 2 <= rows);
  if (gaps.length === 0) return [];
  const named = gaps.slice(0, 3).map(({ name, missing }) => `"${name}" in ${missing} of ${rows} rows`);
  return [
    `empty cells are missing values, neither 0 nor NaN (pandas writes NaN so): ${named.join(', ')}${gaps.length > 3 ? `, and ${gaps.length - 3} more` : ''}`,
  ];
}

/** Lines in quotes that stay open. */
interface OpenQuotes {
  /** The lines that they begin in. */
  readonly places: Tally;
  readonly lines: number;
}

/** The errors of rows that do not fit, and of quotes that stay open. */
function badRowErrors(badRows: Tally, cells: number, quotes: OpenQuotes, path: string): ErrorRecord[] {
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
  if (quotes.places.count > 0)
    errors.push(
      diagError(
        'log-quote-open',
        { count: quotes.lines, lines: placesOf(quotes.places) },
        { path, line: quotes.places.first[0]! },
      ).toRecord(),
    );
  return errors;
}
