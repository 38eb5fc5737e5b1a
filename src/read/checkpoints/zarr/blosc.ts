/**
 * Chunks of Blosc 1, the compressor of zarr before version 3.
 *
 * | bytes | content |
 * |---|---|
 * | 0, 1 | version of the format (2), version of the codec |
 * | 2 | flags: 1 bytes shuffled, 2 stored as they are, 4 bits shuffled, 16 blocks not split; codec in the top three bits |
 * | 3 | bytes of an element |
 * | 4 … 15 | u32 each: length when decompressed, length of a block, length of the chunk |
 * | 16 … | i32 for each block: where it begins |
 * | block | for each part: i32 length, content, which is stored as it is where its length is the part's own |
 *
 * A block is one part, or one for each byte of an element. Source: c-blosc, README_CHUNK_FORMAT.rst. LZ4 blocks:
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md.
 */
import { type DiagError, diagError } from '../../../model/errors.ts';
import { malformed as malformedAs } from '../faults.ts';

const HEADER_BYTES = 16;
const CODECS = ['blosclz', 'lz4', 'snappy', 'zlib', 'zstd'];
/** c-blosc does not split elements of more bytes. */
const MAX_SPLIT = 16;
const MIN_PART = 128;

type Inflate = (
  codec: 'zlib' | 'zstd',
  bytes: Uint8Array,
  length: number,
) => Promise<Uint8Array> | Uint8Array;

/** What the header of a chunk says, and what reads its parts. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly codec: 'lz4' | 'zlib' | 'zstd';
  /** Bytes of an element. */
  readonly width: number;
  /** Bytes of a block when it is decompressed; the last one may have fewer. */
  readonly block: number;
  readonly areSplit: boolean;
  readonly areShuffled: boolean;
  readonly inflate: Inflate;
  readonly malformed: (problem: string) => DiagError;
}

/**
 * @param expected bytes that the chunk must have
 * @param inflate decompresses a part into at most so many bytes
 * @throws checkpoint-malformed, format-unsupported for codecs and filters that are not read
 */
export async function inflateBlosc(
  bytes: Uint8Array,
  expected: number,
  path: string,
  inflate: Inflate,
): Promise<Uint8Array> {
  const malformed = (problem: string): DiagError => malformedAs('Blosc', problem, { path });
  if (bytes.length < HEADER_BYTES) throw malformed(`a chunk has ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [flags, width] = [bytes[2]!, bytes[3]! || 1];
  const [length, block] = [view.getUint32(4, true), view.getUint32(8, true)];
  if (length !== expected) throw malformed(`a chunk has ${length} bytes and should have ${expected}`);
  if ((flags & 2) !== 0) {
    if (bytes.length < HEADER_BYTES + length) throw malformed('a chunk ends before its last byte');
    return bytes.slice(HEADER_BYTES, HEADER_BYTES + length);
  }
  const chunk = {
    ...{ bytes, width, block, inflate, malformed },
    codec: codecOf(flags, path),
    areSplit: (flags & 16) === 0 && width <= MAX_SPLIT && block / width >= MIN_PART,
    areShuffled: (flags & 1) !== 0 && width > 1,
  };
  if (block === 0 && length > 0) throw malformed('its blocks have no bytes');
  const result = new Uint8Array(length);
  for (let start = 0, i = 0; start < length; start += block, i++) {
    const at = HEADER_BYTES + 4 * i;
    if (at + 4 > bytes.length) throw malformed('its list of blocks ends early');
    result.set(await blockOf(chunk, view.getUint32(at, true), Math.min(block, length - start)), start);
  }
  return result;
}

function codecOf(flags: number, path: string): Chunk['codec'] {
  const codec = CODECS[flags >> 5];
  if ((flags & 4) === 0 && (codec === 'lz4' || codec === 'zlib' || codec === 'zstd')) return codec;
  throw diagError(
    'format-unsupported',
    {
      path,
      format: `zarr compressed by Blosc with ${(flags & 4) !== 0 ? 'bitshuffle' : (codec ?? 'an unknown codec')}`,
      instead: 'save it with the compressor Zstd, or Blosc with lz4, zstd or zlib',
    },
    { path },
  );
}

/** @param at where the block begins in the chunk */
async function blockOf(chunk: Chunk, at: number, size: number): Promise<Uint8Array> {
  const { bytes, codec, width, malformed } = chunk;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = chunk.areSplit && size === chunk.block ? width : 1;
  const own = Math.floor(size / parts);
  const whole = new Uint8Array(size);
  let next = at;
  for (let part = 0; part < parts; part++) {
    if (next + 4 > bytes.length) throw malformed('a block begins after its end');
    const stored = view.getUint32(next, true);
    next += 4;
    if (next + stored > bytes.length) throw malformed('a block is longer than the chunk');
    const content = bytes.subarray(next, next + stored);
    next += stored;
    const target = whole.subarray(part * own, part * own + own);
    if (stored === own) target.set(content);
    else if (codec === 'lz4') inflateLz4(content, target, malformed);
    else {
      const inflated = await chunk.inflate(codec, content, own);
      if (inflated.length !== own) throw malformed('a block has another length than it should');
      target.set(inflated);
    }
  }
  return chunk.areShuffled ? unshuffled(whole, width) : whole;
}

/** The bytes of each element side by side again; a rest that is no whole element is not shuffled. */
function unshuffled(bytes: Uint8Array, width: number): Uint8Array {
  const count = Math.floor(bytes.length / width);
  const result = bytes.slice();
  for (let byte = 0; byte < width; byte++)
    for (let i = 0; i < count; i++) result[i * width + byte] = bytes[byte * count + i]!;
  return result;
}

/** Fills `target` with an LZ4 block: literals, then a copy of what came `offset` bytes before, and so on. */
export function inflateLz4(
  bytes: Uint8Array,
  target: Uint8Array,
  malformed: (problem: string) => DiagError,
): void {
  let at = 0;
  let to = 0;
  const lengthFrom = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15)
      for (let more = 255; more === 255; ) {
        more = bytes[at++] ?? Number.NaN;
        length += more;
      }
    return length;
  };
  while (at < bytes.length) {
    const token = bytes[at++]!;
    const literals = lengthFrom(token >> 4);
    if (!(at + literals <= bytes.length && to + literals <= target.length))
      throw malformed('an LZ4 block holds more than it should');
    target.set(bytes.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    // The last sequence has literals alone.
    if (at >= bytes.length) break;
    const offset = bytes[at]! | ((bytes[at + 1] ?? 0) << 8);
    at += 2;
    const length = lengthFrom(token & 15) + 4;
    if (!(offset > 0 && offset <= to && to + length <= target.length))
      throw malformed('an LZ4 block copies from outside of itself');
    for (const end = to + length; to < end; to++) target[to] = target[to - offset]!;
  }
  if (to !== target.length) throw malformed('an LZ4 block holds less than it should');
}
