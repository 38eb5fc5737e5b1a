/** Element types of HDF5: which numbers an array holds. Source: HDF5 File Format Specification 3.0, IV.A.2.d. */

import type { Dtype } from '../../../model/checkpoint.ts';
import { type ByteReader, byteReader } from '../../bytes/reader.ts';

export type Datatype =
  | { readonly kind: 'number'; readonly size: number; readonly dtype: Dtype; readonly bigEndian: boolean }
  | { readonly kind: 'string'; readonly size: number }
  | { readonly kind: 'variable-string'; readonly size: number }
  | { readonly kind: 'other'; readonly size: number; readonly description: string };

/** Bits of exponent and mantissa, and the bias, of the floating types that frameworks store. */
const FLOATS = new Map<string, Dtype>([
  ['8:11:52:1023', 'F64'],
  ['4:8:23:127', 'F32'],
  ['2:5:10:15', 'F16'],
  ['2:8:7:127', 'BF16'],
  ['1:4:3:7', 'F8_E4M3'],
  ['1:5:2:15', 'F8_E5M2'],
]);
const SIGNED = new Map<number, Dtype>([
  [1, 'I8'],
  [2, 'I16'],
  [4, 'I32'],
  [8, 'I64'],
]);
const UNSIGNED = new Map<number, Dtype>([
  [1, 'U8'],
  [2, 'U16'],
  [4, 'U32'],
  [8, 'U64'],
]);
const CLASSES = [
  'integer',
  'float',
  'time',
  'string',
  'bit field',
  'opaque',
  'compound',
  'reference',
  'enumeration',
  'variable-length',
  'array',
];

/**
 * Reads a datatype message: u8 class and version, 3 bytes of flags, u32 size, then what the class needs.
 *
 * h5py's own forms are known: complex numbers are compounds of `r` and `i`, booleans are enumerations of FALSE and TRUE.
 *
 * @throws checkpoint-truncated
 */
export function parseDatatype(bytes: Uint8Array, path: string): Datatype {
  return parse(byteReader(bytes, path, 'a data type'), 0);
}

function parse(block: ByteReader, depth: number): Datatype {
  const first = block.u8();
  const kind = first & 15;
  const version = first >> 4;
  const flags = block.u8();
  block.bytes(2);
  const size = block.u32();
  const bigEndian = (flags & 1) !== 0;
  const other = (description = CLASSES[kind] ?? `class ${kind}`): Datatype => ({
    kind: 'other',
    size,
    description,
  });
  const number = (dtype: Dtype | undefined, name: string): Datatype =>
    dtype === undefined ? other(name) : { kind: 'number', size, dtype, bigEndian };
  if (kind === 0) {
    const [offset, precision] = [block.u16(), block.u16()];
    const whole = offset === 0 && precision === 8 * size;
    return number(
      whole ? (flags & 8 ? SIGNED : UNSIGNED).get(size) : undefined,
      `integer of ${precision} bits`,
    );
  }
  if (kind === 1) {
    const [offset, precision] = [block.u16(), block.u16()];
    const [exponentAt, exponentBits, mantissaAt, mantissaBits] = [
      block.u8(),
      block.u8(),
      block.u8(),
      block.u8(),
    ];
    const bias = block.u32();
    const usual =
      offset === 0 &&
      precision === 8 * size &&
      mantissaAt === 0 &&
      exponentAt === mantissaBits &&
      (flags & 0x40) === 0;
    const key = `${size}:${exponentBits}:${mantissaBits}:${bias}`;
    return number(usual ? FLOATS.get(key) : undefined, `float of ${precision} bits`);
  }
  if (kind === 3) return { kind: 'string', size };
  if (kind === 9) return (flags & 15) === 1 ? { kind: 'variable-string', size } : other();
  if (depth > 0) return other();
  if (kind === 8) {
    const base = parse(block, depth + 1);
    const names = [readName(block, version), readName(block, version)];
    return base.kind === 'number' && base.size === 1 && names.join() === 'FALSE,TRUE'
      ? { ...base, dtype: 'BOOL' }
      : base;
  }
  if (kind === 6) {
    const members: { name: string; offset: number; type: Datatype }[] = [];
    if (flags !== 2) return other();
    for (let i = 0; i < 2; i++) {
      const name = readName(block, version);
      // Version 3 writes offsets in as many bytes as the size needs.
      const offset = version >= 3 ? block.u8() : block.u32();
      if (version === 1) block.bytes(28);
      members.push({ name, offset, type: parse(block, depth + 1) });
    }
    const [real, imaginary] = members as [(typeof members)[0], (typeof members)[0]];
    const half = size / 2;
    const isComplex =
      real.name === 'r' && imaginary.name === 'i' && real.offset === 0 && imaginary.offset === half;
    const part = real.type;
    if (!isComplex || part.kind !== 'number' || imaginary.type.kind !== 'number') return other();
    if (part.dtype !== imaginary.type.dtype || part.bigEndian !== imaginary.type.bigEndian) return other();
    const dtype = part.dtype === 'F32' ? 'C64' : part.dtype === 'F64' ? 'C128' : undefined;
    return dtype === undefined ? other() : { kind: 'number', size, dtype, bigEndian: part.bigEndian };
  }
  return other();
}

/** A name that ends with a zero, padded to 8 bytes before version 3. */
function readName(block: ByteReader, version: number): string {
  let name = '';
  let length = 1;
  for (let byte = block.u8(); byte !== 0; byte = block.u8(), length++) name += String.fromCharCode(byte);
  if (version < 3) block.bytes((8 - (length % 8)) % 8);
  return name;
}
