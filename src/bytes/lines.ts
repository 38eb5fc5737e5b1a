/** Lines of a byte stream without a string for each: a scanner gets the buffer and the range. */
import { diagError, type ErrorRecord } from '../model/errors.ts';
import { formatCount } from '../model/format-number.ts';

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** A line longer than this is skipped and reported; a log line that is longer is no log line. */
export const MAX_LINE_BYTES = 16 << 20;

export interface LineSink {
  /**
   * One line, without its end (`\n`, `\r\n`). `terminated` is false for a last line that has none: it may be cut.
   * The bytes are valid during the call only.
   */
  line(bytes: Buffer, start: number, end: number, lineNumber: number, terminated: boolean): void;
  /** A line of more than {@link MAX_LINE_BYTES}, skipped. */
  tooLong(lineNumber: number, length: number): void;
}

/**
 * Cuts a stream into lines. Memory: one chunk and one line.
 *
 * @param carriageReturns also end a line at a lone `\r` (progress bars); an empty line between `\r` and `\n` is none
 */
export async function scanLines(
  chunks: AsyncIterable<Uint8Array>,
  sink: LineSink,
  carriageReturns = false,
): Promise<void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let lineNumber = 1;
  /** Bytes of a line that is too long and being skipped. */
  let skipped = 0;

  const emit = (buffer: Buffer, start: number, end: number, terminated: boolean): void => {
    let last = end;
    if (last > start && buffer[last - 1] === CARRIAGE_RETURN) last--;
    if (carriageReturns) {
      for (let at = start; at < last; ) {
        // A loop: indexOf would search on to the end of the buffer in every line.
        let to = at;
        while (to < last && buffer[to] !== CARRIAGE_RETURN) to++;
        if (to > at) sink.line(buffer, at, to, lineNumber, terminated || to < last);
        at = to + 1;
      }
    } else sink.line(buffer, start, last, lineNumber, terminated);
  };

  for await (const chunk of chunks) {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    for (;;) {
      const found = buffer.indexOf(LINE_FEED, at);
      if (found < 0) break;
      const length = restBytes + skipped + found - at;
      if (length > MAX_LINE_BYTES) sink.tooLong(lineNumber, length);
      else if (restBytes === 0) emit(buffer, at, found, true);
      else {
        const whole = Buffer.concat([...rest, buffer.subarray(at, found)]);
        emit(whole, 0, whole.length, true);
      }
      rest = [];
      restBytes = skipped = 0;
      lineNumber++;
      at = found + 1;
    }
    if (at < buffer.length) {
      if (skipped > 0 || restBytes + buffer.length - at > MAX_LINE_BYTES) {
        skipped += restBytes + buffer.length - at;
        rest = [];
        restBytes = 0;
      } else {
        rest.push(Buffer.from(buffer.subarray(at)));
        restBytes += buffer.length - at;
      }
    }
  }
  if (skipped > 0) sink.tooLong(lineNumber, skipped);
  else if (restBytes > 0) {
    const whole = Buffer.concat(rest);
    emit(whole, 0, whole.length, false);
  }
}

/** The record of a line that was skipped for its length. */
export const tooLongLine = (path: string, line: number, length: number): ErrorRecord =>
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
