/**
 * The wire format of protocol buffers, without schemas: a message is a row of fields.
 *
 * | bytes | content |
 * |---|---|
 * | tag | varint: field number × 8 + wire type |
 * | wire type 0 | varint: 7 bits a byte, low ones first, the top bit set on all but the last of at most 10 |
 * | wire type 1 | 8 bytes |
 * | wire type 2 | varint length, then that many bytes: text, bytes, a message or packed numbers |
 * | wire type 5 | 4 bytes |
 *
 * Groups (wire types 3 and 4) are refused: nothing that is read here has them. Source:
 * https://protobuf.dev/programming-guides/encoding/.
 */
import { type DiagError, diagError } from '../../model/errors.ts';
import type { ByteSource } from './source.ts';

/** Messages within messages. As in the reference implementations. */
const MAX_DEPTH = 100;

/** A field of a message that lies in a file; its value is not read. */
export interface ProtobufRange {
  readonly number: number;
  readonly wire: 0 | 1 | 2 | 5;
  /** Of the value, within the bytes or the file that was read. */
  readonly start: number;
  readonly end: number;
}

export interface ProtobufField {
  readonly number: number;
  readonly wire: 0 | 1 | 2 | 5;
  /** The value: a varint's own bytes, 8 or 4 bytes, or the delimited content. Not copied. */
  readonly bytes: Uint8Array;
  /** Where the value begins in the file. */
  readonly offset: number;
}

const malformed = (path: string, what: string, problem: string, byteOffset: number): DiagError =>
  diagError('protobuf-malformed', { what, problem }, { path, byteOffset });

function checkDepth(depth: number, path: string, what: string): void {
  if (depth > MAX_DEPTH)
    throw diagError(
      'limit-exceeded',
      { what: `the depth of ${what}`, found: depth, limit: MAX_DEPTH, hint: '' },
      { path },
    );
}

/** Length of the varint at `at`, 0 where it does not end within `end` and 10 bytes. */
function varintLength(bytes: Uint8Array, at: number, end: number): number {
  const last = Math.min(end, at + 10);
  for (let i = at; i < last; i++) if (bytes[i]! < 0x80) return i - at + 1;
  return 0;
}

/** A varint of at most 2^53 - 1, NaN beyond: written without BigInt, since tags and lengths are on every hot path. */
function smallVarint(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 128 + (bytes[at + i]! & 0x7f);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/**
 * Reads the tag and the extent of the field at `at`.
 *
 * @param limit end of the message, which may lie beyond the bytes at hand
 */
function readTag(bytes: Uint8Array, at: number, limit: number): ProtobufRange | string {
  const tagLength = varintLength(bytes, at, Math.min(limit, bytes.length));
  if (tagLength === 0) return 'a tag does not end';
  const tag = smallVarint(bytes, at, tagLength);
  const number = Math.floor(tag / 8);
  const wire = tag % 8;
  if (!(number >= 1 && number < 2 ** 29)) return `a field has the number ${number}`;
  if (wire !== 0 && wire !== 1 && wire !== 2 && wire !== 5)
    return `field ${number} has the wire type ${wire}`;
  const at2 = at + tagLength;
  const length = wire === 1 ? 8 : wire === 5 ? 4 : varintLength(bytes, at2, Math.min(limit, bytes.length));
  if (length === 0) return `the number of field ${number} does not end`;
  const start = wire === 2 ? at2 + length : at2;
  const end = wire === 2 ? start + smallVarint(bytes, at2, length) : at2 + length;
  // NaN, from an absurd length, fails too.
  if (!(end <= limit)) return `field ${number} ends at byte ${end} of ${limit}`;
  return { number, wire, start, end };
}

/**
 * The fields of a message in memory, in file order.
 *
 * @param what named in errors ("an index entry")
 * @param base offset of the message in the file, for errors
 * @param depth how many messages this one lies in
 * @throws protobuf-malformed, limit-exceeded
 */
export function* protobufFields(
  bytes: Uint8Array,
  path: string,
  what: string,
  base = 0,
  depth = 0,
): Generator<ProtobufField> {
  checkDepth(depth, path, what);
  for (let at = 0; at < bytes.length; ) {
    const tag = readTag(bytes, at, bytes.length);
    if (typeof tag === 'string') throw malformed(path, what, tag, base + at);
    yield {
      number: tag.number,
      wire: tag.wire,
      bytes: bytes.subarray(tag.start, tag.end),
      offset: base + tag.start,
    };
    at = tag.end;
  }
}

/** The fields that begin in the first bytes of a message, to tell formats apart; ends quietly where they make no sense. */
export function* protobufHead(head: Uint8Array): Generator<ProtobufRange> {
  for (let at = 0; at < head.length; ) {
    const tag = readTag(head, at, Number.MAX_SAFE_INTEGER);
    if (typeof tag === 'string') return;
    yield tag;
    at = tag.end;
  }
}

/** A tag and a length, each a varint of at most 10 bytes. */
const TAG_BYTES = 20;

/**
 * The fields of the message in bytes [start, end) of a source, without reading what is in them: 20 bytes at each tag,
 * so that a source with a window (windowed-source.ts) should be given.
 *
 * @throws protobuf-malformed, limit-exceeded
 */
export async function* protobufRanges(
  source: ByteSource,
  start: number,
  end: number,
  what: string,
  depth = 0,
): AsyncGenerator<ProtobufRange> {
  checkDepth(depth, source.path, what);
  for (let at = start; at < end; ) {
    const bytes = await source.slice(at, Math.min(at + TAG_BYTES, end));
    const tag = readTag(bytes, 0, end - at);
    if (typeof tag === 'string') throw malformed(source.path, what, tag, at);
    const range = { number: tag.number, wire: tag.wire, start: at + tag.start, end: at + tag.end };
    yield range;
    at = range.end;
  }
}

/** The unsigned 64-bit value of a varint's bytes; bits beyond 64 are dropped, as the reference does. */
export function varintValue(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 7n) | BigInt(bytes[i]! & 0x7f);
  return BigInt.asUintN(64, value);
}

/** A varint as a signed 64-bit integer (`int32`, `int64`, enums; not the zigzag `sint` types). */
export const signedVarint = (bytes: Uint8Array): bigint => BigInt.asIntN(64, varintValue(bytes));

/**
 * A varint that counts something: a size, an offset, a dimension.
 *
 * @throws protobuf-malformed if it is negative or beyond 2^53 - 1, or the field is no varint
 */
export function countOf(field: ProtobufField, path: string, what: string): number {
  const value = field.wire === 0 ? smallVarint(field.bytes, 0, field.bytes.length) : Number.NaN;
  if (Number.isNaN(value))
    throw malformed(path, what, `field ${field.number} is no count below 2^53`, field.offset);
  return value;
}

/** The varints of a packed field, undefined where the last does not end. */
export function packedVarints(bytes: Uint8Array): bigint[] | undefined {
  const values: bigint[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = varintLength(bytes, at, bytes.length);
    if (length === 0) return undefined;
    values.push(varintValue(bytes.subarray(at, at + length)));
    at += length;
  }
  return values;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text of a field; bytes that are no UTF-8 become U+FFFD. */
export const textOf = (field: ProtobufField): string => utf8.decode(field.bytes);

/** A little-endian 32-bit field (wire type 5). */
export const fixed32 = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
