/** CRC-32 of zip (polynomial 0xEDB88320). */
import * as zlib from 'node:zlib';
import { crc32Plain } from './crc32-plain.ts';

/** The checksum of `bytes`, or of what had the checksum `before` followed by `bytes`. */
export const crc32 = (bytes: Uint8Array, before = 0): number =>
  zlib.crc32 === undefined ? crc32Plain(bytes, before) : zlib.crc32(bytes, before);
