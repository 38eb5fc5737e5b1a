/** Gzip streams of one or many members, of which a damaged one still gives what came before the damage. */
import { constants, createGunzip } from 'node:zlib';
import { type DiagError, diagError } from '../model/errors.ts';

/** Whether the bytes start a gzip member with deflate, the only method there is (RFC 1952). */
export const isGzip = (head: Uint8Array): boolean => head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;

/** Small, so that a piece that inflates a thousandfold stays small too. */
const PIECE_BYTES = 16 << 10;

/**
 * The decompressed content of a gzip stream. Damage (a bad block, a bad checksum, a cut end) ends it and is handed to
 * `onDamage`; everything that was decompressed before is yielded first.
 */
export async function* gunzipChunks(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  onDamage: (error: DiagError) => void,
): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: 64 << 10, flush: constants.Z_SYNC_FLUSH });
  let pending: Buffer[] = [];
  let bytes = 0;
  let failure: Error | undefined;
  // In flowing mode every push arrives here at once, so that an error can discard nothing that was decompressed.
  gunzip.on('data', (chunk: Buffer) => pending.push(chunk));
  const failed = new Promise<void>((resolve) =>
    gunzip.on('error', (error) => {
      failure = error;
      resolve();
    }),
  );
  const take = (): Buffer[] => {
    const out = pending;
    pending = [];
    for (const chunk of out) bytes += chunk.length;
    return out;
  };
  try {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length && failure === undefined; at += PIECE_BYTES) {
        // zlib works on another thread: the piece must outlive the caller's buffer.
        const piece = Buffer.from(chunk.subarray(at, at + PIECE_BYTES));
        await Promise.race([new Promise<void>((resolve) => gunzip.write(piece, () => resolve())), failed]);
        yield* take();
      }
      if (failure !== undefined) break;
    }
    if (failure === undefined) {
      gunzip.end();
      await Promise.race([new Promise<void>((resolve) => gunzip.once('end', resolve)), failed]);
      yield* take();
    }
    if (failure !== undefined)
      onDamage(diagError('gzip-damaged', { path, bytes, reason: failure.message }, { path }, failure));
  } finally {
    gunzip.destroy();
  }
}
