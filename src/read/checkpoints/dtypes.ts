/** Bytes of every element type as numbers. */
import { endianness } from 'node:os';
import type { Dtype, TensorData } from '../../model/checkpoint.ts';
import { diagError } from '../../model/errors.ts';
import type { ByteSource } from '../bytes/source.ts';
import { malformed } from './faults.ts';

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  C64: 8,
  C128: 16,
};

export const isHalf = (dtype: Dtype): dtype is 'F16' | 'BF16' => dtype === 'F16' || dtype === 'BF16';

export const isFloating = (dtype: Dtype): boolean => /^(F|BF|C)/.test(dtype);

const hostIsBigEndian = endianness() === 'BE';

/** The value of an IEEE-like small float: sign, `exponentBits`, `mantissaBits`; all-ones exponent is Inf or NaN. */
function smallFloat(bits: number, exponentBits: number, mantissaBits: number): number {
  const sign = (bits >> (exponentBits + mantissaBits)) & 1 ? -1 : 1;
  const exponent = (bits >> mantissaBits) & ((1 << exponentBits) - 1);
  const mantissa = bits & ((1 << mantissaBits) - 1);
  const bias = (1 << (exponentBits - 1)) - 1;
  if (exponent === (1 << exponentBits) - 1)
    return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0
    ? sign * mantissa * 2 ** (1 - bias - mantissaBits)
    : sign * (1 + mantissa * 2 ** -mantissaBits) * 2 ** (exponent - bias);
}

/** How all values of a type of 8 or 16 bits are made, by what is stored. */
const TABLES = {
  F16: () => Float32Array.from({ length: 65536 }, (_, bits) => smallFloat(bits, 5, 10)),
  BF16: () => widened(Uint16Array.from({ length: 65536 }, (_, bits) => bits)),
  F8_E5M2: () => Float32Array.from({ length: 256 }, (_, bits) => smallFloat(bits, 5, 2)),
  // E4M3 has no infinities: only the all-ones pattern is NaN, the rest of that exponent counts on to 448.
  F8_E4M3: () =>
    Float32Array.from({ length: 256 }, (_, bits) =>
      (bits & 0x7f) === 0x7f
        ? Number.NaN
        : (bits & 0x78) === 0x78
          ? (bits & 0x80 ? -1 : 1) * (1 + (bits & 7) / 8) * 256
          : smallFloat(bits, 4, 3),
    ),
} satisfies Partial<Record<Dtype, () => Float32Array>>;

const tables = new Map<Dtype, Float32Array>();

/** All values of a type, made on first use: a look-up is several times faster than the arithmetic. */
export function everyValueOf(dtype: keyof typeof TABLES): Float32Array {
  let table = tables.get(dtype);
  if (table === undefined) {
    table = TABLES[dtype]();
    tables.set(dtype, table);
  }
  return table;
}

/** The upper half of the bits of a float32 each. */
function widened(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return new Float32Array(wide.buffer);
}

/** Reverses the bytes of every unit of `width`, in place. */
function swapBytes(bytes: Uint8Array, width: number): void {
  for (let start = 0; start < bytes.length; start += width) bytes.subarray(start, start + width).reverse();
}

/** Values of an element: a complex one is two numbers, one after the other. */
export const valuesPer = (dtype: Dtype): number => (dtype === 'C64' || dtype === 'C128' ? 2 : 1);

/**
 * Decodes elements that lie one after another.
 *
 * | type | result |
 * |---|---|
 * | F64, C128 | Float64Array (complex: real and imaginary part in turn) |
 * | F32, F16, BF16, F8_E4M3, F8_E5M2, C64 | Float32Array, exact |
 * | I64, U64 | BigInt64Array, BigUint64Array |
 * | other integers | array of their width |
 * | BOOL | Uint8Array, as stored |
 *
 * @param bytes a whole number of elements; may be changed or become part of the result
 * @param bigEndian order of the bytes in the file
 */
export function decodeValues(bytes: Uint8Array, dtype: Dtype, bigEndian = false): TensorData {
  const size = DTYPE_BYTES[dtype];
  const unit = size / valuesPer(dtype);
  const swap = unit > 1 && bigEndian !== hostIsBigEndian;
  // A typed array cannot start at any byte of its buffer, and a buffer that is shared must not be swapped in place.
  const own = swap || bytes.byteOffset % unit !== 0 ? bytes.slice() : bytes;
  if (swap) swapBytes(own, unit);
  const { buffer, byteOffset, byteLength } = own;
  const length = byteLength / unit;
  switch (dtype) {
    case 'F64':
    case 'C128':
      return new Float64Array(buffer, byteOffset, length);
    case 'F32':
    case 'C64':
      return new Float32Array(buffer, byteOffset, length);
    case 'F16': {
      const table = everyValueOf(dtype);
      const bits = new Uint16Array(buffer, byteOffset, length);
      const values = new Float32Array(length);
      for (let i = 0; i < length; i++) values[i] = table[bits[i]!]!;
      return values;
    }
    case 'BF16':
      return widened(new Uint16Array(buffer, byteOffset, length));
    case 'F8_E4M3':
    case 'F8_E5M2': {
      const table = everyValueOf(dtype);
      const values = new Float32Array(length);
      for (let i = 0; i < length; i++) values[i] = table[own[i]!]!;
      return values;
    }
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'U64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'I16':
      return new Int16Array(buffer, byteOffset, length);
    case 'U16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'I8':
      return new Int8Array(buffer, byteOffset, length);
    case 'U8':
    case 'BOOL':
      return own;
  }
}

/** Bytes that are read and decoded at once. */
const PIECE = 4 * 1024 * 1024;

/** Bytes [start, end) of a source in pieces of at most 4 MiB. */
export async function* bytePieces(source: ByteSource, start: number, end: number): AsyncIterable<Uint8Array> {
  for (let at = start; at < end; at += PIECE) yield await source.slice(at, Math.min(at + PIECE, end));
}

/** Reads values that lie in a source as they lie in memory. @returns whether they do and the source is a file */
export async function fillValues(
  source: ByteSource,
  start: number,
  dtype: Dtype,
  values: Float32Array | Float64Array,
): Promise<boolean> {
  const same = dtype === (values instanceof Float32Array ? 'F32' : 'F64') && !hostIsBigEndian;
  if (!same || source.fill === undefined) return false;
  await source.fill(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), start);
  return true;
}

/** Decodes bytes that come in pieces of any length, a whole number of elements in all; gives at least one piece. */
export async function* decodePieces(
  pieces: AsyncIterable<Uint8Array>,
  dtype: Dtype,
  bigEndian = false,
): AsyncIterable<TensorData> {
  const size = DTYPE_BYTES[dtype];
  let rest = new Uint8Array(0);
  let empty = true;
  for await (const piece of pieces) {
    const bytes = rest.length === 0 ? piece : joinBytes(rest, piece);
    const whole = bytes.length - (bytes.length % size);
    rest = bytes.slice(whole);
    if (whole === 0) continue;
    yield decodeValues(bytes.subarray(0, whole), dtype, bigEndian);
    empty = false;
  }
  // An empty tensor gives one empty piece, so that a reader learns the type.
  if (empty) yield decodeValues(new Uint8Array(0), dtype);
}

function joinBytes(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

/** Decodes `elements` elements that lie one after another from byte `start` on, piece by piece. */
export const decodeRange = (
  source: ByteSource,
  start: number,
  elements: number,
  dtype: Dtype,
): AsyncIterable<TensorData> =>
  decodePieces(bytePieces(source, start, start + elements * DTYPE_BYTES[dtype]), dtype);

/**
 * Number of elements of a shape.
 *
 * @throws checkpoint-malformed for a dimension that is no count, limit-exceeded beyond 2^53 - 1 elements
 */
export function elementsOf(shape: readonly number[], path: string, tensor: string, format: string): number {
  let product = 1;
  for (const dimension of shape) {
    if (!(Number.isSafeInteger(dimension) && dimension >= 0))
      throw malformed(format, `tensor "${tensor}" has the dimension ${String(dimension)}`, { path, tensor });
    product *= dimension;
  }
  // A zero-size tensor may have absurd other dimensions: their product overflows before the zero is met.
  if (shape.includes(0)) return 0;
  if (!Number.isSafeInteger(product))
    throw diagError(
      'limit-exceeded',
      {
        what: `the number of elements of "${tensor}"`,
        found: product,
        limit: Number.MAX_SAFE_INTEGER,
        hint: '',
      },
      { path, tensor },
    );
  return product;
}

/** Types by the names that numpy, ml_dtypes (as JAX uses them) and PyTorch have for them. */
export const DTYPES_BY_NAME: ReadonlyMap<string, Dtype> = new Map<string, Dtype>([
  ['float64', 'F64'],
  ['float32', 'F32'],
  ['float16', 'F16'],
  ['bfloat16', 'BF16'],
  ['float8_e4m3fn', 'F8_E4M3'],
  ['float8_e5m2', 'F8_E5M2'],
  ['int64', 'I64'],
  ['int32', 'I32'],
  ['int16', 'I16'],
  ['int8', 'I8'],
  ['uint64', 'U64'],
  ['uint32', 'U32'],
  ['uint16', 'U16'],
  ['uint8', 'U8'],
  ['bool', 'BOOL'],
  ['complex64', 'C64'],
  ['complex128', 'C128'],
]);
