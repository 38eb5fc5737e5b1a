/** Compressors of zarr's chunks. One is a line here, by the name that both versions of zarr have for it. */
import { inflateSync, unzipSync } from 'node:zlib';
import { diagError } from '../../../model/errors.ts';
import { crc32c } from '../../bytes/crc32c.ts';
import { hex } from '../../bytes/hex.ts';
import { zstdChunks } from '../../bytes/zstd.ts';
import { malformed as malformedAs } from '../faults.ts';
import { inflateBlosc, inflateLz4 } from './blosc.ts';

/** Undoes one step; `limit` is the most that may come out. @throws checkpoint-malformed, limit-exceeded */
type Decode = (bytes: Uint8Array, limit: number, path: string) => Promise<Uint8Array> | Uint8Array;

/** A compressor that holds no size itself is given room for what is around the elements, such as a checksum. */
const SLACK = 64;

const DECODERS: Readonly<Record<string, Decode>> = {
  zstd: inflateZstd,
  gzip: (bytes, limit, path) => inflated(() => unzipSync(bytes, { maxOutputLength: limit + SLACK }), path),
  zlib: (bytes, limit, path) => inflated(() => inflateSync(bytes, { maxOutputLength: limit + SLACK }), path),
  blosc: (bytes, limit, path) =>
    inflateBlosc(bytes, limit, path, (codec, part, length) => DECODERS[codec]!(part, length, path)),
  // numcodecs writes the length before the block.
  lz4: (bytes, limit, path) => {
    const malformed = (problem: string) => malformedAs('LZ4', problem, { path });
    const length = bytes.length < 4 ? Number.NaN : Buffer.from(bytes).readUInt32LE(0);
    if (!(length <= limit + SLACK)) throw malformed('a chunk says more bytes than it should have');
    const target = new Uint8Array(length);
    inflateLz4(bytes.subarray(4), target, malformed);
    return target;
  },
  crc32c: (bytes, _, path) => {
    const end = bytes.length - 4;
    const [found, expected] = [
      crc32c(bytes, 0, Math.max(0, end)),
      end < 0 ? 0 : Buffer.from(bytes).readUInt32LE(end),
    ];
    if (end < 0 || found !== expected)
      throw diagError(
        'checksum-mismatch',
        { what: 'a chunk', found: hex(found), expected: hex(expected) },
        { path },
      );
    return bytes.subarray(0, end);
  },
};

/** The decoder of a codec by its name; undefined where it is not read. */
export const decoderOf = (name: string): Decode | undefined =>
  Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;

function inflated(inflate: () => Uint8Array, path: string): Uint8Array {
  try {
    return inflate();
  } catch (error) {
    throw malformedAs(
      'zarr',
      `a chunk cannot be decompressed (${(error as Error).message})`,
      { path },
      error,
    );
  }
}

/** @throws limit-exceeded beyond `limit` bytes, stream-damaged */
export async function inflateZstd(bytes: Uint8Array, limit: number, path: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  const whole = (async function* () {
    yield bytes;
  })();
  for await (const piece of zstdChunks(whole, path, (error) => {
    throw error;
  })) {
    length += piece.length;
    if (length > limit + SLACK)
      throw diagError(
        'limit-exceeded',
        { what: 'a chunk in bytes', found: length, limit, hint: '' },
        { path },
      );
    pieces.push(piece);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}
