/**
 * Gzip streams of one or many members; a damaged one still gives its bytes before the damage.
 *
 * | bytes of a member | content |
 * |---|---|
 * | 10 | `1f 8b 08`, flags, time, what wrote it |
 * | as the flags say | extra field (4), file name (8) and comment (16), each ended by a zero byte, CRC-16 (2) |
 * | … | deflate |
 * | 8 | CRC-32 and length (modulo 2³²) of what is in it, little-endian |
 *
 * Zero bytes may follow the last member (a tape is padded with them). Anything else is reported: Node's own reader silently
 * skips some of it, and loses whole members before the rest. Source: RFC 1952.
 */
import { constants, createInflateRaw } from 'node:zlib';
import { type DiagError, diagError } from '../../model/errors.ts';
import { type ByteFeed, byteFeed, restOf } from './byte-feed.ts';
import { crc32 } from './crc32.ts';
import type { StreamDamage } from './stream-damage.ts';

/** Whether the bytes start a gzip member with deflate, the only method there is (RFC 1952). */
export const isGzip = (head: Uint8Array): boolean => head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;

/**
 * Bytes that are inflated at once: few at the beginning. What was inflated of the piece that is damaged is lost, so that a
 * piece is a small part of what came before it, and a piece that inflates a thousandfold stays small too.
 */
const pieceBytes = (position: number): number => Math.min(16 << 10, Math.max(512, position >> 4));

const HEADER_BYTES = 10;
const TRAILER_BYTES = 8;
const EXTRA = 4;
const NAME = 8;
const COMMENT = 16;
const HEADER_CRC = 2;

const MAGIC = [0x1f, 0x8b, 8];

/** Whether bytes begin a member, or are all that is left of one. */
const beginsMember = (head: Uint8Array): boolean =>
  MAGIC.every((byte, i) => i >= head.length || head[i] === byte);

/**
 * The decompressed content of a gzip stream. Damage (a bad block, a bad checksum, a cut end, bytes after the last member)
 * ends it and is handed to `onDamage`; what was decompressed before is yielded first, but for the piece in which a block
 * is bad.
 */
export async function* gunzipChunks(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  onDamage: (error: DiagError, damage: StreamDamage) => void,
): AsyncGenerator<Uint8Array> {
  const feed = byteFeed(chunks);
  let bytes = 0;
  try {
    for (let first = true; await feed.need(1); first = false) {
      if (!first && !(await skipZeros(feed))) return;
      await feed.need(MAGIC.length);
      if (!first && !beginsMember(feed.bytes())) {
        const left = await restOf(feed);
        onDamage(diagError('gzip-trailing', { path, bytes: left }, { path }), 'trailing');
        return;
      }
      const content = contentSum();
      let problem: Problem | undefined = (await skipHeader(feed)) ? undefined : TORN;
      if (problem === undefined)
        for await (const chunk of inflated(feed, (error) => {
          problem = error.code === 'Z_BUF_ERROR' ? TORN : { damage: 'damaged', reason: error.message };
        })) {
          content.add(chunk);
          bytes += chunk.length;
          yield chunk;
        }
      problem ??= await checkTrailer(feed, content);
      if (problem !== undefined) {
        const { damage, reason } = problem;
        onDamage(diagError('gzip-damaged', { path, bytes, reason }, { path }), damage);
        await restOf(feed);
        return;
      }
    }
  } finally {
    await feed.close();
  }
}

interface Problem {
  readonly damage: StreamDamage;
  readonly reason: string;
}

const TORN: Problem = { damage: 'torn', reason: 'unexpected end of file' };

/** Checksum and length of what a member holds. */
const contentSum = () => {
  const sum = {
    crc: 0,
    length: 0,
    add(chunk: Uint8Array): void {
      sum.crc = crc32(chunk, sum.crc);
      sum.length += chunk.length;
    },
  };
  return sum;
};

/** What is wrong with the end of a member, in the words of zlib. */
async function checkTrailer(
  feed: ByteFeed,
  { crc, length }: { readonly crc: number; readonly length: number },
): Promise<Problem | undefined> {
  if (!(await feed.need(TRAILER_BYTES))) return TORN;
  const trailer = Buffer.from(feed.bytes().subarray(0, TRAILER_BYTES));
  feed.skip(TRAILER_BYTES);
  if (trailer.readUInt32LE(0) !== crc) return { damage: 'damaged', reason: 'incorrect data check' };
  if (trailer.readUInt32LE(4) !== length % 2 ** 32)
    return { damage: 'damaged', reason: 'incorrect length check' };
  return undefined;
}

/** Skips the header of a member; whether it is complete. */
async function skipHeader(feed: ByteFeed): Promise<boolean> {
  if (!(await feed.need(HEADER_BYTES))) return false;
  const flags = feed.bytes()[3]!;
  feed.skip(HEADER_BYTES);
  if (flags & EXTRA) {
    if (!(await feed.need(2))) return false;
    const [low, high] = feed.bytes();
    feed.skip(2);
    const length = low! + 256 * high!;
    if (!(await feed.need(length))) return false;
    feed.skip(length);
  }
  for (const text of [NAME, COMMENT]) if (flags & text && !(await skipText(feed))) return false;
  if (flags & HEADER_CRC) {
    if (!(await feed.need(2))) return false;
    feed.skip(2);
  }
  return true;
}

/** Skips a text and the zero byte that ends it; whether there is one. */
async function skipText(feed: ByteFeed): Promise<boolean> {
  while (await feed.need(1)) {
    const end = feed.bytes().indexOf(0);
    feed.skip(end < 0 ? feed.bytes().length : end + 1);
    if (end >= 0) return true;
  }
  return false;
}

/** Skips zero bytes; whether anything follows them. */
async function skipZeros(feed: ByteFeed): Promise<boolean> {
  if (feed.bytes()[0] !== 0) return true;
  while (await feed.need(1)) {
    const other = feed.bytes().findIndex((byte) => byte !== 0);
    feed.skip(other < 0 ? feed.bytes().length : other);
    if (other >= 0) return true;
  }
  return false;
}

/** One deflate stream; afterwards the feed is after its last byte. */
async function* inflated(
  feed: ByteFeed,
  onError: (error: NodeJS.ErrnoException) => void,
): AsyncGenerator<Uint8Array> {
  const inflate = createInflateRaw({ chunkSize: 64 << 10, flush: constants.Z_SYNC_FLUSH });
  let pending: Buffer[] = [];
  let state: 'open' | 'ended' | 'failed' = 'open';
  let wake = (): void => {};
  const over = (how: 'ended' | 'failed'): void => {
    state = how;
    wake();
  };
  // In flowing mode every push arrives here at once, so that an error can discard nothing that was decompressed.
  inflate.on('data', (chunk: Buffer) => pending.push(chunk));
  inflate.on('end', () => over('ended'));
  inflate.on('error', (error) => {
    onError(error);
    over('failed');
  });
  const take = (): Buffer[] => {
    const out = pending;
    pending = [];
    return out;
  };
  try {
    while (state === 'open') {
      if (!(await feed.need(1))) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          inflate.end();
        });
        yield* take();
        return;
      }
      // zlib works on another thread: the piece must outlive the caller's buffer.
      const piece = Buffer.from(feed.bytes().subarray(0, pieceBytes(feed.position())));
      const before = inflate.bytesWritten;
      await new Promise<void>((resolve) => {
        wake = resolve;
        // Not called where the stream ends within the piece: then it is `end` that comes.
        inflate.write(piece, () => resolve());
      });
      feed.skip(state === 'open' ? piece.length : inflate.bytesWritten - before);
      yield* take();
    }
  } finally {
    inflate.destroy();
  }
}
