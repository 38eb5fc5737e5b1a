/** Text encodings: UTF-16 is turned into UTF-8, a byte order mark is dropped, Latin-1 is distinguished where names are read. */
export type TextEncoding = 'utf-8' | 'utf-16le' | 'utf-16be';

const isPrintable = (byte: number | undefined): boolean =>
  byte !== undefined && ((byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13);

/** The encoding of a text by its byte order mark, or by the zeros between the characters of UTF-16 without one. */
export function encodingOf(head: Uint8Array): TextEncoding {
  if (head[0] === 0xff && head[1] === 0xfe) return 'utf-16le';
  if (head[0] === 0xfe && head[1] === 0xff) return 'utf-16be';
  const pairs = Math.min(8, head.length >> 1);
  let little = pairs >= 2;
  let big = pairs >= 2;
  for (let k = 0; k < pairs; k++) {
    const [first, second] = [head[2 * k], head[2 * k + 1]];
    if (!(isPrintable(first) && second === 0)) little = false;
    if (!(first === 0 && isPrintable(second))) big = false;
  }
  return little ? 'utf-16le' : big ? 'utf-16be' : 'utf-8';
}

/** Zero bytes in a row that are a hole in text, as a crash of the machine leaves it; in binary data they stand alone too. */
const HOLE = 64;

/** Whether the head of a file in UTF-8 has zero bytes that are no hole in a text. */
export function isBinary(head: Uint8Array): boolean {
  let start = head.indexOf(0);
  while (start >= 0) {
    let end = start;
    while (end < head.length && head[end] === 0) end++;
    // One that the head cuts may go on.
    if (end - start < HOLE && end < head.length) return true;
    if (start === 0 && end === head.length) return true;
    start = head.indexOf(0, end);
  }
  return false;
}

/** Bytes of the byte order mark that a head starts with; 0 where there is none. */
export function markBytes(head: Uint8Array): number {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return 3;
  return (head[0] === 0xff && head[1] === 0xfe) || (head[0] === 0xfe && head[1] === 0xff) ? 2 : 0;
}

/**
 * How many bytes the characters of UTF-8 text [start, end) have in the encoding that they came from. In UTF-16 that is
 * two, and four for those that have four in UTF-8, so that the sizes of parts add up to the size of the whole.
 */
export function sizeIn(encoding: TextEncoding, bytes: Uint8Array, start: number, end: number): number {
  if (encoding === 'utf-8') return end - start;
  let size = 0;
  for (let k = start; k < end; k++) {
    const byte = bytes[k]!;
    if (byte >= 0xf0) size += 4;
    else if (byte < 0x80 || byte >= 0xc0) size += 2;
  }
  return size;
}

/**
 * The same text as UTF-8 without a byte order mark. A byte at the end of UTF-16 that is half of a character gives
 * nothing.
 */
export async function* toUtf8(
  chunks: AsyncIterable<Uint8Array>,
  encoding: TextEncoding,
): AsyncGenerator<Uint8Array> {
  if (encoding === 'utf-8') {
    let first = true;
    for await (const chunk of chunks) {
      const marked = first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
      first = false;
      yield marked ? chunk.subarray(3) : chunk;
    }
    return;
  }
  const decoder = new TextDecoder(encoding);
  const encoder = new TextEncoder();
  let odd: number | undefined;
  for await (const chunk of chunks) {
    // Whole code units only, so that a half one at the end is not made a character.
    const joined = odd === undefined ? chunk : Buffer.concat([Uint8Array.of(odd), chunk]);
    const even = joined.length & ~1;
    odd = even < joined.length ? joined[even] : undefined;
    yield encoder.encode(decoder.decode(joined.subarray(0, even), { stream: true }));
  }
  const last = decoder.decode();
  if (last !== '') yield encoder.encode(last);
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A name from bytes: UTF-8, and Latin-1 where it is not that, so that a name is never lost to its encoding. */
export function decodeName(bytes: Buffer, start = 0, end = bytes.length): string {
  try {
    return strict.decode(bytes.subarray(start, end));
  } catch {
    return bytes.toString('latin1', start, end);
  }
}

/** Whether bytes [start, end) are those of a name. A loop: for names the call into native code costs more. */
export function sameBytes(name: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let k = 0; k < name.length; k++) if (name[k] !== bytes[start + k]) return false;
  return true;
}
