/**
 * What `.zarray` (version 2) and `zarr.json` (version 3) say of an array: shape, type, chunks, and the steps that undo how a
 * chunk is stored. Source: https://zarr-specs.readthedocs.io/, versions 2 and 3; names of types that numpy lacks: ml_dtypes.
 */

import type { Dtype } from '../../../model/checkpoint.ts';
import { type DiagError, diagError } from '../../../model/errors.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { DTYPE_BYTES, DTYPES_BY_NAME, elementsOf, everyValueOf } from '../dtypes.ts';
import { malformed, unsupportedDtype } from '../faults.ts';
import { NUMPY_TYPES } from '../npy.ts';
import { decoderOf } from './codecs.ts';

/** How the bytes of a chunk become its elements. */
export interface ChunkLayout {
  /** Elements along each axis. */
  readonly shape: readonly number[];
  /** Axes from the one that changes slowest in memory to the fastest; ascending is row-major. */
  readonly order: readonly number[];
  readonly bigEndian: boolean;
  /** Names of codecs in the order in which they are undone. */
  readonly codecs: readonly string[];
}

export interface ZarrArray {
  readonly shape: readonly number[];
  readonly elements: number;
  readonly dtype: Dtype;
  /** The bytes, little-endian, of an element that no chunk holds; undefined for a value that is not read. */
  readonly fill: Uint8Array | undefined;
  readonly chunk: ChunkLayout;
  /** The chunks within a chunk (sharding). */
  readonly inner?: ChunkLayout & { readonly indexAtStart: boolean; readonly indexHasChecksum: boolean };
  /** The key of a chunk after the array's own name and a slash. */
  keyOf(index: readonly number[]): string;
}

const FORMAT = 'zarr';
const MAX_METADATA_DEPTH = 100;
const MAX_AXES = 32;

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * @param text of `.zarray` or `zarr.json`
 * @param name of the array, for errors
 * @throws checkpoint-malformed, dtype-unsupported, format-unsupported, limit-exceeded
 */
export function parseZarray(text: string, name: string, path: string): ZarrArray {
  const meta = parseCheckpointJson(text, path, `the metadata of "${name}"`, MAX_METADATA_DEPTH);
  if (!isObject(meta)) throw problemOf(name, path)('its metadata is no object');
  return meta.zarr_format === 3 ? version3(meta, name, path) : version2(meta, name, path);
}

const problemOf =
  (name: string, path: string) =>
  (problem: string): DiagError =>
    malformed(FORMAT, `"${name}": ${problem}`, { path, tensor: name });

const unsupported = (name: string, path: string, what: string): DiagError =>
  diagError(
    'format-unsupported',
    { path, format: `the zarr array "${name}" with ${what}`, instead: 'save it without' },
    { path, tensor: name },
  );

function version2(meta: Json, name: string, path: string): ZarrArray {
  const problem = problemOf(name, path);
  const shape = axesOf(meta.shape, 'shape', problem);
  const chunks = axesOf(meta.chunks, 'chunks', problem);
  const type = String(meta.dtype);
  const dtype = DTYPES_BY_NAME.get(type) ?? NUMPY_TYPES.get(type.slice(1));
  if (dtype === undefined || typeof meta.dtype !== 'string') throw unsupportedDtype(name, type, path);
  if (Array.isArray(meta.filters) && meta.filters.length > 0) throw unsupported(name, path, 'filters');
  const separator = meta.dimension_separator === '/' ? '/' : '.';
  const compressor = isObject(meta.compressor) ? String(meta.compressor.id) : undefined;
  const codecs = compressor === undefined ? [] : [compressor];
  const axes = shape.map((_, axis) => axis);
  return finished(
    {
      shape,
      dtype,
      chunk: {
        shape: chunks,
        order: meta.order === 'F' ? axes.reverse() : axes,
        bigEndian: type.startsWith('>'),
        codecs,
      },
      keyOf: (index) => (index.length === 0 ? '0' : index.join(separator)),
    },
    meta.fill_value,
    name,
    path,
  );
}

function version3(meta: Json, name: string, path: string): ZarrArray {
  const problem = problemOf(name, path);
  const shape = axesOf(meta.shape, 'shape', problem);
  const grid = member(meta.chunk_grid, 'configuration');
  const dtype = typeof meta.data_type === 'string' ? DTYPES_BY_NAME.get(meta.data_type) : undefined;
  if (dtype === undefined) throw unsupportedDtype(name, String(meta.data_type), path);
  const chunks = axesOf(member(grid, 'chunk_shape'), 'chunk_shape', problem);
  const encoding = isObject(meta.chunk_key_encoding) ? meta.chunk_key_encoding : {};
  const isOld = encoding.name === 'v2';
  const said = member(encoding.configuration, 'separator');
  const separator = said === '.' || said === '/' ? said : isOld ? '.' : '/';
  const [sharding, ...others] = listOf(meta.codecs, problem);
  const whole = { shape, dtype, keyOf: keysOf(isOld, separator) };
  if (sharding?.name !== 'sharding_indexed')
    return finished({ ...whole, chunk: layoutOf(meta.codecs, chunks, problem) }, meta.fill_value, name, path);
  if (others.length > 0) throw unsupported(name, path, 'codecs after its shards');
  const inner = axesOf(member(sharding.configuration, 'chunk_shape'), 'chunk_shape', problem);
  if (inner.length !== chunks.length || inner.some((size, axis) => size === 0 || chunks[axis]! % size !== 0))
    throw problem('its shards are no whole number of chunks');
  const index = listOf(member(sharding.configuration, 'index_codecs'), problem).map((codec) => codec.name);
  if (index.some((codec) => codec !== 'bytes' && codec !== 'crc32c'))
    throw unsupported(name, path, `an index of shards in ${index.join(', ')}`);
  return finished(
    {
      ...whole,
      chunk: { shape: chunks, order: chunks.map((_, axis) => axis), bigEndian: false, codecs: [] },
      inner: {
        ...layoutOf(member(sharding.configuration, 'codecs'), inner, problem),
        indexAtStart: member(sharding.configuration, 'index_location') === 'start',
        indexHasChecksum: index.includes('crc32c'),
      },
    },
    meta.fill_value,
    name,
    path,
  );
}

const keysOf =
  (isOld: boolean, separator: string) =>
  (index: readonly number[]): string =>
    isOld ? index.join(separator) || '0' : ['c', ...index].join(separator);

/** The codecs of version 3: arrays to arrays (transpose), to bytes, then bytes to bytes. */
function layoutOf(
  codecs: unknown,
  shape: readonly number[],
  problem: (text: string) => DiagError,
): ChunkLayout {
  let order: readonly number[] = shape.map((_, axis) => axis);
  let bigEndian = false;
  const undone: string[] = [];
  for (const { name, configuration } of listOf(codecs, problem))
    if (name === 'transpose') {
      const given = axesOf(member(configuration, 'order'), 'order of axes', problem);
      if ([...given].sort((a, b) => a - b).join() !== order.map((_, i) => i).join())
        throw problem('its order of axes is not valid');
      order = given.map((axis) => order[axis]!);
    } else if (name === 'bytes') bigEndian = member(configuration, 'endian') === 'big';
    else undone.unshift(name);
  return { shape, order, bigEndian, codecs: undone };
}

function finished(
  array: Omit<ZarrArray, 'elements' | 'fill'>,
  fill: unknown,
  name: string,
  path: string,
): ZarrArray {
  const { shape, dtype, chunk, inner } = array;
  if (chunk.shape.length !== shape.length || chunk.shape.some((size) => size === 0))
    throw problemOf(name, path)('its chunks have other axes than it has');
  for (const codec of [...chunk.codecs, ...(inner?.codecs ?? [])])
    if (decoderOf(codec) === undefined) throw unsupported(name, path, `the codec ${codec}`);
  return { ...array, elements: elementsOf(shape, path, name, FORMAT), fill: fillBytes(fill, dtype) };
}

/** An element of the fill value: zero where none is given. */
function fillBytes(value: unknown, dtype: Dtype): Uint8Array | undefined {
  const bytes = Buffer.alloc(DTYPE_BYTES[dtype]);
  const number = value === null || value === undefined ? 0 : numberOf(value);
  if (number === undefined) return undefined;
  if (Object.is(number, 0)) return bytes;
  if (dtype === 'F32') bytes.writeFloatLE(number);
  else if (dtype === 'F64') bytes.writeDoubleLE(number);
  else if (dtype === 'BF16') {
    const wide = Buffer.alloc(4);
    wide.writeFloatLE(number);
    bytes.writeUInt16LE(wide.readUInt16LE(2));
  } else if (dtype === 'F16' || dtype === 'F8_E4M3' || dtype === 'F8_E5M2') {
    const bits = everyValueOf(dtype).findIndex((one) => Object.is(one, number));
    if (bits < 0) return undefined;
    bytes.writeUIntLE(bits, 0, bytes.length);
  } else if (Number.isSafeInteger(number) && /^[IUB]/.test(dtype)) {
    const whole = Buffer.alloc(8);
    whole.writeBigInt64LE(BigInt(number));
    whole.copy(bytes, 0, 0, bytes.length);
  } else return undefined;
  return bytes;
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'boolean') return Number(value);
  if (typeof value === 'number') return value;
  return value === 'NaN'
    ? Number.NaN
    : value === 'Infinity'
      ? Number.POSITIVE_INFINITY
      : value === '-Infinity'
        ? Number.NEGATIVE_INFINITY
        : undefined;
}

const member = (value: unknown, key: string): unknown =>
  isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;

function axesOf(value: unknown, what: string, problem: (text: string) => DiagError): number[] {
  if (!Array.isArray(value) || value.length > MAX_AXES || value.some((size) => !isCount(size)))
    throw problem(`its ${what} is no list of up to ${MAX_AXES} counts`);
  return value as number[];
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function listOf(
  value: unknown,
  problem: (text: string) => DiagError,
): { name: string; configuration: unknown }[] {
  if (!Array.isArray(value)) throw problem('its codecs are no list');
  return value.map((codec) => {
    if (!isObject(codec) || typeof codec.name !== 'string') throw problem('a codec has no name');
    return { name: codec.name, configuration: codec.configuration };
  });
}
