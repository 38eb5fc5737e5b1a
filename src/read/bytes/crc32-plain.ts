/** CRC-32 of zip (polynomial 0xEDB88320) without Node, for browsers and for Node 20 before 20.15. */

let table: Uint32Array | undefined;

/** The checksum of `bytes` after what had the checksum `before`. */
export function crc32Plain(bytes: Uint8Array, before = 0): number {
  table ??= Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
