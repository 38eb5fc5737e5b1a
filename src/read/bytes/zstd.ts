/** zstd streams of one or many frames (RFC 8878), decoded by fzstd. Its checksums of content are not verified. */
import { Decompress } from 'fzstd';
import { diagError } from '../../model/errors.ts';
import type { OnDamage } from './stream-damage.ts';

/** Small, so that a piece made of repeated blocks (four bytes give 128 kB) stays small once it is decompressed. */
const PIECE_BYTES = 1 << 10;
/** The largest window that is read: the decoder allocates it at once, whatever follows. zstd's own default. */
const LARGEST_WINDOW = 128 << 20;
/** The longest header of a frame: magic number, descriptor, window, dictionary, size of the content. */
const HEADER_BYTES = 18;
const UNEXPECTED_END = 5;

/**
 * The bytes that a frame asks the decoder to keep.
 *
 * @param head the first bytes of a file, at least {@link HEADER_BYTES} or the whole file
 * @returns 0 where the first frame is a skippable one
 */
function windowBytes(head: Uint8Array): number {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== 0xfd2fb528) return 0;
  const descriptor = bytes[4]!;
  const isSingle = (descriptor & 0x20) !== 0;
  if (!isSingle) {
    const base = 2 ** (10 + (bytes[5]! >> 3));
    return base + (base / 8) * (bytes[5]! & 7);
  }
  const at = 5 + [0, 1, 2, 4][descriptor & 3]!;
  const size = descriptor >> 6;
  if (size === 0) return bytes[at]!;
  if (size === 1) return bytes.readUInt16LE(at) + 256;
  return size === 2 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at));
}

/** The content of a zstd stream; see {@link OnDamage} for what happens at damage. */
export async function* zstdChunks(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  onDamage: OnDamage,
): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array[] = [];
  let bytes = 0;
  const decoder = new Decompress((chunk) => {
    // The decoder's window is moved beneath what it hands out.
    if (chunk.length > 0) pending.push(chunk.slice());
  });
  const fail = (error: unknown): void => {
    const isTorn = (error as { code?: number }).code === UNEXPECTED_END;
    const reason = isTorn ? 'unexpected end of file' : (error as Error).message;
    onDamage(
      diagError('stream-damaged', { path, format: 'zstd', bytes, reason }, { path }),
      isTorn ? 'torn' : 'damaged',
    );
  };
  const take = (piece: Uint8Array, isLast: boolean): unknown => {
    try {
      decoder.push(piece, isLast);
      return undefined;
    } catch (error) {
      return error;
    }
  };
  let isFirst = true;
  for await (const chunk of chunks) {
    if (isFirst) {
      const window = windowBytes(chunk);
      if (window > LARGEST_WINDOW) {
        const details = { what: `the window of ${path} in bytes`, found: window, limit: LARGEST_WINDOW };
        onDamage(
          diagError('limit-exceeded', { ...details, hint: 'decompress it with zstd --memory' }, { path }),
          'over-limit',
        );
        return;
      }
    }
    isFirst = false;
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      const error = take(Uint8Array.from(chunk.subarray(at, at + PIECE_BYTES)), false);
      for (const one of pending) {
        bytes += one.length;
        yield one;
      }
      pending = [];
      if (error !== undefined) return fail(error);
    }
  }
  const error = take(new Uint8Array(0), true);
  for (const one of pending) {
    bytes += one.length;
    yield one;
  }
  if (error !== undefined) fail(error);
}
