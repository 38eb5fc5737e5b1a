/** CRC-32 of zip (polynomial 0xEDB88320). */
import * as zlib from 'node:zlib';

let table: Uint32Array | undefined;

/** For Node 20 before 20.15, which lacks zlib.crc32. */
function crc32Plain(bytes: Uint8Array, before: number): number {
  table ??= Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The checksum of `bytes`, or of what had the checksum `before` followed by `bytes`. */
export const crc32 = (bytes: Uint8Array, before = 0): number =>
  zlib.crc32 === undefined ? crc32Plain(bytes, before) : zlib.crc32(bytes, before);
