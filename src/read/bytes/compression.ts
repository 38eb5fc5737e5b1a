/**
 * Compressed streams, recognised by their first bytes. The decoder of each is loaded when one is met.
 *
 * | compression | first bytes | specification |
 * |---|---|---|
 * | gzip | `1f 8b 08` | RFC 1952 |
 * | zstd | `28 b5 2f fd`, or a skippable frame `5? 2a 4d 18` | RFC 8878 |
 * | xz | `fd 37 7a 58 5a 00` | tukaani.org/xz/xz-file-format.txt |
 * | bzip2 | `BZh1` to `BZh9`, digits of π or of its root | bzip2 1.0 |
 */
import { diagError } from '../../model/errors.ts';
import { isGzip } from './gzip.ts';
import type { OnDamage } from './stream-damage.ts';

export interface Compression {
  readonly id: 'gzip' | 'zstd' | 'xz' | 'bzip2';
  /** Whether the first bytes of a file are of this compression. */
  is(head: Uint8Array): boolean;
  /**
   * The decompressed bytes; damage ends them and is handed to `onDamage`.
   *
   * @param path for messages
   */
  decompress(chunks: AsyncIterable<Uint8Array>, path: string, onDamage: OnDamage): AsyncIterable<Uint8Array>;
}

const begins = (head: Uint8Array, bytes: readonly number[]): boolean =>
  head.length >= bytes.length && bytes.every((byte, k) => head[k] === byte);

const isZstd = (head: Uint8Array): boolean =>
  begins(head, [0x28, 0xb5, 0x2f, 0xfd]) ||
  (head.length >= 8 && (head[0]! & 0xf0) === 0x50 && begins(head.subarray(1), [0x2a, 0x4d, 0x18]));

const isBzip2 = (head: Uint8Array): boolean =>
  begins(head, [0x42, 0x5a, 0x68]) &&
  head[3]! >= 0x31 &&
  head[3]! <= 0x39 &&
  (begins(head.subarray(4), [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]) ||
    begins(head.subarray(4), [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]));

/** Decompressed bytes that any ratio may give: repeated lines and padding compress without end. */
const ANY_RATIO_BYTES = 64 << 20;
/** Decompressed bytes for a compressed one beyond that; gzip cannot give more than 1,032. */
const LARGEST_RATIO = 1100;

/** Ends a stream that holds far more than its size suggests, such as a file made to fill the memory or to last for hours. */
function bounded(decompress: Compression['decompress'], id: Compression['id']): Compression['decompress'] {
  return async function* (chunks, path, onDamage) {
    let [packed, bytes] = [0, 0];
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        packed += chunk.length;
        yield chunk;
      }
    };
    for await (const chunk of decompress(counted(), path, onDamage)) {
      bytes += chunk.length;
      if (bytes > ANY_RATIO_BYTES && bytes > packed * LARGEST_RATIO) {
        const what = `the number of bytes in the ${id} stream of ${path} for each compressed byte`;
        const found = Math.round(bytes / packed);
        const hint = 'decompress it and name the file';
        onDamage(
          diagError('limit-exceeded', { what, found, limit: LARGEST_RATIO, hint }, { path }),
          'over-limit',
        );
        return;
      }
      yield chunk;
    }
  };
}

const COMPRESSIONS: readonly Compression[] = [
  {
    id: 'gzip',
    is: isGzip,
    async *decompress(chunks, path, onDamage) {
      yield* (await import('./gzip.ts')).gunzipChunks(chunks, path, onDamage);
    },
  },
  {
    id: 'zstd',
    is: isZstd,
    decompress: bounded(async function* (chunks, path, onDamage) {
      yield* (await import('./zstd.ts')).zstdChunks(chunks, path, onDamage);
    }, 'zstd'),
  },
  {
    id: 'xz',
    is: (head) => begins(head, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]),
    decompress: bounded(async function* (chunks, path, onDamage) {
      yield* (await import('./xz.ts')).xzChunks(chunks, path, onDamage);
    }, 'xz'),
  },
  {
    id: 'bzip2',
    is: isBzip2,
    decompress: bounded(async function* (chunks, path, onDamage) {
      yield* (await import('./bzip2.ts')).bzip2Chunks(chunks, path, onDamage);
    }, 'bzip2'),
  },
];

/** The compression that the first bytes of a file are of; undefined where they are of none. */
export const compressionOf = (head: Uint8Array): Compression | undefined =>
  COMPRESSIONS.find((one) => one.is(head));

/** The name of a file without the ending of a compression. */
export const withoutCompression = (name: string): string => name.replace(/\.(?:gz|zst|xz|bz2)$/i, '');
