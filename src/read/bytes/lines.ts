/** Lines of a byte stream, without a string for each: a sink gets the buffer and the range, and says what became of it. */
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { formatCount } from '../../model/format-number.ts';
import type { Account, LossReason } from '../../model/log.ts';
import { sizeIn, type TextEncoding } from './encoding.ts';
import { openLedger } from './ledger.ts';

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** A line longer than this is skipped and reported; a log line that is longer is no log line. */
export const MAX_LINE_BYTES = 16 << 20;

/**
 * What became of a line: `record`, `overhead` (a header, a blank line), `passed-over` (text that is no record of the
 * format), why it was lost, or `held`: the line is part of a record that goes on, and shares what becomes of its end.
 */
export type LineFate = SettledFate | 'held' | Waiting;
type SettledFate = 'record' | 'overhead' | 'passed-over' | LossReason;

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
  push(chunk: Uint8Array): void;
  /** The account so far. More may be pushed after it where the last line had an end and no record goes on. */
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
export function lineScanner(
  path: string,
  sink: LineSink,
  { carriageReturns = false, encoding = 'utf-8' }: LineOptions = {},
): LineScanner {
  const ledger = openLedger();
  const errors: ErrorRecord[] = [];
  const holes = { lines: 0, first: 0, bytes: 0 };
  let rest: Buffer[] = [];
  let restBytes = 0;
  let lineNumber = 1;
  /** Bytes of a line that is too long and being skipped. */
  let skipped = 0;
  /** Offset of what comes next, in the bytes of the file. */
  let at = 0;
  let held = { bytes: 0, at: 0, lines: 0 };

  const settle = (fate: Exclude<LineFate, 'held'>, bytes: number, from: number, lines: number): void => {
    if (typeof fate === 'object') {
      if (fate.lines === 0) fate.at = from;
      fate.bytes += bytes;
      fate.lines += lines;
      // It may be a record that parts two losses.
      ledger.record(0);
    } else if (fate === 'record') ledger.record(bytes);
    else if (fate === 'overhead') ledger.overhead(bytes);
    else if (fate === 'passed-over') ledger.passOver(bytes);
    // How many lines a hole had is not known.
    else ledger.lose(fate, bytes, from, fate === 'hole' ? undefined : lines);
  };
  /** A line of `bytes`, and the `end` bytes of its line end. */
  const enter = (fate: LineFate, bytes: number, end: number): void => {
    if (fate === 'held') {
      if (held.lines++ === 0) held.at = at;
      held.bytes += bytes + end;
    } else {
      if (held.lines === 0) settle(fate, bytes, at, 1);
      else {
        settle(fate, held.bytes + bytes, held.at, held.lines + 1);
        held = { bytes: 0, at: 0, lines: 0 };
      }
      ledger.overhead(end);
    }
    at += bytes + end;
  };

  /** A line or a part of it, and how many bytes of line end follow. */
  const one = (
    buffer: Buffer,
    start: number,
    end: number,
    terminated: boolean,
    ending: number,
    holed: boolean,
  ): void => {
    const bytes = sizeIn(encoding, buffer, start, end);
    if (holed && buffer.subarray(start, end).includes(0)) {
      if (holes.lines++ === 0) holes.first = lineNumber;
      holes.bytes += bytes;
      enter('hole', bytes, ending);
    } else if (start === end) enter(sink.blank?.(lineNumber) ?? 'overhead', 0, ending);
    else enter(sink.line(buffer, start, end, lineNumber, terminated), bytes, ending);
  };

  const unit = encoding === 'utf-8' ? 1 : 2;
  /** [start, end) has no line feed in it; one follows it if `terminated`. */
  const emit = (buffer: Buffer, start: number, end: number, terminated: boolean, holed: boolean): void => {
    let last = end;
    if (last > start && buffer[last - 1] === CARRIAGE_RETURN) last--;
    const ending = (end - last + (terminated ? 1 : 0)) * unit;
    if (!carriageReturns) {
      one(buffer, start, last, terminated, ending, holed);
      return;
    }
    let from = start;
    for (;;) {
      // A loop: indexOf would search on to the end of the buffer in every line.
      let to = from;
      while (to < last && buffer[to] !== CARRIAGE_RETURN) to++;
      if (to === last) {
        one(buffer, from, to, terminated, ending, holed);
        return;
      }
      // What stands before a lone carriage return was finished, whatever follows.
      one(buffer, from, to, true, unit, holed);
      from = to + 1;
    }
  };
  const tooLong = (): void => {
    errors.push(tooLongLine(path, lineNumber, skipped));
    enter('line-too-long', skipped, 0);
  };

  const push = (chunk: Uint8Array): void => {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const holed = buffer.includes(0);
    let from = 0;
    for (;;) {
      const found = buffer.indexOf(LINE_FEED, from);
      if (found < 0) break;
      if (skipped > 0 || restBytes + found - from > MAX_LINE_BYTES) {
        for (const part of rest) skipped += sizeIn(encoding, part, 0, part.length);
        skipped += sizeIn(encoding, buffer, from, found);
        tooLong();
        enter('overhead', 0, unit);
      } else if (restBytes === 0) emit(buffer, from, found, true, holed);
      else {
        const whole = Buffer.concat([...rest, buffer.subarray(from, found)]);
        emit(whole, 0, whole.length, true, whole.includes(0));
      }
      if (rest.length > 0) rest = [];
      restBytes = skipped = 0;
      lineNumber++;
      from = found + 1;
    }
    if (from < buffer.length) {
      if (skipped > 0 || restBytes + buffer.length - from > MAX_LINE_BYTES) {
        for (const part of rest) skipped += sizeIn(encoding, part, 0, part.length);
        skipped += sizeIn(encoding, buffer, from, buffer.length);
        rest = [];
        restBytes = 0;
      } else {
        rest.push(Buffer.from(buffer.subarray(from)));
        restBytes += buffer.length - from;
      }
    }
  };
  const end = (): ScannedLines => {
    if (skipped > 0) tooLong();
    else if (restBytes > 0) {
      const whole = Buffer.concat(rest);
      emit(whole, 0, whole.length, false, whole.includes(0));
    }
    if (held.lines > 0) {
      const fate = sink.heldAtEnd?.() ?? 'torn-record';
      settle(fate === 'held' ? 'torn-record' : fate, held.bytes, held.at, held.lines);
    }
    for (const [{ bytes, lines, at: from }, fate] of sink.settle?.() ?? [])
      if (lines > 0) settle(fate, bytes, from, lines);
    if (holes.lines === 0) return { account: ledger.account(), errors: [...errors] };
    const { lines: count, bytes, first: line } = holes;
    const hole = diagError('log-hole', { count, bytes, line }, { path, line }).toRecord();
    return { account: ledger.account(), errors: [...errors, hole] };
  };
  return { push, end };
}

/** The record of a line that was skipped for its length. */
const tooLongLine = (path: string, line: number, length: number): ErrorRecord =>
  diagError(
    'limit-exceeded',
    {
      what: `line ${formatCount(line)} in bytes`,
      found: length,
      limit: MAX_LINE_BYTES,
      hint: 'the line was passed over, the lines around it were read',
    },
    { path, line },
  ).toRecord();
