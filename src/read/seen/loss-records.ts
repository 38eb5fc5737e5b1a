/**
 * The second reader: every line with a loss-like word and a number, in file order, whatever the layout. It knows no log
 * format, so that a fault of one cannot hide a line from both. What it counts is compared with what was judged
 * (judge/coverage).
 */
import { ColumnBuilder } from '../../model/column.ts';
import { type LossRecords, RECORD_FLAG, TAG_FLAGS } from '../../model/loss-records.ts';
import { scanDecimal, scanned } from '../bytes/decimal.ts';
import { LineClock } from './line-clock.ts';
import { kindOfName, lossWordEnd, type NameKind } from './loss-words.ts';

/** Lines longer than this are looked at up to here. */
const LONGEST = 64 << 10;
/** Of a line that is longer the rest is skipped: a document in one line. */
const LONGEST_HELD = 1 << 20;
/** A name is known after so many numbers: text in its place is refused from then on. */
const KNOWN_AFTER = 3;
const MOST_NAMES = 4096;

interface NameState {
  readonly id: number;
  readonly kind: NameKind;
  numbers: number;
}

const NO_BYTES = Buffer.alloc(0);

const text = (bytes: Buffer, from: number, to: number): string => bytes.toString('latin1', from, to);

const isNamePart = (byte: number): boolean =>
  ((byte | 32) >= 97 && (byte | 32) <= 122) ||
  (byte >= 48 && byte <= 57) ||
  byte === 95 || // _
  byte === 47 || // /
  byte === 46 || // .
  byte === 45 || // -
  byte === 64 || // @
  byte >= 0x80;

/** A number at the start of the rest of a line, after what may separate a name from its number. */
const VALUE =
  /^[\s"'`:=|()[\]{}<>,~#*]{1,16}(?:(?:tensor|array|float|np|numpy|jnp|float16|float32|float64|bfloat16|is|was|of|avg|mean|value|now|total|cur|current|per|token|Array|DeviceArray|v|n)[\s"'`:=|()[\].]{1,4}){0,4}([+-]?(?:\d[\d,_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)\b|[+-]?1\.#\w+)(?!\.?\w)/i;
/** Words that say that there is no value. */
const NO_VALUE = /^[\s"'`:=|]{1,8}(?:none|null|n\/a|na\b|-+(?:\s|$|[,|"]))/i;
const UNIT_OF_TIME = /^\s(?:ms|s|secs?|seconds|min|minutes|hours)(?:[\s,;.)\]]|$)/;
/** The number after a name; there is no such where a cost is counted in seconds: `avg_batch_cost: 0.56 sec`. */
function valueIn(after: string, name: string): RegExpExecArray | null {
  const found = VALUE.exec(after);
  const isDuration = found !== null && /cost$/i.test(name) && UNIT_OF_TIME.test(after.slice(found[0].length));
  return isDuration ? null : found;
}
const ASSIGNED = /^["'`]?\s{0,4}[:=]/;
/** A line of source code, as a traceback quotes it: `loss = self.criterion(output, target)`. A printed tensor is no call. */
const CALLED = /^\s{0,4}=\s{0,4}(?!(?:tensor|array|float\d*|np|jnp|numpy)\b)[a-z_][\w.]{0,80}\(/;

/** Whether what is not a number is where one was to come. */
const isValue = (after: string): boolean =>
  ASSIGNED.test(after) && !NO_VALUE.test(after) && !CALLED.test(after);

function numberOf(found: string): number {
  if (/nan|1\.#/i.test(found)) return Number.NaN;
  if (/inf/i.test(found)) return found.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  // `0,5347` has a decimal comma, `54,321` is in groups of thousands.
  const isDecimal = /^[+-]?\d{1,12},\d{1,20}$/.test(found) && !IN_GROUPS.test(found);
  return Number(isDecimal ? found.replace(',', '.') : found.replace(/[,_]/g, ''));
}
const IN_GROUPS = /^[+-]?[1-9]\d{0,2},\d{3}$/;

/** A table whose header names a loss: which cell of a row holds it. */
interface Table {
  readonly separator: string;
  readonly cells: number;
  readonly column: number;
  readonly name: NameState;
}

/** A clock or a duration. */
const TIME = /^\d{1,3}(?::\d\d)+(?:\.\d+)?$/;
const SEPARATORS = [',', ';', '\t', '|'];
/** Lines that may separate a header from its first row: a rule of dashes. */
const ROWS_AFTER = 3;
const LOSS_CELL = /loss|nll|xent|bce|cost|perplexity|ppl/i;
const cellsOf = (line: string, separator: string): string[] =>
  separator === ' ' ? line.trim().split(/\s+/) : line.split(separator);
const bare = (cell: string): string => cell.trim().replace(/^["']|["']$/g, '');
const isNumberText = (cell: string): boolean =>
  /^[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf(?:inity)?)$/i.test(bare(cell));

const FEED = 10;
const RETURN = 13;
const SPACE = 32;
const PLUS = 43;
const ENDS_NUMBER = new Uint8Array(256);
for (const byte of Buffer.from(' \t\r\n,;|)]}"\'')) ENDS_NUMBER[byte] = 1;

/** The end of a decimal number at a place in bytes, which {@link scanned} gets; -1 for any other spelling. */
function endOfNumber(bytes: Buffer, from: number, to: number): number {
  const at = bytes[from] === PLUS ? -1 : scanDecimal(bytes, from, to);
  if (at < 0 || at >= to) return at;
  if (ENDS_NUMBER[bytes[at]!] === 0) return -1;
  // `54,321` is one number.
  const goesOn = bytes[at] === 44 && at + 1 < to && bytes[at + 1]! >= 48 && bytes[at + 1]! <= 57;
  return goesOn ? -1 : at;
}

/** What stood between the start of a line and its loss: most lines repeat it with other digits. */
interface Template {
  /** {@link ANY_DIGIT} for each digit before the name. */
  readonly bytes: Uint8Array;
  readonly state: NameState;
  /** Whether its line says `loss` next to a digit. */
  readonly isTold: boolean;
}
const ANY_DIGIT = 0;
const isDigit = (byte: number): boolean => byte >= 48 && byte <= 57;
const TELLS_LOSS = /loss[^\d\n]{0,24}\d/i;
const LONGEST_TOLD = 2000;

/** Templates that are kept: lines of a log differ in how many digits come before the loss. */
const MOST_TEMPLATES = 4;

/** The end of the line where it says the same as a template before a number, which {@link scanned} gets; 0 where it does not. */
function endOfSame(bytes: Buffer, start: number, same: Uint8Array): number {
  const end = start + same.length;
  if (end >= bytes.length) return 0;
  for (let k = 0, at = start; at < end; k++, at++) {
    const byte = bytes[at]!;
    if (same[k] !== byte && (same[k] !== ANY_DIGIT || !isDigit(byte))) return 0;
  }
  const after = endOfNumber(bytes, end, bytes.length);
  return after < 0 ? 0 : bytes.indexOf(FEED, after) + 1;
}

/** Where the lines of a text end: at a line feed, or at a carriage return that none follows. */
class LineEnds {
  readonly hasReturns: boolean;
  private feed = -1;
  private return = -1;

  constructor(
    private readonly bytes: Buffer,
    from: number,
  ) {
    this.return = this.nextOf(RETURN, from);
    this.hasReturns = this.return < bytes.length;
  }

  private nextOf(byte: number, from: number): number {
    const found = this.bytes.indexOf(byte, from);
    return found < 0 ? this.bytes.length : found;
  }

  /** The end of the line that begins at a place behind the last end; -1 where it may go on. */
  after(start: number, isLast: boolean): number {
    const { length } = this.bytes;
    if (this.feed < start) this.feed = this.nextOf(FEED, start);
    if (this.return < start) this.return = this.nextOf(RETURN, start);
    // A return at the end of a piece may be the first half of a line end.
    const behind = this.return + 1;
    const isLone = this.return < this.feed && this.bytes[behind] !== FEED && (behind < length || isLast);
    const end = isLone ? this.return : this.feed;
    return end === length ? -1 : end;
  }
}

/** Reads a text in pieces; what it saw is there at the end. */
export class LossReader {
  /** Lines so far that say `loss` next to a digit. */
  lines = 0;
  /** Whether the line that is looked at does. */
  private isTold = false;
  private readonly line = new ColumnBuilder();
  private readonly value = new ColumnBuilder();
  private readonly tag = new ColumnBuilder();
  private readonly time = new ColumnBuilder();
  private readonly clock = new LineClock();
  private records = 0;
  private times = 0;
  /** The line that is looked at. */
  private bytes: Buffer = NO_BYTES;
  private from = 0;
  private to = 0;
  private readonly names = new Map<string, NameState>();
  private rest: Buffer = Buffer.alloc(0);
  private lineNumber = 1;
  private table: Table | undefined;
  /** The header that a table may begin with, in each separator that it may have. */
  private offered: { readonly at: number; readonly tables: readonly Table[] } | undefined;
  /** The one that was found last is the first. */
  private templates: Template[] = [];
  /** Flags of the part of a line that is looked at. */
  private drawn = 0;
  /** Whether a part of this line was drawn over, and whether the rest of it is too long to be looked at. */
  private bar = false;
  private skipping = false;

  /** @param path of the file: one in a folder of metrics is named for what its lines hold, `TIME VALUE STEP` */
  constructor(path = '') {
    const folder = /[/\\]metrics[/\\]/.exec(path);
    const key = folder === null ? undefined : path.slice(folder.index + folder[0].length);
    if (key === undefined || !LOSS_CELL.test(key)) return;
    const name = this.stateOf(key, '');
    if (name.kind !== 'none') this.table = { separator: ' ', cells: 3, column: 1, name };
  }

  /** @param isWhole whether the chunk ends with a line: a carriage return at its end is a line end of its own */
  push(chunk: Uint8Array, isWhole = false): void {
    const piece = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let from = this.takeBegun(piece);
    const bytes = this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece]);
    if (this.skipping) {
      const feed = bytes.indexOf(10);
      if (feed < 0) return;
      this.skipping = false;
      from = feed + 1;
      this.lineNumber++;
    }
    const left = bytes.subarray(this.scan(bytes, from, isWhole));
    if (left.length > LONGEST_HELD) {
      this.takeLine(left, 0, left.length, true, false);
      this.skipping = true;
      this.rest = Buffer.alloc(0);
    } else this.rest = Buffer.from(left);
    // A log that goes on would hold its last piece.
    this.setLine(NO_BYTES, 0, 0);
  }

  /** Takes the line that an earlier piece began, if it ends in this one. @returns where the next one begins */
  private takeBegun(piece: Buffer): number {
    const feed = this.rest.length === 0 ? -1 : piece.indexOf(10);
    if (feed < 0) return 0;
    const line = Buffer.concat([this.rest, piece.subarray(0, feed + 1)]);
    this.rest = Buffer.alloc(0);
    this.scan(line, 0, false);
    return feed + 1;
  }

  /** @param path of the file, for the records */
  end(path: string): LossRecords {
    if (!this.skipping) this.scan(this.rest, 0, true);
    return {
      path,
      line: this.line.finish(),
      value: this.value.finish(),
      tag: this.tag.finish(),
      ...(this.times > 0 ? { time: this.time.finish() } : {}),
    };
  }

  /** Takes the whole lines from a place on. @returns where the last line, which may go on, begins */
  private scan(bytes: Buffer, from: number, isLast: boolean): number {
    const { length } = bytes;
    const ends = new LineEnds(bytes, from);
    const { hasReturns } = ends;
    // Where the first word behind `start` ends, once it was searched.
    let word = 0;
    for (let start = from; start < length; ) {
      const next = hasReturns ? 0 : this.takeAsBefore(bytes, start);
      if (next > 0) {
        start = next;
        continue;
      }
      if (word <= start) word = lossWordEnd(bytes, start, length);
      const end = ends.after(start, isLast);
      if (end < 0) {
        if (isLast) this.takeLine(bytes, start, length, word <= length, false);
        return start;
      }
      this.bar = bytes[end] === RETURN || this.bar;
      this.takeLine(
        bytes,
        start,
        end > start && bytes[end - 1] === RETURN ? end - 1 : end,
        word <= end,
        this.bar,
      );
      if (bytes[end] === FEED) this.endLine();
      start = end + 1;
    }
    return length;
  }

  private endLine(): void {
    this.bar = false;
    this.lineNumber++;
    if (this.isTold) this.lines++;
    this.isTold = false;
  }

  /** Takes a whole line that is like one before it. @returns where the next one begins; 0 where it is not */
  private takeAsBefore(bytes: Buffer, start: number): number {
    if (this.bar) return 0;
    const { templates, table } = this;
    for (let k = 0; k < templates.length; k++) {
      const template = templates[k]!;
      const next = endOfSame(bytes, start, template.bytes);
      if (next === 0) continue;
      if (k > 0) {
        templates[k] = templates[0]!;
        templates[0] = template;
      }
      template.state.numbers++;
      if (template.isTold) this.lines++;
      this.drawn = 0;
      this.setLine(bytes, start, next);
      this.record(template.state, scanned[0]!, false);
      this.lineNumber++;
      return next;
    }
    if (templates.length > 0 || table === undefined) return 0;
    const feed = bytes.indexOf(10, start);
    const value = feed < 0 ? undefined : cellOfRow(bytes, start, feed, table);
    if (value === undefined) return 0;
    this.drawn = 0;
    this.setLine(bytes, start, feed);
    this.record(table.name, value, false);
    this.lineNumber++;
    return feed + 1;
  }

  private takeLine(bytes: Buffer, from: number, to: number, hasWord: boolean, redrawn: boolean): void {
    if (to <= from) return;
    this.drawn = redrawn ? RECORD_FLAG.redrawn : 0;
    this.setLine(bytes, from, to);
    if (hasWord && !this.isTold)
      this.isTold = TELLS_LOSS.test(text(bytes, from, Math.min(to, from + LONGEST_TOLD)));
    if (hasWord && this.takeNamed(bytes, from, Math.min(to, from + LONGEST))) return;
    if (this.offered?.at !== this.lineNumber && (this.table ?? this.offered) !== undefined)
      this.takeRow(text(bytes, from, Math.min(to, from + LONGEST)));
  }

  /** Takes a line that holds a loss-like word. @returns whether it has a number too */
  private takeNamed(bytes: Buffer, from: number, to: number): boolean {
    let best: { state: NameState; value: number; refused: boolean } | undefined;
    let named = false;
    for (let [a, b] = [from, from]; ; ) {
      const end = lossWordEnd(bytes, b, to);
      if (end > to) break;
      [a, b] = [end - 1, end];
      while (a > from && isNamePart(bytes[a - 1]!)) a--;
      while (b < to && isNamePart(bytes[b]!)) b++;
      const before = /[^\d|,;{}[\]]*$/.exec(text(bytes, Math.max(from, a - 24), a))?.[0] ?? '';
      const state = this.stateOf(text(bytes, a, b), before.trim());
      if (state.kind === 'none') continue;
      named = true;
      const after = text(bytes, b, Math.min(to, b + 80));
      const found = valueIn(after, text(bytes, a, b));
      const refused = found === null;
      if (refused && (state.numbers < KNOWN_AFTER || !isValue(after))) continue;
      if (found !== null) state.numbers++;
      const value = found === null ? Number.NaN : numberOf(found[1]!);
      if (best === undefined || state.kind === 'loss') best = { state, value, refused };
      if (found === null || state.kind !== 'loss') continue;
      this.remember(bytes, from, a - before.length, b + found[0].length - found[1]!.length, state);
      break;
    }
    if (best !== undefined) this.record(best.state, best.value, best.refused);
    else if (named) this.offerTable(text(bytes, from, to));
    return best !== undefined;
  }

  /** @param name where the words begin that say what the number at `to` is */
  private remember(bytes: Buffer, start: number, name: number, to: number, state: NameState): void {
    const same = Uint8Array.from(bytes.subarray(start, to));
    for (let k = 0; k < name - start; k++) if (isDigit(same[k]!)) same[k] = ANY_DIGIT;
    this.templates.unshift({ bytes: same, state, isTold: this.isTold });
    if (this.templates.length > MOST_TEMPLATES) this.templates.pop();
  }

  /** Most texts print no time, and keep no column of it. */
  private tellTime(time: number): void {
    if (this.times === 0 && Number.isNaN(time)) return;
    for (; this.times < this.records - 1; this.times++) this.time.push(Number.NaN);
    this.time.push(time);
    this.times++;
  }

  private setLine(bytes: Buffer, from: number, to: number): void {
    this.bytes = bytes;
    this.from = from;
    this.to = to;
  }

  private record(state: NameState, value: number, refused: boolean): void {
    this.line.push(this.lineNumber);
    this.value.push(value);
    this.records++;
    this.tellTime(this.clock.read(this.bytes, this.from, this.to));
    const flags =
      this.drawn |
      (state.kind === 'evaluation' ? RECORD_FLAG.evaluation : 0) |
      (refused ? RECORD_FLAG.refused : 0);
    this.tag.push(flags + TAG_FLAGS * state.id);
  }

  private stateOf(name: string, before: string): NameState {
    const key = `${before}\0${name}`;
    const known = this.names.get(key);
    if (known !== undefined) return known;
    const made = { id: this.names.size, kind: kindOfName(name, before), numbers: 0 };
    if (this.names.size < MOST_NAMES) this.names.set(key, made);
    return made;
  }

  /** A line that names losses and has no numbers may be the header of a table. */
  private offerTable(header: string): void {
    const tables: Table[] = [];
    for (const separator of [...SEPARATORS, ' ']) {
      const cells = cellsOf(header, separator).map(bare);
      if (cells.length < 2 || cells.some(isNumberText)) continue;
      const states = cells.map((cell) => (LOSS_CELL.test(cell) ? this.stateOf(cell, '') : undefined));
      let column = states.findIndex((one) => one?.kind === 'loss');
      if (column < 0) column = states.findIndex((one) => one?.kind === 'evaluation');
      if (column >= 0) tables.push({ separator, cells: cells.length, column, name: states[column]! });
    }
    if (tables.length > 0) this.offered = { at: this.lineNumber, tables };
  }

  /** Takes a line that may be a row of the table that was begun last. */
  private takeRow(row: string): void {
    if (this.offered !== undefined) {
      const fits = this.offered.tables.find((one) => isFirstRow(row, one));
      if (fits !== undefined || this.lineNumber > this.offered.at + ROWS_AFTER) this.offered = undefined;
      if (fits !== undefined) {
        this.table = fits;
        this.templates = [];
      }
    }
    const { table } = this;
    if (table === undefined) return;
    const cells = cellsOf(row, table.separator);
    if (cells.length !== table.cells) return;
    const isWords = table.separator === ' ';
    if (isWords && !cells.every((one) => isNumberText(one) || TIME.test(one))) return;
    const cell = bare(cells[table.column]!);
    if (isNumberText(cell)) {
      table.name.numbers++;
      this.record(table.name, numberOf(cell), false);
    } else if (!isWords && cell !== '' && !/^(?:none|null|n\/?a|-+)$/i.test(cell))
      this.record(table.name, Number.NaN, true);
  }
}

/** Words between blanks make a table of any text: there every cell has to be a number or a time. */
function isFirstRow(row: string, { separator, cells: wanted }: Table): boolean {
  const cells = cellsOf(row, separator);
  if (cells.length !== wanted) return false;
  const numbers = cells.filter((cell) => isNumberText(cell) || (separator === ' ' && TIME.test(cell))).length;
  return separator === ' ' ? numbers === wanted : numbers >= Math.min(2, wanted);
}

/** The number of a plain row: no quotes, as many cells as the header has. */
function cellOfRow(bytes: Buffer, from: number, to: number, table: Table): number | undefined {
  if (table.separator === ' ') return undefined;
  const separator = table.separator.charCodeAt(0);
  let cell = 0;
  let value: number | undefined;
  let start = from;
  for (let at = from; at <= to; at++) {
    const byte = bytes[at]!;
    if (byte === 34) return undefined;
    if (at < to && byte !== separator) continue;
    if (cell === table.column) {
      while (bytes[start] === SPACE) start++;
      const after = endOfNumber(bytes, start, at);
      if (after < 0 || (after !== at && bytes[after] !== 13)) return undefined;
      value = scanned[0]!;
    }
    cell++;
    start = at + 1;
  }
  return cell === table.cells ? value : undefined;
}
