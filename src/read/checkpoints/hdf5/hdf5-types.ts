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

/** What every data type begins with. */
interface Head {
  readonly kind: number;
  readonly version: number;
  readonly flags: number;
  readonly size: number;
}

function parse(block: ByteReader, depth: number): Datatype {
  const first = block.u8();
  const flags = block.u8();
  block.bytes(2);
  const head = { kind: first & 15, version: first >> 4, flags, size: block.u32() };
  const { kind, size } = head;
  if (kind === 0) return integerType(head, block);
  if (kind === 1) return floatType(head, block);
  if (kind === 3) return { kind: 'string', size };
  if (kind === 9 && (flags & 15) === 1) return { kind: 'variable-string', size };
  if (kind === 8 && depth === 0) return enumerationType(head, block);
  if (kind === 6 && depth === 0) return compoundType(head, block);
  return otherType(head);
}

const otherType = ({ kind, size }: Head, description = CLASSES[kind] ?? `class ${kind}`): Datatype => ({
  kind: 'other',
  size,
  description,
});

const numberType = (head: Head, dtype: Dtype | undefined, name: string): Datatype =>
  dtype === undefined
    ? otherType(head, name)
    : { kind: 'number', size: head.size, dtype, bigEndian: (head.flags & 1) !== 0 };

function integerType(head: Head, block: ByteReader): Datatype {
  const [offset, precision] = [block.u16(), block.u16()];
  const whole = offset === 0 && precision === 8 * head.size;
  const bySize = head.flags & 8 ? SIGNED : UNSIGNED;
  return numberType(head, whole ? bySize.get(head.size) : undefined, `integer of ${precision} bits`);
}

function floatType(head: Head, block: ByteReader): Datatype {
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
    precision === 8 * head.size &&
    mantissaAt === 0 &&
    exponentAt === mantissaBits &&
    (head.flags & 0x40) === 0;
  const key = `${head.size}:${exponentBits}:${mantissaBits}:${bias}`;
  return numberType(head, usual ? FLOATS.get(key) : undefined, `float of ${precision} bits`);
}

/** Of FALSE and TRUE, a boolean. */
function enumerationType({ version }: Head, block: ByteReader): Datatype {
  const base = parse(block, 1);
  const names = [readName(block, version), readName(block, version)];
  return base.kind === 'number' && base.size === 1 && names.join() === 'FALSE,TRUE'
    ? { ...base, dtype: 'BOOL' }
    : base;
}

/** Of `r` and `i`, a complex number. */
function compoundType(head: Head, block: ByteReader): Datatype {
  const { flags, size } = head;
  if (flags !== 2) return otherType(head);
  const [real, imaginary] = [readMember(head, block), readMember(head, block)];
  const isComplex =
    real.name === 'r' && imaginary.name === 'i' && real.offset === 0 && imaginary.offset === size / 2;
  const [part, other] = [real.type, imaginary.type];
  if (!isComplex || part.kind !== 'number' || other.kind !== 'number') return otherType(head);
  const isOneType = part.dtype === other.dtype && part.bigEndian === other.bigEndian;
  const dtype = part.dtype === 'F32' ? 'C64' : part.dtype === 'F64' ? 'C128' : undefined;
  return isOneType && dtype !== undefined
    ? { kind: 'number', size, dtype, bigEndian: part.bigEndian }
    : otherType(head);
}

function readMember({ version }: Head, block: ByteReader): { name: string; offset: number; type: Datatype } {
  const name = readName(block, version);
  // Version 3 writes offsets in as many bytes as the size needs.
  const offset = version >= 3 ? block.u8() : block.u32();
  if (version === 1) block.bytes(28);
  return { name, offset, type: parse(block, 1) };
}

/** A name that ends with a zero, padded to 8 bytes before version 3. */
function readName(block: ByteReader, version: number): string {
  let name = '';
  let length = 1;
  for (let byte = block.u8(); byte !== 0; byte = block.u8(), length++) name += String.fromCharCode(byte);
  if (version < 3) block.bytes((8 - (length % 8)) % 8);
  return name;
}
