/** Lines of a byte stream, without a string for each: a sink gets the buffer and the range, and says what became of it. */
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { formatCount } from '../../model/format-number.ts';
import type { Account, LossReason } from '../../model/log.ts';
import { sizeIn, type TextEncoding } from './encoding.ts';
import { type Ledger, openLedger } from './ledger.ts';

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** A line longer than this is skipped and reported: no log has such lines. */
export const MAX_LINE_BYTES = 16 << 20;

/**
 * What became of a line: `record`, `overhead` (a header, a blank line), `passed-over` (text that is not a record of the
 * format), the reason of its loss, or `held`: the line is part of a record that continues, and shares the fate of its end.
 */
export type LineFate = SettledFate | 'held' | Waiting;
export type SettledFate = 'record' | 'overhead' | 'passed-over' | LossReason;

/** Lines of which it is known at the end only what they are; the sink makes one for each kind, empty. */
export interface Waiting {
  bytes: number;
  lines: number;
  /** Offset of the first of them. */
  at: number;
}
export const nothingWaits = (): Waiting => ({ bytes: 0, lines: 0, at: 0 });

export interface LineSink {
  /**
   * One line, without its end (`\n`, `\r\n`), never empty. `terminated` is false for a last line that has none: it may
   * be cut. The bytes are valid during the call only.
   */
  line(bytes: Buffer, start: number, end: number, lineNumber: number, terminated: boolean): LineFate;
  /** An empty line; `overhead` where this is left out. */
  blank?(lineNumber: number): LineFate;
  /** What becomes of lines that are held when the stream ends; `torn-record` where this is left out. */
  heldAtEnd?(): LineFate;
  /** What became of the lines that waited. */
  settle?(): Iterable<readonly [Waiting, SettledFate]>;
}

export interface LineOptions {
  /** Also end a line at a lone `\r` (progress bars). */
  readonly carriageReturns?: boolean;
  /** What the text was in before it was made UTF-8; bytes and offsets are those of the file. */
  readonly encoding?: TextEncoding;
}

export interface ScannedLines {
  readonly account: Account;
  /** Lines that are too long, and holes. */
  readonly errors: ErrorRecord[];
}

/** Cuts text that comes piece by piece into lines. */
export interface LineScanner {
  /** @param isWhole whether the chunk ends with a line: a carriage return at its end is a line end of its own */
  push(chunk: Uint8Array, isWhole?: boolean): void;
  /** The account so far. More may be pushed after it where the last line had an end. */
  end(): ScannedLines;
}

/** As {@link lineScanner}, over a stream. */
export async function scanLines(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  sink: LineSink,
  options: LineOptions = {},
): Promise<ScannedLines> {
  const scanner = lineScanner(path, sink, options);
  for await (const chunk of chunks) scanner.push(chunk);
  return scanner.end();
}

/**
 * Cuts text into lines and accounts for each byte of it. Memory: one chunk and one line.
 *
 * A line end counts as overhead, except between the lines of one record. A line that is too long, and one with zero
 * bytes in it, is lost and not handed over.
 *
 * @param path for messages
 */
export const lineScanner = (path: string, sink: LineSink, options: LineOptions = {}): LineScanner =>
  new Scanner(path, sink, options);

/** What became of lines one after another; those that are held wait for the end of their record. */
class Fates {
  readonly #ledger: Ledger;
  /** Offset of what comes next, in the bytes of the file. */
  #at = 0;
  #held = { bytes: 0, at: 0, lines: 0 };

  constructor(ledger = openLedger()) {
    this.#ledger = ledger;
  }

  /** A line of `bytes`, and the `end` bytes of its line end. */
  enter(fate: LineFate, bytes: number, end: number): void {
    const held = this.#held;
    if (fate === 'held') {
      if (held.lines++ === 0) held.at = this.#at;
      held.bytes += bytes + end;
    } else {
      if (held.lines === 0) this.settle(fate, bytes, this.#at, 1);
      else {
        this.settle(fate, held.bytes + bytes, held.at, held.lines + 1);
        this.#held = { bytes: 0, at: 0, lines: 0 };
      }
      this.#ledger.overhead(end);
    }
    this.#at += bytes + end;
  }

  settle(fate: Exclude<LineFate, 'held'>, bytes: number, from: number, lines: number): void {
    if (typeof fate === 'object') {
      if (fate.lines === 0) fate.at = from;
      fate.bytes += bytes;
      fate.lines += lines;
      // It may be a record that parts two losses.
      this.#ledger.record(0);
    } else if (fate === 'record') this.#ledger.record(bytes);
    else if (fate === 'overhead') this.#ledger.overhead(bytes);
    else if (fate === 'passed-over') this.#ledger.passOver(bytes);
    // How many lines a hole had is not known.
    else this.#ledger.lose(fate, bytes, from, fate === 'hole' ? undefined : lines);
  }

  /** The account of a stream that ends here: what is held and what waits is settled. */
  end(sink: LineSink): Account {
    const end = new Fates(this.#ledger.copy());
    const { bytes, at, lines } = this.#held;
    if (lines > 0) {
      const fate = sink.heldAtEnd?.() ?? 'torn-record';
      end.settle(fate === 'held' ? 'torn-record' : fate, bytes, at, lines);
    }
    for (const [waiting, fate] of sink.settle?.() ?? [])
      if (waiting.lines > 0) end.settle(fate, waiting.bytes, waiting.at, waiting.lines);
    return end.#ledger.account();
  }
}

class Scanner implements LineScanner {
  readonly #fates = new Fates();
  readonly #errors: ErrorRecord[] = [];
  readonly #holes = { lines: 0, first: 0, bytes: 0 };
  readonly #carriageReturns: boolean;
  readonly #encoding: TextEncoding;
  /** Bytes of a line feed in the file. */
  readonly #unit: number;
  /** The begin of a line whose end has not come. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #lineNumber = 1;
  /** Bytes of a line that is too long and being skipped. */
  #skipped = 0;

  constructor(
    private readonly path: string,
    private readonly sink: LineSink,
    { carriageReturns = false, encoding = 'utf-8' }: LineOptions,
  ) {
    this.#carriageReturns = carriageReturns;
    this.#encoding = encoding;
    this.#unit = encoding === 'utf-8' ? 1 : 2;
  }

  push(chunk: Uint8Array, isWhole = false): void {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const holed = buffer.includes(0);
    const returns = this.#carriageReturns && buffer.includes(CARRIAGE_RETURN);
    let from = 0;
    for (;;) {
      const found = buffer.indexOf(LINE_FEED, from);
      if (found < 0) break;
      const isInside = this.#restBytes === 0 && this.#skipped === 0 && found - from <= MAX_LINE_BYTES;
      if (isInside) this.#emit(buffer, from, found, true, holed, returns);
      else this.#endLine(buffer, from, found);
      this.#lineNumber++;
      from = found + 1;
    }
    if (this.#carriageReturns && this.#skipped === 0) from = this.#endParts(buffer, from, isWhole, holed);
    if (from === buffer.length) return;
    if (this.#isTooLong(buffer.length - from)) this.#skip(buffer, from, buffer.length);
    else {
      this.#rest.push(Buffer.from(buffer.subarray(from)));
      this.#restBytes += buffer.length - from;
    }
  }

  /**
   * The parts of a line without its end yet that a lone carriage return has ended.
   *
   * @returns where the part begins that goes on
   */
  #endParts(buffer: Buffer, from: number, isWhole: boolean, holed: boolean): number {
    // The last byte may be the first one of `\r\n`.
    const last = buffer.lastIndexOf(CARRIAGE_RETURN, buffer.length - (isWhole ? 1 : 2));
    const wasEnd = this.#rest.at(-1)?.at(-1) === CARRIAGE_RETURN && from === 0 && buffer.length > 0;
    if (last < from && !wasEnd) return from;
    const to = Math.max(last + 1, from);
    const parts = this.#restBytes === 0 ? buffer : Buffer.concat([...this.#rest, buffer.subarray(from, to)]);
    const [start, end] = this.#restBytes === 0 ? [from, to] : [0, parts.length];
    this.#dropRest();
    this.#emitParts(parts, start, end, holed || parts.includes(0));
    return to;
  }

  /** The rest of a line that began in an earlier chunk, or all of one that is too long. */
  #endLine(buffer: Buffer, from: number, to: number): void {
    if (this.#isTooLong(to - from)) {
      this.#skip(buffer, from, to);
      this.#endSkipped();
      this.#fates.enter('overhead', 0, this.#unit);
      this.#skipped = 0;
    } else {
      const whole = Buffer.concat([...this.#rest, buffer.subarray(from, to)]);
      this.#dropRest();
      this.#emit(whole, 0, whole.length, true, whole.includes(0), this.#carriageReturns);
    }
  }

  end(): ScannedLines {
    if (this.#skipped > 0) this.#endSkipped();
    else if (this.#restBytes > 0) {
      const whole = Buffer.concat(this.#rest);
      this.#emit(whole, 0, whole.length, false, whole.includes(0), this.#carriageReturns);
    }
    const account = this.#fates.end(this.sink);
    const { lines: count, bytes, first: line } = this.#holes;
    if (count === 0) return { account, errors: [...this.#errors] };
    const hole = diagError('log-hole', { count, bytes, line }, { path: this.path, line }).toRecord();
    return { account, errors: [...this.#errors, hole] };
  }

  /** Whether the line that is being read is, with so many bytes more. */
  #isTooLong(more: number): boolean {
    return this.#skipped > 0 || this.#restBytes + more > MAX_LINE_BYTES;
  }

  #skip(buffer: Buffer, from: number, to: number): void {
    for (const part of this.#rest) this.#skipped += sizeIn(this.#encoding, part, 0, part.length);
    this.#skipped += sizeIn(this.#encoding, buffer, from, to);
    this.#dropRest();
  }

  #endSkipped(): void {
    this.#errors.push(tooLongLine(this.path, this.#lineNumber, this.#skipped));
    this.#fates.enter('line-too-long', this.#skipped, 0);
  }

  #dropRest(): void {
    this.#rest = [];
    this.#restBytes = 0;
  }

  /** [start, end) has no line feed in it; one follows it if `terminated`. `returns`: a carriage return may be in it. */
  #emit(
    buffer: Buffer,
    start: number,
    end: number,
    terminated: boolean,
    holed: boolean,
    returns: boolean,
  ): void {
    let last = end;
    if (last > start && buffer[last - 1] === CARRIAGE_RETURN) last--;
    const ending = (end - last + (terminated ? 1 : 0)) * this.#unit;
    const from = returns ? this.#emitParts(buffer, start, last, holed) : start;
    this.#one(buffer, from, last, terminated, ending, holed);
  }

  /** Text before each lone carriage return is complete, whatever follows; returns where the rest begins. */
  #emitParts(buffer: Buffer, start: number, end: number, holed: boolean): number {
    let from = start;
    // A loop: indexOf would search on to the end of the buffer in every line.
    for (let to = start; to < end; to++)
      if (buffer[to] === CARRIAGE_RETURN) {
        this.#one(buffer, from, to, true, this.#unit, holed);
        from = to + 1;
      }
    return from;
  }

  #enterHole(bytes: number, ending: number): void {
    if (this.#holes.lines++ === 0) this.#holes.first = this.#lineNumber;
    this.#holes.bytes += bytes;
    this.#fates.enter('hole', bytes, ending);
  }

  /** A line or a part of it, and how many bytes of line end follow. */
  #one(
    buffer: Buffer,
    start: number,
    end: number,
    terminated: boolean,
    ending: number,
    holed: boolean,
  ): void {
    const { sink } = this;
    const line = this.#lineNumber;
    // A log that was emptied while its writer went on (logrotate's copytruncate) begins with zero bytes.
    if (holed && line === 1 && buffer[start] === 0) {
      let text = start;
      while (text < end && buffer[text] === 0) text++;
      if (text < end && !buffer.subarray(text, end).includes(0)) {
        this.#enterHole(sizeIn(this.#encoding, buffer, start, text), 0);
        this.#one(buffer, text, end, terminated, ending, false);
        return;
      }
    }
    const bytes = sizeIn(this.#encoding, buffer, start, end);
    if (holed && buffer.subarray(start, end).includes(0)) {
      this.#enterHole(bytes, ending);
    } else if (start === end) this.#fates.enter(sink.blank?.(line) ?? 'overhead', 0, ending);
    else this.#fates.enter(sink.line(buffer, start, end, line, terminated), bytes, ending);
  }
}

/** The record of a line that was skipped for its length. */
const tooLongLine = (path: string, line: number, length: number): ErrorRecord =>
  diagError(
    'limit-exceeded',
    {
      what: `line ${formatCount(line)} in bytes`,
      found: length,
      limit: MAX_LINE_BYTES,
      hint: 'the line was skipped, the lines around it were read',
    },
    { path, line },
  ).toRecord();
