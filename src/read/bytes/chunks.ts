/** Streams of bytes: a source or standard input in pieces, so that memory does not grow with the input. */
import type { ByteSource } from './source.ts';

/** How messages name standard input. */
export const STDIN_NAME = '<stdin>';

const CHUNK_BYTES = 1 << 20;

/** The bytes of a source, up to the size that it had when it was opened: a live log grows on. */
export async function* readChunks(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < source.byteLength; at += CHUNK_BYTES)
    yield await source.slice(at, Math.min(at + CHUNK_BYTES, source.byteLength));
}

/**
 * The first bytes of a stream (at most `length`), and the whole stream again from its start.
 * A stream shorter than that gives what it has.
 */
export async function peekStream(
  chunks: AsyncIterable<Uint8Array>,
  length: number,
): Promise<{ head: Uint8Array; all: AsyncGenerator<Uint8Array> }> {
  const iterator = chunks[Symbol.asyncIterator]();
  const seen: Buffer[] = [];
  let bytes = 0;
  while (bytes < length) {
    const next = await iterator.next();
    if (next.done === true) break;
    seen.push(Buffer.from(next.value));
    bytes += next.value.length;
  }
  const all = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (let part = seen.shift(); part !== undefined; part = seen.shift()) yield part;
      for (;;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  };
  return { head: Buffer.concat(seen).subarray(0, length), all: all() };
}
