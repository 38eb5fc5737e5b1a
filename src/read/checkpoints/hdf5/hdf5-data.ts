/**
 * The data of HDF5 arrays: compact (in the header), contiguous, or in chunks.
 *
 * Chunks are found through a version-1 B-tree; the filters deflate (1), shuffle (2) and fletcher32 (3) are undone.
 * Source: HDF5 File Format Specification 3.0, IV.A.2.i, IV.A.2.l and III.A.1.
 */
import { inflateSync } from 'node:zlib';
import type { Dtype, TensorData } from '../../../model/checkpoint.ts';
import { diagError } from '../../../model/errors.ts';
import { type ByteReader, byteReader } from '../../bytes/reader.ts';
import { type ByteSource, type Extent, placeOf } from '../../bytes/source.ts';
import { bytePieces, decodePieces, decodeValues, elementsOf } from '../dtypes.ts';
import { ambiguous, truncated, unsupportedDtype } from '../faults.ts';
import { checkLimit } from '../limit.ts';
import {
  type Hdf5Message,
  type Hdf5Object,
  type Hdf5Reader,
  hdf5Reader,
  MESSAGE,
  malformedHdf5,
  parseDataspace,
  readAddress,
  treeLeaves,
  unsupported,
} from './hdf5.ts';
import { type Datatype, parseDatatype } from './hdf5-types.ts';

/** An array of numbers; its values are read when streamed. */
export interface Hdf5Array {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly elements: number;
  stream(): AsyncIterable<TensorData>;
}

/**
 * Where the data of a data set lies, whatever is in it; nowhere where it was never written or lies in the header of its
 * object. Reads the index of its chunks.
 *
 * @throws checkpoint-truncated, checkpoint-malformed, hdf5-unsupported
 */
export async function extentsOfData(object: Hdf5Object): Promise<Extent[]> {
  const { reader } = object;
  const { path, source } = reader;
  const messageOf = (type: number) => object.messages.find((message) => message.type === type)?.bytes;
  const [layoutBytes, spaceBytes] = [messageOf(MESSAGE.layout), messageOf(MESSAGE.dataspace)];
  if (layoutBytes === undefined) return [];
  const layout = byteReader(layoutBytes, path, `the layout of "${object.name}"`);
  const version = layout.u8();
  const kind = layout.u8();
  if (version !== 3 && version !== 4) return [];
  if (kind === 1) {
    const start = readAddress(layout);
    return start === undefined ? [] : [placeOf(source, start, start + layout.u64())];
  }
  if (kind !== 2 || version !== 3 || spaceBytes === undefined) return [];
  const rank = layout.u8() - 1;
  const tree = readAddress(layout);
  if (tree === undefined || rank !== parseDataspace(spaceBytes, path)?.length) return [];
  const leaves = await chunkLeaves(hdf5Reader(source), tree, rank, object.name);
  return leaves.map(({ key, child }) =>
    placeOf(source, child, child + byteReader(key, path, 'a chunk').u32()),
  );
}

const chunkLeaves = (reader: Hdf5Reader, tree: number, rank: number, name: string) =>
  treeLeaves(reader, tree, 1, 8 + 8 * (rank + 1), `the chunks of "${name}"`);

/** What was never written may claim any shape, since it takes no bytes: it is filled in only up to this size. */
const MAX_UNWRITTEN_BYTES = 64 * 1024 * 1024;
/** Chunks across the first axis are put together in memory. */
const MAX_SLAB_BYTES = 1024 * 1024 * 1024;
/** Deflate cannot do better. */
const MAX_DEFLATE_RATIO = 1032;

/**
 * The array that a data set holds; undefined where it holds texts or nothing.
 *
 * @param marked what its two bytes mean, where HDF5 has no type for it
 * @throws checkpoint-truncated, checkpoint-malformed, dtype-unsupported, hdf5-external, hdf5-unsupported, limit-exceeded
 */
export function openArray(object: Hdf5Object, marked?: 'BF16'): Hdf5Array | undefined {
  const { name, reader } = object;
  const { path } = reader;
  const message = (type: number): Uint8Array | undefined =>
    object.messages.find((m: Hdf5Message) => m.type === type)?.bytes;
  const [typeBytes, spaceBytes, layoutBytes] = [
    message(MESSAGE.datatype),
    message(MESSAGE.dataspace),
    message(MESSAGE.layout),
  ];
  if (typeBytes === undefined || spaceBytes === undefined || layoutBytes === undefined)
    throw malformedHdf5(path, `"${name}" has no type or no shape`);
  if (message(MESSAGE.externalFiles) !== undefined)
    throw diagError('hdf5-external', { name, target: 'external storage' }, { path, tensor: name });
  const stored = parseDatatype(typeBytes, path);
  const type: Datatype =
    marked !== undefined && stored.size === 2
      ? { kind: 'number', size: 2, dtype: marked, bigEndian: false }
      : stored;
  const shape = parseDataspace(spaceBytes, path);
  if (type.kind === 'string' || type.kind === 'variable-string' || shape === undefined) return undefined;
  if (type.kind !== 'number') throw unsupportedDtype(name, type.description, path);
  const elements = elementsOf(shape, path, name, 'HDF5');
  const fill = fillValue(message(MESSAGE.fill), path, type.size);
  const described = {
    ...type,
    name,
    source: reader.source,
    shape,
    elements,
    bytes: elements * type.size,
    fill,
  };

  const layout = byteReader(layoutBytes, path, `the layout of "${name}"`);
  const version = layout.u8();
  if (version !== 3 && version !== 4) throw unsupported(path, name, `layout version ${version}`);
  const kind = layout.u8();
  const { dtype } = type;
  if (kind === 0) return { dtype, shape, elements, stream: compactValues(described, layout) };
  if (kind === 1) return { dtype, shape, elements, stream: contiguousValues(described, layout) };
  if (kind !== 2 || version !== 3)
    throw unsupported(path, name, kind === 2 ? 'chunks of libver="latest"' : `layout class ${kind}`);
  const stream = chunkedValues(described, layout, message(MESSAGE.filters));
  return { dtype, shape, elements, stream };
}

/** A data set with what is needed to read it. */
interface Described {
  readonly name: string;
  readonly source: ByteSource;
  readonly dtype: Dtype;
  readonly bigEndian: boolean;
  /** Bytes of an element. */
  readonly size: number;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly bytes: number;
  /** Of elements that were never written. */
  readonly fill: Uint8Array | undefined;
}

/** Values in the object header itself. */
function compactValues(array: Described, layout: ByteReader): Hdf5Array['stream'] {
  const { name, source, dtype, bigEndian, bytes } = array;
  const data = layout.bytes(layout.u16());
  if (data.length < bytes)
    throw truncated(`tensor "${name}"`, bytes, data.length, { path: source.path, tensor: name });
  return async function* () {
    yield decodeValues(new Uint8Array(data.subarray(0, bytes)), dtype, bigEndian);
  };
}

/** Values in one piece, or never written. */
function contiguousValues(array: Described, layout: ByteReader): Hdf5Array['stream'] {
  const { name, source, dtype, bigEndian, elements, bytes } = array;
  const { path, byteLength } = source;
  const start = readAddress(layout);
  if (start === undefined) {
    checkUnwritten(array);
    return async function* () {
      yield unwritten(array);
    };
  }
  const length = layout.u64();
  if (length !== bytes)
    throw malformedHdf5(
      path,
      `"${name}" (${dtype}, ${elements} elements) needs ${bytes} bytes and has ${length}`,
    );
  const end = start + bytes;
  if (end > byteLength)
    throw truncated(`tensor "${name}"`, end, byteLength, { path, tensor: name, byteOffset: start });
  return () => decodePieces(bytePieces(source, start, end), dtype, bigEndian);
}

/** Values in chunks of a grid, or never written. */
function chunkedValues(
  array: Described,
  layout: ByteReader,
  filterBytes: Uint8Array | undefined,
): Hdf5Array['stream'] {
  const { name, source, dtype, bigEndian, size, shape, elements } = array;
  const { path } = source;
  const rank = layout.u8() - 1;
  const tree = readAddress(layout);
  const chunk = Array.from({ length: rank }, () => layout.u32());
  if (rank !== shape.length || rank === 0 || chunk.includes(0) || layout.u32() !== size)
    throw malformedHdf5(path, `the chunks of "${name}" do not fit its shape`);
  const filters = parseFilters(filterBytes, path, name);
  if (tree === undefined) checkUnwritten(array);
  return async function* () {
    if (tree === undefined || elements === 0) yield unwritten(array);
    else
      for await (const slab of chunkSlabs(array, { tree, chunk, filters }))
        yield decodeValues(slab, dtype, bigEndian);
  };
}

const unwritten = ({ bytes, fill, dtype, bigEndian }: Described): TensorData =>
  decodeValues(filledBytes(bytes, fill), dtype, bigEndian);

const checkUnwritten = ({ name, source: { path }, bytes }: Described): void =>
  checkLimit(`the bytes of "${name}" that were never written`, bytes, MAX_UNWRITTEN_BYTES, {
    path,
    tensor: name,
  });

/** Memory in which every element has the fill value. */
function filledBytes(length: number, fill: Uint8Array | undefined): Uint8Array {
  const bytes = new Uint8Array(length);
  if (fill !== undefined) for (let at = 0; at < length; at += fill.length) bytes.set(fill, at);
  return bytes;
}

/** Fill value messages 1 to 3; undefined for zeros. */
function fillValue(bytes: Uint8Array | undefined, path: string, size: number): Uint8Array | undefined {
  if (bytes === undefined) return undefined;
  const block = byteReader(bytes, path, 'a fill value');
  const version = block.u8();
  if (version === 3) {
    if (!(block.u8() & 0x20)) return undefined;
  } else {
    block.bytes(2);
    if (block.u8() === 0) return undefined;
  }
  const length = block.u32();
  return length === size ? block.bytes(size) : undefined;
}

const DEFLATE = 1;
const SHUFFLE = 2;
const FLETCHER32 = 3;

/** Filter ids in the order in which they were applied. */
function parseFilters(bytes: Uint8Array | undefined, path: string, name: string): number[] {
  if (bytes === undefined) return [];
  const block = byteReader(bytes, path, `the filters of "${name}"`);
  const [version, count] = [block.u8(), block.u8()];
  if (version !== 1 && version !== 2) throw unsupported(path, name, `filter message version ${version}`);
  if (version === 1) block.bytes(6);
  return Array.from({ length: count }, () => {
    const id = block.u16();
    const nameLength = version === 1 || id >= 256 ? block.u16() : 0;
    block.bytes(2);
    const values = block.u16();
    block.bytes(version === 1 ? Math.ceil(nameLength / 8) * 8 : nameLength);
    block.bytes(4 * (version === 1 && values % 2 === 1 ? values + 1 : values));
    if (id !== DEFLATE && id !== SHUFFLE && id !== FLETCHER32)
      throw unsupported(path, name, `filter ${id} (compression other than gzip)`);
    return id;
  });
}

interface Chunks {
  readonly tree: number;
  readonly chunk: readonly number[];
  readonly filters: readonly number[];
}

/** The array in row-major order, as many rows at a time as a chunk has. */
async function* chunkSlabs(array: Described, { tree, chunk, filters }: Chunks): AsyncIterable<Uint8Array> {
  const { name, shape, size } = array;
  const reader = hdf5Reader(array.source);
  const { path } = reader;
  const rank = shape.length;
  const chunkBytes = chunk.reduce((product, n) => product * n, size);
  const rowBytes = shape.slice(1).reduce((product, n) => product * n, size);
  const slabRows = Math.min(chunk[0]!, shape[0]!);
  for (const [what, found] of [
    ['a chunk', chunkBytes],
    ['a row of chunks', slabRows * rowBytes],
  ] as const)
    checkLimit(`${what} of "${name}" in bytes`, found, MAX_SLAB_BYTES, { path, tensor: name });
  const bySlab = new Map<number, { at: number[]; stored: number; mask: number; address: number }[]>();
  const leaves = await chunkLeaves(reader, tree, rank, name);
  let storedBytes = 0;
  for (const { key, child } of leaves) {
    const block = byteReader(key, path, `a chunk of "${name}"`);
    const [stored, mask] = [block.u32(), block.u32()];
    const at = Array.from({ length: rank }, () => block.u64());
    if (at.some((n, axis) => n % chunk[axis]! !== 0 || n >= shape[axis]!))
      throw malformedHdf5(path, `a chunk of "${name}" lies outside its shape`);
    const slab = bySlab.get(at[0]!) ?? [];
    if (slab.some((other) => other.at.every((n, axis) => n === at[axis])))
      throw ambiguous(`"${name}" has a chunk twice`, { path });
    slab.push({ at, stored, mask, address: child });
    bySlab.set(at[0]!, slab);
    storedBytes += stored;
  }
  const inFile = [...bySlab.values()].flat().sort((a, b) => a.address - b.address);
  if (inFile.some(({ address, stored }, i) => address + stored > (inFile[i + 1]?.address ?? Infinity)))
    throw malformedHdf5(path, `two chunks of "${name}" share bytes`);
  const chunks = shape.reduce((product, n, axis) => product * Math.ceil(n / chunk[axis]!), 1);
  if (leaves.length < chunks) checkUnwritten(array);
  const ratio = filters.includes(DEFLATE) ? MAX_DEFLATE_RATIO : 1;
  const largest = Math.max(chunkBytes, leaves.length === chunks ? shape[0]! * rowBytes : 0);
  if (largest > ratio * (storedBytes + 64 * leaves.length))
    throw malformedHdf5(path, `the chunks of "${name}" are declared larger than their bytes can hold`);
  for (let row = 0; row < shape[0]!; row += chunk[0]!) {
    const rows = Math.min(chunk[0]!, shape[0]! - row);
    const slab = filledBytes(rows * rowBytes, array.fill);
    for (const { at, stored, mask, address } of bySlab.get(row) ?? []) {
      const packed = await reader.source.slice(...checkedRange(reader, name, address, stored));
      const bytes = undoFilters(packed, filters, mask, chunkBytes, size, path, name);
      placeChunk(slab, bytes, at, { chunk, shape, size }, rows);
    }
    yield slab;
  }
}

function checkedRange(reader: Hdf5Reader, name: string, start: number, length: number): [number, number] {
  if (!(start + length <= reader.source.byteLength))
    throw truncated(`a chunk of "${name}"`, start + length, reader.source.byteLength, {
      path: reader.path,
      tensor: name,
      byteOffset: start,
    });
  return [start, start + length];
}

/** Copies the part of a chunk that lies inside the array. */
function placeChunk(
  slab: Uint8Array,
  bytes: Uint8Array,
  at: readonly number[],
  { chunk, shape, size }: Pick<Chunks, 'chunk'> & Pick<Described, 'shape' | 'size'>,
  rows: number,
): void {
  const rank = shape.length;
  const inside = chunk.map((n, axis) => (axis === 0 ? rows : Math.min(n, shape[axis]! - at[axis]!)));
  const runElements = rank === 1 ? rows : inside[rank - 1]!;
  const index = new Array<number>(rank).fill(0);
  for (;;) {
    let [from, to] = [0, 0];
    for (let axis = 0; axis < rank; axis++) {
      from = from * chunk[axis]! + index[axis]!;
      to = to * (axis === 0 ? 1 : shape[axis]!) + (axis === 0 ? 0 : at[axis]!) + index[axis]!;
    }
    slab.set(bytes.subarray(from * size, (from + runElements) * size), to * size);
    let axis = rank - 2;
    for (; axis >= 0; axis--) {
      index[axis]! += 1;
      if (index[axis]! < inside[axis]!) break;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** Undoes the filters, the last applied first; a bit of the mask means that one was left out. */
function undoFilters(
  packed: Uint8Array,
  filters: readonly number[],
  mask: number,
  chunkBytes: number,
  size: number,
  path: string,
  name: string,
): Uint8Array {
  let bytes = packed;
  for (let i = filters.length - 1; i >= 0; i--) {
    if (mask & (1 << i)) continue;
    if (filters[i] === FLETCHER32) bytes = checkFletcher32(bytes, path, name);
    else if (filters[i] === SHUFFLE) bytes = unshuffle(bytes, size);
    else
      try {
        // One byte more than may come out, so that more is noticed.
        bytes = inflateSync(bytes, { maxOutputLength: chunkBytes + 4 });
      } catch (error) {
        throw malformedHdf5(path, `a chunk of "${name}" is damaged (${(error as Error).message})`);
      }
  }
  if (bytes.length !== chunkBytes)
    throw malformedHdf5(path, `a chunk of "${name}" has ${bytes.length} bytes, ${chunkBytes} are needed`);
  return bytes;
}

/** The first bytes of all elements come first, then the second bytes, and so on. */
function unshuffle(bytes: Uint8Array, size: number): Uint8Array {
  const count = Math.floor(bytes.length / size);
  // A copy by hand: `slice` of a Buffer, which inflateSync gives, is no copy.
  const result = new Uint8Array(bytes);
  for (let byte = 0; byte < size; byte++)
    for (let i = 0; i < count; i++) result[i * size + byte] = bytes[byte * count + i]!;
  return result;
}

/** Fletcher's checksum of 16-bit big-endian words, stored little-endian behind the data. */
function checkFletcher32(bytes: Uint8Array, path: string, name: string): Uint8Array {
  if (bytes.length < 4) throw malformedHdf5(path, `a chunk of "${name}" is too short`);
  const data = bytes.subarray(0, bytes.length - 4);
  let [low, high] = [0, 0];
  for (let i = 0; i < data.length; i += 2) {
    low = (low + ((data[i]! << 8) | (data[i + 1] ?? 0))) % 65535;
    high = (high + low) % 65535;
  }
  const expected = new DataView(bytes.buffer, bytes.byteOffset + data.length, 4).getUint32(0, true);
  // 0 and 65535 are the same residue; the library keeps either.
  const same = (a: number, b: number): boolean => a % 65535 === b % 65535;
  if (!same(low, expected & 0xffff) || !same(high, expected >>> 16))
    throw diagError(
      'checksum-mismatch',
      {
        what: `a chunk of "${name}"`,
        found: ((high << 16) | low) >>> 0,
        expected,
      },
      { path, tensor: name },
    );
  return data;
}
