/**
 * Walking one JSON document in memory without building it: members and elements as ranges of bytes. A document that is
 * cut gives what is whole before the cut.
 */
import { diagError } from '../model/errors.ts';
import { skipBlanks, skipValue, stringEnd, textOfString } from './json-line.ts';

/** A document has to be held whole. */
const MAX_DOCUMENT_BYTES = 512 << 20;

/** @throws limit-exceeded */
export async function wholeDocument(chunks: AsyncIterable<Uint8Array>, path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > MAX_DOCUMENT_BYTES)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the size of a JSON document',
          found: bytes,
          limit: MAX_DOCUMENT_BYTES,
          hint: 'write one object a line (JSON lines): that is read without holding it',
        },
        { path },
      );
    parts.push(Buffer.from(chunk));
  }
  return Buffer.concat(parts);
}

export interface Member {
  /** Empty for the elements of a list. */
  readonly key: string;
  readonly start: number;
  readonly end: number;
  /** False for a last value that the end of the document may have cut. */
  readonly whole: boolean;
}

/**
 * The members of the object, or the elements of the list, that starts at `start`. Ends early where the document is cut
 * or malformed; `end` receives the position after the closing bracket, or -1.
 */
export function* membersOf(
  bytes: Buffer,
  start: number,
  stop: number,
  end: { at: number } = { at: 0 },
): Generator<Member> {
  end.at = -1;
  const isObject = bytes[start] === 0x7b;
  const close = isObject ? 0x7d : 0x5d;
  let at = skipBlanks(bytes, start + 1, stop);
  if (at < stop && bytes[at] === close) {
    end.at = at + 1;
    return;
  }
  while (at < stop) {
    let key = '';
    if (isObject) {
      if (bytes[at] !== 0x22) return;
      const keyEnd = stringEnd(bytes, at + 1, stop);
      if (keyEnd < 0) return;
      key = textOfString(bytes, at + 1, keyEnd);
      at = skipBlanks(bytes, keyEnd + 1, stop);
      if (at >= stop || bytes[at] !== 0x3a) return;
      at = skipBlanks(bytes, at + 1, stop);
      if (at >= stop) return;
    }
    const found = skipValue(bytes, at, stop);
    const valueEnd = found < 0 ? stop : found;
    if (valueEnd > at) yield { key, start: at, end: valueEnd, whole: found >= 0 };
    if (found < 0) return;
    at = skipBlanks(bytes, found, stop);
    if (at >= stop) return;
    if (bytes[at] === close) {
      end.at = at + 1;
      return;
    }
    if (bytes[at] !== 0x2c) return;
    at = skipBlanks(bytes, at + 1, stop);
  }
}

/** Counts lines up to ascending positions. */
export function lineCounter(bytes: Buffer): (position: number) => number {
  let line = 1;
  let next = bytes.indexOf(10);
  return (position) => {
    while (next >= 0 && next < position) {
      line++;
      next = bytes.indexOf(10, next + 1);
    }
    return line;
  };
}
