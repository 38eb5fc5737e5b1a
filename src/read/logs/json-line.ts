/**
 * Reads a JSON object from bytes straight into the columns of a row table. Keys with numbers, in the order of
 * the line before, make no strings and no objects. Tolerant where writers are: bare NaN and Infinity, numbers
 * as strings. Strict where it matters: a line that is not an object gives no row, a repeated key no value.
 */

import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { decodeName, sameBytes } from '../bytes/encoding.ts';
import { countAt, placesOf, type Tally, tally } from './bad-lines.ts';
import {
  isMissingText,
  LONGEST_NUMBER,
  LONGEST_WORD,
  numberOfText,
  scanNumber,
  scanned,
} from './number-text.ts';
import type { RowTable } from './row-table.ts';
import { AMBIGUOUS_CELL } from './table-column.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_BRACKET = 0x28;
const HASH = 0x23;

/** Deeper nesting is damage or an attack. */
const MAX_DEPTH = 100;

export interface ObjectScanner {
  /** Reads the object that is the whole of [start, end) as a row; false (and no row) if it is not an object. */
  row(bytes: Buffer, start: number, end: number, line: number): boolean;
  /** Errors for keys that were ambiguous. */
  errors(path: string): ErrorRecord[];
}

/** Zero bytes are no blanks: they are a hole where text was. */
export const skipBlanks = (bytes: Buffer, at: number, end: number): number => {
  let pos = at;
  while (pos < end && bytes[pos]! <= 0x20 && bytes[pos] !== 0) pos++;
  return pos;
};

/** The position of the closing quote of the string whose content starts at `at`, or -1. */
export function stringEnd(bytes: Buffer, at: number, end: number): number {
  for (let pos = at; pos < end; pos++) {
    const byte = bytes[pos]!;
    if (byte === QUOTE) return pos;
    if (byte === BACKSLASH) pos++;
  }
  return -1;
}

/** The text of a JSON string's content. */
export function textOfString(bytes: Buffer, start: number, end: number): string {
  const text = decodeName(bytes, start, end);
  if (!text.includes('\\')) return text;
  try {
    return JSON.parse(`"${text}"`) as string;
  } catch {
    return text;
  }
}

/** A list, which is not a number of a column either. */
const LIST = '[…]';
const OTHERS = new Set(['true', 'false', LIST]);

/**
 * Refuses a truth value, a list or an object in a column that has a number in earlier rows.
 *
 * @returns the column where the row has a cell of it already
 */
function refuseOther(table: RowTable, name: string, text: string, line: number): number[] {
  const column = table.indexOf(name);
  if (column === undefined || table.columns[column]!.count === 0) return [];
  return table.refuse(column, text, line) ? [] : [column];
}

/**
 * Sets the cell of a value that is neither a number nor a text.
 *
 * @param columnOf the column of its name, made where there is none
 * @returns the column where the row has a cell of it already; undefined for a word that JSON does not know: it may have
 *   been a value, so the line is bad and the key is not absent
 */
function wordCell(
  table: RowTable,
  columnOf: () => number,
  name: string,
  word: string,
  line: number,
): number[] | undefined {
  if (OTHERS.has(word)) return refuseOther(table, name, word, line);
  const value = word === 'null' ? null : numberOfText(word);
  if (value === undefined) return undefined;
  const column = columnOf();
  const isFirst = value === null ? table.miss(column) : table.set(column, value);
  return isFirst ? [] : [column];
}

/** The position after the value at `at`, whatever its type, or -1 if there is no whole value. */
export function skipValue(bytes: Buffer, at: number, end: number): number {
  let depth = 0;
  for (let pos = at; pos < end; ) {
    const byte = bytes[pos]!;
    if (byte === QUOTE) {
      const close = stringEnd(bytes, pos + 1, end);
      if (close < 0) return -1;
      pos = close + 1;
    } else if (byte === OPEN || byte === OPEN_LIST) {
      depth++;
      pos++;
    } else if (byte === CLOSE || byte === CLOSE_LIST) {
      if (depth === 0) return pos === at ? -1 : pos;
      depth--;
      pos++;
    } else if (byte === COMMA && depth === 0) return pos === at ? -1 : pos;
    else pos++;
    if (depth === 0 && (byte === CLOSE || byte === CLOSE_LIST || byte === QUOTE)) return pos;
  }
  return -1;
}

/**
 * Whether text that {@link scanNumber} did not take is neither a word for NaN or infinity nor a printed
 * tensor: a time, a name, a message. Its bytes decide, because logs are full of it.
 */
function isPlainText(bytes: Buffer, start: number, end: number): boolean {
  if (end - start <= LONGEST_WORD) return false;
  for (let k = start; k < end; k++) {
    const byte = bytes[k]!;
    if (byte === OPEN_BRACKET || byte === HASH || byte === BACKSLASH || byte >= 0x80) return false;
  }
  return true;
}

/** Whether a value ends here: `1.#INF` does not end after its `1.`. */
function endsValue(bytes: Buffer, at: number, end: number): boolean {
  const byte = at < end ? bytes[at]! : COMMA;
  return byte === COMMA || byte === CLOSE || byte === CLOSE_LIST || (byte <= 0x20 && byte !== 0);
}

/** A key in the order of the last line: most lines repeat it, and then a comparison of bytes finds the column. */
interface Expected {
  readonly key: Buffer;
  readonly column: number;
}

/** Templates that are learnt before the first line has been read with one. */
const TRIES = 16;

/**
 * The bytes between the numbers of the last row, if all its values were numbers. Most rows repeat these
 * bytes, and then neither keys nor blanks are looked for.
 */
function rowTemplate() {
  /**
   * The bytes around the numbers, in words of four bytes. Before number k are the whole words
   * [from[k], from[k + 1]) and an overlapping last word, ends[k], masked where there are fewer than four bytes.
   * The last group follows the last number.
   */
  let words = new Int32Array(0);
  let from = new Int32Array(2);
  let ends = new Int32Array(1);
  let masks = new Int32Array(1);
  /** Bytes of each group. */
  let sizes = new Int32Array(1);
  /** The buffer that was read last, in words. */
  let viewed: Buffer | undefined;
  let view = new DataView<ArrayBufferLike>(new ArrayBuffer(0));
  let columns = new Int32Array(0);
  let values = new Float64Array(0);
  let hits = 0;
  let learnt = 0;
  /** The row that is being read: where its numbers start and stop, and their columns. */
  const marks: number[] = [];
  let isPlain = false;

  return {
    /** Forgets the row before. */
    begin(): void {
      marks.length = 0;
      isPlain = true;
    },
    /** The row has something else than a number. */
    differs(): void {
      isPlain = false;
    },
    number(start: number, stop: number, column: number): void {
      if (isPlain) marks.push(start, stop, column);
    },
    /** Makes the row that was read the template of the next ones, unless rows keep changing. */
    learn(bytes: Buffer, start: number, end: number): void {
      if (!isPlain || marks.length === 0 || learnt > hits + TRIES) return;
      learnt++;
      const count = marks.length / 3;
      columns = new Int32Array(count);
      values = new Float64Array(count);
      from = new Int32Array(count + 2);
      [ends, masks, sizes] = [from.slice(1), from.slice(1), from.slice(1)];
      const found: number[] = [];
      for (let k = 0, at = start; k <= count; k++) {
        const stop = k < count ? marks[3 * k]! : end;
        sizes[k] = stop - at;
        for (; at + 4 <= stop; at += 4) found.push(bytes.readInt32LE(at));
        from[k + 1] = found.length;
        for (let byte = 1; byte <= Math.min(4, sizes[k]!); byte++) {
          ends[k]! |= bytes[stop - byte]! << (32 - 8 * byte);
          masks[k]! |= 0xff << (32 - 8 * byte);
        }
        if (k === count) break;
        at = marks[3 * k + 1]!;
        columns[k] = marks[3 * k + 2]!;
      }
      words = Int32Array.from(found);
    },
    /** Adds the row that is [start, end); false, and no row, where it differs. */
    read(bytes: Buffer, start: number, end: number, line: number, table: RowTable): boolean {
      const count = columns.length;
      if (count === 0) return false;
      if (bytes !== viewed) {
        viewed = bytes;
        view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      }
      let at = start;
      for (let k = 0; ; k++) {
        const next = at + sizes[k]!;
        if (next > end) return false;
        const stop = from[k + 1]!;
        for (let i = from[k]!; i < stop; i++, at += 4) if (view.getInt32(at, true) !== words[i]) return false;
        if (((view.getInt32(next - 4, true) ^ ends[k]!) & masks[k]!) !== 0) return false;
        at = next;
        if (k === count) break;
        at = scanNumber(bytes, at, end);
        if (at < 0) return false;
        values[k] = scanned[0]!;
      }
      if (at !== end) return false;
      hits++;
      table.addRow(columns, values, line);
      return true;
    },
  };
}

/**
 * Sets a cell to what {@link scanNumber} does not take: another spelling of a number, a word for no value, or text.
 *
 * @returns false where the row has the cell already
 */
function textCell(
  table: RowTable,
  column: number,
  bytes: Buffer,
  start: number,
  end: number,
  line: number,
): boolean {
  // The text of a long string is cut, but stays too long for a number.
  const to = Math.min(end, start + LONGEST_NUMBER + 1);
  if (isPlainText(bytes, start, to) && table.columns[column]!.refused > 0)
    return table.refuse(column, '', line);
  const raw = bytes.toString('latin1', start, to);
  // Only what has more than ASCII in it has to be decoded to be looked at: `∞`, and escapes.
  const text = /[\\\x80-\xff]/.test(raw) ? textOfString(bytes, start, to) : raw;
  const value = numberOfText(text);
  if (value !== undefined) return table.set(column, value);
  return isMissingText(text) ? table.miss(column) : table.refuse(column, text, line);
}

/** Where the members of an object are: what goes before their names. */
interface Level {
  readonly prefix: string;
  readonly depth: number;
}
const TOP: Level = { prefix: '', depth: 0 };

/** Reads objects; positions below 0 say that there is none. */
class Objects implements ObjectScanner {
  private readonly expected: Expected[] = [];
  private readonly duplicates = new Map<string, Tally>();
  private readonly template = rowTemplate();
  private slot = 0;
  private line = 0;
  /** Columns that the row has more than one cell of. */
  private repeated: number[] = [];

  constructor(private readonly table: RowTable) {}

  row(bytes: Buffer, start: number, end: number, line: number): boolean {
    const { template, table } = this;
    if (template.read(bytes, start, end, line, table)) return true;
    this.line = line;
    this.slot = 0;
    if (this.repeated.length > 0) this.repeated = [];
    template.begin();
    const stop = this.members(bytes, start + 1, end, TOP);
    if (stop < 0 || skipBlanks(bytes, stop, end) !== end) {
      table.dropRow();
      return false;
    }
    // Allocating a Set for each row costs 10 % of the parse time.
    if (this.repeated.length === 0) template.learn(bytes, start, end);
    else this.refuseRepeated();
    table.endRow(line);
    return true;
  }

  private refuseRepeated(): void {
    const { table, duplicates } = this;
    for (const column of new Set(this.repeated)) {
      const { name } = table.columns[column]!;
      table.unset(column);
      table.refuse(column, AMBIGUOUS_CELL, this.line);
      const found = duplicates.get(name) ?? tally();
      countAt(found, this.line);
      duplicates.set(name, found);
    }
  }

  errors(path: string): ErrorRecord[] {
    return [...this.duplicates].map(([key, found]) =>
      diagError(
        'log-duplicate-key',
        { key, count: found.count, lines: placesOf(found) },
        { path, line: found.first[0]! },
      ).toRecord(),
    );
  }

  /** The members after the opening brace; the position after the closing one. */
  private members(bytes: Buffer, from: number, end: number, level: Level): number {
    let at = skipBlanks(bytes, from, end);
    if (bytes[at] === CLOSE && at < end) return at + 1;
    while (at < end) {
      if (bytes[at] !== QUOTE) return -1;
      const keyStart = at + 1;
      const keyEnd = stringEnd(bytes, keyStart, end);
      if (keyEnd < 0) return -1;
      at = skipBlanks(bytes, keyEnd + 1, end);
      if (at >= end || bytes[at] !== COLON) return -1;
      at = skipBlanks(bytes, at + 1, end);
      if (at >= end) return -1;
      at = this.value(bytes, at, end, keyStart, keyEnd, level);
      if (at < 0) return -1;
      at = skipBlanks(bytes, at, end);
      if (at >= end) return -1;
      if (bytes[at] === CLOSE) return at + 1;
      if (bytes[at] !== COMMA) return -1;
      at = skipBlanks(bytes, at + 1, end);
    }
    return -1;
  }

  /** The value at a position, of the key in [keyStart, keyEnd); the position after it. */
  private value(
    bytes: Buffer,
    at: number,
    end: number,
    keyStart: number,
    keyEnd: number,
    level: Level,
  ): number {
    const { template } = this;
    const byte = bytes[at]!;
    if (byte === OPEN) {
      template.differs();
      return this.nested(bytes, at, end, level.prefix + textOfString(bytes, keyStart, keyEnd), level.depth);
    }
    const close = byte === QUOTE ? stringEnd(bytes, at + 1, end) : end;
    if (close < 0) return -1;
    const start = byte === QUOTE ? skipBlanks(bytes, at + 1, close) : at;
    const stop = scanNumber(bytes, start, close);
    const isNumber =
      stop > 0 && (byte === QUOTE ? skipBlanks(bytes, stop, close) === close : endsValue(bytes, stop, end));
    if (isNumber || byte === QUOTE) {
      const number = scanned[0]!;
      const column = this.columnOf(bytes, keyStart, keyEnd, level.prefix);
      const isFirst = isNumber
        ? this.table.set(column, number)
        : textCell(this.table, column, bytes, at + 1, close, this.line);
      if (!isFirst) this.repeated.push(column);
      if (isNumber) template.number(start, stop, column);
      else template.differs();
      return byte === QUOTE ? close + 1 : stop;
    }
    template.differs();
    const after = skipValue(bytes, at, end);
    if (after < 0) return -1;
    const word = byte === OPEN_LIST ? LIST : bytes.toString('latin1', at, after).trim();
    const name = level.prefix + textOfString(bytes, keyStart, keyEnd);
    const columnOf = (): number => this.columnOf(bytes, keyStart, keyEnd, level.prefix);
    const twice = wordCell(this.table, columnOf, name, word, this.line);
    if (twice === undefined) return -1;
    this.repeated.push(...twice);
    return after;
  }

  /** The object at a position, as members with a name before theirs. */
  private nested(bytes: Buffer, at: number, end: number, name: string, depth: number): number {
    if (depth >= MAX_DEPTH) return -1;
    this.repeated.push(...refuseOther(this.table, name, '{…}', this.line));
    return this.members(bytes, at + 1, end, { prefix: `${name}.`, depth: depth + 1 });
  }

  private columnOf(bytes: Buffer, start: number, end: number, prefix: string): number {
    const { expected } = this;
    if (prefix === '') {
      const guess = expected[this.slot];
      if (guess !== undefined && sameBytes(guess.key, bytes, start, end)) {
        this.slot++;
        return guess.column;
      }
    }
    const column = this.table.column(prefix + textOfString(bytes, start, end));
    if (prefix === '' && this.slot < MOST_EXPECTED) {
      expected[this.slot] = { key: Buffer.from(bytes.subarray(start, end)), column };
      this.slot++;
    }
    return column;
  }
}

/** Keys whose order is remembered. */
const MOST_EXPECTED = 1000;

export const objectScanner = (table: RowTable): ObjectScanner => new Objects(table);
