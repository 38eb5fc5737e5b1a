/** Streams of bytes: a file or standard input in pieces, so that memory does not grow with the input. */
import { type FileHandle, open } from 'node:fs/promises';
import { diagError } from '../model/errors.ts';
import { kindOfPath, unreadable } from './source.ts';

/** How messages name standard input. */
export const STDIN_NAME = '<stdin>';

const CHUNK_BYTES = 1 << 20;

/**
 * The bytes of a regular file up to the size that it had when it was opened (a live log grows on), or of standard
 * input for `-`. A chunk is valid until the next one is asked for.
 *
 * @throws file-missing, file-unreadable, file-not-regular, file-changed (it shrank)
 */
export async function* readChunks(path: string): AsyncGenerator<Buffer> {
  if (path === '-') {
    for await (const chunk of process.stdin) yield chunk as Buffer;
    return;
  }
  const kind = await kindOfPath(path);
  if (kind === 'missing') throw diagError('file-missing', { path, cwd: process.cwd() }, { path });
  if (kind !== 'file') throw diagError('file-not-regular', { path, kind }, { path });
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const size = (await handle.stat()).size;
    const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(CHUNK_BYTES, size)));
    for (let at = 0; at < size; ) {
      let read: number;
      try {
        read = (await handle.read(buffer, 0, Math.min(buffer.length, size - at), at)).bytesRead;
      } catch (error) {
        throw unreadable(path, error);
      }
      if (read === 0) throw diagError('file-changed', { path, before: size, after: at }, { path });
      at += read;
      yield buffer.subarray(0, read);
    }
  } finally {
    await handle.close();
  }
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
