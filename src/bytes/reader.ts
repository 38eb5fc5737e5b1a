/** A cursor over bytes in memory that cannot run past their end. */
import { diagError } from '../model/errors.ts';

export interface ByteReader {
  /** Offset of the next byte within the bytes given. */
  position: number;
  readonly remaining: number;
  u8(): number;
  u16(): number;
  u32(): number;
  i32(): number;
  /** An unsigned 64-bit count or offset. @throws limit-exceeded beyond 2^53 - 1 */
  u64(): number;
  f64(): number;
  /** The next `length` bytes, not copied. */
  bytes(length: number): Uint8Array;
}

/**
 * Reads little-endian numbers (big-endian on request) and byte strings.
 *
 * @param what named in the error when the bytes end too soon ("the central directory")
 * @param base offset of the first byte in the file, for the error
 * @throws checkpoint-truncated from every method that would read beyond the end
 */
export function byteReader(
  bytes: Uint8Array,
  path: string,
  what: string,
  base = 0,
  littleEndian = true,
): ByteReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const advance = (length: number): number => {
    const start = reader.position;
    // Written so that NaN and negative lengths fail too.
    if (!(length >= 0 && length <= bytes.byteLength - start))
      throw diagError(
        'checkpoint-truncated',
        { what, end: base + start + length, bytes: base + bytes.byteLength },
        { path, byteOffset: base + start },
      );
    reader.position = start + length;
    return start;
  };
  const reader: ByteReader & { position: number } = {
    position: 0,
    get remaining() {
      return bytes.byteLength - reader.position;
    },
    u8: () => view.getUint8(advance(1)),
    u16: () => view.getUint16(advance(2), littleEndian),
    u32: () => view.getUint32(advance(4), littleEndian),
    i32: () => view.getInt32(advance(4), littleEndian),
    u64: () => {
      const value = view.getBigUint64(advance(8), littleEndian);
      if (value > BigInt(Number.MAX_SAFE_INTEGER))
        throw diagError(
          'limit-exceeded',
          { what: `a size in ${what}`, found: value.toString(), limit: Number.MAX_SAFE_INTEGER, hint: '' },
          { path, byteOffset: base + reader.position - 8 },
        );
      return Number(value);
    },
    f64: () => view.getFloat64(advance(8), littleEndian),
    bytes: (length) => {
      const start = advance(length);
      return bytes.subarray(start, start + length);
    },
  };
  return reader;
}
