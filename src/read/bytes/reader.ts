/** A cursor over bytes in memory that cannot run past their end. */
import { diagError } from '../../model/errors.ts';

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
export const byteReader = (
  bytes: Uint8Array,
  path: string,
  what: string,
  base = 0,
  littleEndian = true,
): ByteReader => new Cursor(bytes, path, what, base, littleEndian);

/** A class, so that a reader is one small object: formats make one for every record, tens of thousands for a file. */
class Cursor implements ByteReader {
  position = 0;
  readonly #view: DataView;

  constructor(
    private readonly source: Uint8Array,
    private readonly path: string,
    private readonly what: string,
    private readonly base: number,
    private readonly littleEndian: boolean,
  ) {
    this.#view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  }

  #advance(length: number): number {
    const start = this.position;
    // Written so that NaN and negative lengths fail too.
    if (!(length >= 0 && length <= this.source.byteLength - start))
      throw diagError(
        'checkpoint-truncated',
        { what: this.what, end: this.base + start + length, bytes: this.base + this.source.byteLength },
        { path: this.path, byteOffset: this.base + start },
      );
    this.position = start + length;
    return start;
  }

  get remaining(): number {
    return this.source.byteLength - this.position;
  }
  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#advance(2), this.littleEndian);
  }
  u32(): number {
    return this.#view.getUint32(this.#advance(4), this.littleEndian);
  }
  i32(): number {
    return this.#view.getInt32(this.#advance(4), this.littleEndian);
  }
  u64(): number {
    const at = this.#advance(8);
    const low = this.#view.getUint32(at + (this.littleEndian ? 0 : 4), this.littleEndian);
    const high = this.#view.getUint32(at + (this.littleEndian ? 4 : 0), this.littleEndian);
    if (high > 0x1fffff)
      throw diagError(
        'limit-exceeded',
        {
          what: `a size in ${this.what}`,
          found: this.#view.getBigUint64(at, this.littleEndian).toString(),
          limit: Number.MAX_SAFE_INTEGER,
          hint: '',
        },
        { path: this.path, byteOffset: this.base + at },
      );
    return high * 2 ** 32 + low;
  }
  f64(): number {
    return this.#view.getFloat64(this.#advance(8), this.littleEndian);
  }
  bytes(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.source.subarray(start, start + length);
  }
}
