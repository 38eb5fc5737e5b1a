/** The values of a zarr array in row-major order, put together from its chunks, a row of chunks at a time. */
import type { TensorData } from '../../../model/checkpoint.ts';
import type { DiagError } from '../../../model/errors.ts';
import { DTYPE_BYTES, decodeValues } from '../dtypes.ts';
import { malformed as malformedAs, truncated } from '../faults.ts';
import { checkLimit } from '../limit.ts';
import type { ChunkLayout, ZarrArray } from './array.ts';
import { decoderOf } from './codecs.ts';
import { type KeyStore, lengthOf, readValue, type StoredValue } from './store.ts';

/** Pieces that are handed out. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** zstd writes 128 KiB of one value as four bytes; more than this of them is no array that anybody stored. */
const MOST_PER_BYTE = 40_000;
const MOST_AT_LEAST = 64 * 1024 * 1024;
/** Chunks that are looked up for each one that is there: those of the fill value alone are not stored. */
const LOOKED_UP_PER_CHUNK = 1000;
const LOOKED_UP_AT_LEAST = 1_000_000;
/** A row of chunks is in memory at once. */
const MOST_AT_ONCE = 4 * 1024 * 1024 * 1024;

interface StoredArray {
  readonly array: ZarrArray;
  readonly name: string;
  readonly path: string;
  /** What the keys of its chunks begin with. */
  readonly prefix: string;
  readonly store: KeyStore;
  /** How many of its chunks are there, and their bytes. */
  readonly chunks: number;
  readonly storedBytes: number;
}

/**
 * @throws checkpoint-malformed, checkpoint-truncated, limit-exceeded where the array says more than its bytes can hold, and what
 *   its codecs find wrong
 */
export async function* zarrValues(stored: StoredArray): AsyncIterable<TensorData> {
  const { array } = stored;
  const { shape, dtype, chunk } = array;
  const width = DTYPE_BYTES[dtype];
  if (array.elements === 0) {
    yield decodeValues(new Uint8Array(0), dtype);
    return;
  }
  checkSizes(stored);
  const rows = shape[0] ?? 1;
  const deep = chunk.shape[0] ?? 1;
  const rowBytes = (array.elements / rows) * width;
  const counts = shape.map((size, axis) => Math.ceil(size / chunk.shape[axis]!));
  for (let first = 0; first < rows; first += deep) {
    const here = Math.min(deep, rows - first);
    const band = new Uint8Array(here * rowBytes);
    const bandShape = shape.length === 0 ? [] : [here, ...shape.slice(1)];
    for (const index of gridOf(counts.slice(1))) {
      const whole = shape.length === 0 ? [] : [first / deep, ...index];
      const origin = whole.map((i, axis) => (axis === 0 ? 0 : i * chunk.shape[axis]!));
      const content = await chunkOf(stored, whole);
      scatter({ to: band, shape: bandShape, origin, from: content, layout: chunk, width });
    }
    const piece = Math.max(width, PIECE_BYTES - (PIECE_BYTES % width));
    for (let at = 0; at < band.length; at += piece)
      yield decodeValues(band.slice(at, at + piece), dtype, chunk.bigEndian);
  }
}

function checkSizes({ array, name, path, chunks, storedBytes }: StoredArray): void {
  const width = DTYPE_BYTES[array.dtype];
  const limit = (what: string, found: number, most: number): void =>
    checkLimit(`${what} of "${name}"`, found, most, { path, tensor: name });
  limit('the number of bytes', array.elements * width, storedBytes * MOST_PER_BYTE + MOST_AT_LEAST);
  const grid = array.shape.reduce((all, size, axis) => all * Math.ceil(size / array.chunk.shape[axis]!), 1);
  limit('the number of chunks', grid, chunks * LOOKED_UP_PER_CHUNK + LOOKED_UP_AT_LEAST);
  const rows = array.shape[0] ?? 1;
  const deep = Math.min(array.chunk.shape[0] ?? 1, rows);
  limit('a row of chunks', (array.elements / rows) * deep * width, MOST_AT_ONCE);
  const ofChunk = array.chunk.shape.reduce((all, size) => all * size, width);
  limit('a chunk', ofChunk, Math.min(MOST_AT_ONCE, storedBytes * MOST_PER_BYTE + MOST_AT_LEAST));
}

/** Places in a grid, the last axis first. */
function* gridOf(counts: readonly number[]): Generator<number[]> {
  const index = counts.map(() => 0);
  for (;;) {
    yield [...index];
    let axis = counts.length - 1;
    while (axis >= 0 && ++index[axis]! === counts[axis]) index[axis--] = 0;
    if (axis < 0) return;
  }
}

/** The elements of a chunk in the order of its layout; of one that is not stored the fill value. */
async function chunkOf(stored: StoredArray, index: readonly number[]): Promise<Uint8Array> {
  const { array, store, prefix } = stored;
  const value = store.values.get(prefix + array.keyOf(index));
  if (value === undefined) return filled(stored, array.chunk.shape);
  if (array.inner !== undefined) return shardOf(stored, value);
  return decoded(stored, array.chunk, await bytesOf(stored, value));
}

/** Bytes [start, end) of a value. @throws checkpoint-truncated where its file is too short for it */
async function bytesOf(
  { store, name, path }: StoredArray,
  value: StoredValue,
  start = 0,
  end = lengthOf(value),
): Promise<Uint8Array> {
  if ('file' in value) {
    const { byteLength } = await store.open(value.file);
    if (value.start + end > byteLength)
      throw truncated('a chunk', value.start + end, byteLength, { path, tensor: name });
  }
  return readValue(store, value, start, end);
}

const malformed = ({ name, path }: StoredArray, problem: string): DiagError =>
  malformedAs('zarr', `"${name}": ${problem}`, { path, tensor: name });

const bytesIn = ({ array }: StoredArray, shape: readonly number[]): number =>
  shape.reduce((all, size) => all * size, DTYPE_BYTES[array.dtype]);

async function decoded(stored: StoredArray, layout: ChunkLayout, bytes: Uint8Array): Promise<Uint8Array> {
  const expected = bytesIn(stored, layout.shape);
  let content = bytes;
  for (const codec of layout.codecs) content = await decoderOf(codec)!(content, expected, stored.path);
  if (content.length !== expected)
    throw malformed(stored, `a chunk has ${content.length} bytes and should have ${expected}`);
  return content;
}

function filled(stored: StoredArray, shape: readonly number[]): Uint8Array {
  const { array } = stored;
  const content = new Uint8Array(bytesIn(stored, shape));
  const { fill } = array;
  if (fill === undefined) throw malformed(stored, 'a chunk is absent, and its fill value cannot be read');
  if (fill.some((byte) => byte !== 0)) {
    const element = array.chunk.bigEndian ? fill.toReversed() : fill;
    for (let at = 0; at < content.length; at += element.length) content.set(element, at);
  }
  return content;
}

/** A shard, put together from the chunks in it: an index of u64 offsets and lengths, all ones for one that is absent. */
async function shardOf(stored: StoredArray, value: StoredValue): Promise<Uint8Array> {
  const { array } = stored;
  const { chunk, inner } = array;
  const counts = chunk.shape.map((size, axis) => size / inner!.shape[axis]!);
  const entries = counts.reduce((all, count) => all * count, 1);
  const length = lengthOf(value);
  const indexBytes = entries * 16 + (inner!.indexHasChecksum ? 4 : 0);
  if (indexBytes > length) throw malformed(stored, 'a shard is shorter than its index');
  const start = inner!.indexAtStart ? 0 : length - indexBytes;
  const raw = await bytesOf(stored, value, start, start + indexBytes);
  const checked = inner!.indexHasChecksum ? await decoderOf('crc32c')!(raw, raw.length, stored.path) : raw;
  const index = Buffer.from(checked.buffer, checked.byteOffset, checked.byteLength);
  const width = DTYPE_BYTES[array.dtype];
  const whole = new Uint8Array(bytesIn(stored, chunk.shape));
  let entry = 0;
  for (const at of gridOf(counts)) {
    const [offset, bytes] = [index.readBigUInt64LE(16 * entry), index.readBigUInt64LE(16 * entry + 8)];
    entry++;
    const isAbsent = offset === NOWHERE && bytes === NOWHERE;
    if (!isAbsent && offset + bytes > BigInt(length))
      throw malformed(stored, 'a chunk lies beyond its shard');
    const content = isAbsent
      ? filled(stored, inner!.shape)
      : await decoded(stored, inner!, await bytesOf(stored, value, Number(offset), Number(offset + bytes)));
    const origin = at.map((i, axis) => i * inner!.shape[axis]!);
    scatter({ to: whole, shape: chunk.shape, origin, from: content, layout: inner!, width });
  }
  return whole;
}

const NOWHERE = 2n ** 64n - 1n;

interface Scatter {
  readonly to: Uint8Array;
  /** Of `to`, which is row-major. */
  readonly shape: readonly number[];
  /** Where in `to` the first element of the chunk goes. */
  readonly origin: readonly number[];
  readonly from: Uint8Array;
  readonly layout: ChunkLayout;
  /** Bytes of an element. */
  readonly width: number;
}

/** Copies a chunk to its place; what sticks out at the ends of the array is left out. */
function scatter({ to, shape, origin, from, layout, width }: Scatter): void {
  const axes = shape.length;
  const strides = stridesOf(
    shape,
    shape.map((_, axis) => axis),
  );
  const own = stridesOf(layout.shape, layout.order);
  const extent = layout.shape.map((size, axis) => Math.min(size, shape[axis]! - origin[axis]!));
  const last = axes - 1;
  const runs = axes === 0 ? [] : extent.slice(0, last);
  const run = axes === 0 ? 1 : extent[last]!;
  const isContiguous = axes === 0 || own[last] === 1;
  for (const index of gridOf(runs)) {
    let source = 0;
    let target = axes === 0 ? 0 : origin[last]! * strides[last]!;
    for (let axis = 0; axis < last; axis++) {
      source += index[axis]! * own[axis]!;
      target += (index[axis]! + origin[axis]!) * strides[axis]!;
    }
    if (isContiguous) to.set(from.subarray(source * width, (source + run) * width), target * width);
    else
      for (let i = 0; i < run; i++) {
        const at = (source + i * own[last]!) * width;
        to.set(from.subarray(at, at + width), (target + i) * width);
      }
  }
}

/** Elements from one place along each axis to the next, where `order` goes from the slowest axis to the fastest. */
function stridesOf(shape: readonly number[], order: readonly number[]): number[] {
  const strides = shape.map(() => 0);
  let stride = 1;
  for (const axis of order.toReversed()) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}
