/**
 * Bob Jenkins' hash "lookup3" (hashlittle, 2006, public domain) with seed 0, the checksum of HDF5 structures of version 2.
 * Unsigned 32 bits.
 */
export function lookup3(bytes: Uint8Array): number {
  const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));
  let a = (0xdeadbeef + bytes.length) | 0;
  let b = a;
  let c = a;
  const word = (at: number, length: number): number => {
    let value = 0;
    for (let i = 0; i < Math.min(4, length - at); i++) value |= bytes[at + i]! << (8 * i);
    return value;
  };
  const { length } = bytes;
  let at = 0;
  for (; length - at > 12; at += 12) {
    a = (a + word(at, length)) | 0;
    b = (b + word(at + 4, length)) | 0;
    c = (c + word(at + 8, length)) | 0;
    a = (a - c) ^ rotate(c, 4);
    c = (c + b) | 0;
    b = (b - a) ^ rotate(a, 6);
    a = (a + c) | 0;
    c = (c - b) ^ rotate(b, 8);
    b = (b + a) | 0;
    a = (a - c) ^ rotate(c, 16);
    c = (c + b) | 0;
    b = (b - a) ^ rotate(a, 19);
    a = (a + c) | 0;
    c = (c - b) ^ rotate(b, 4);
    b = (b + a) | 0;
  }
  if (length > at) {
    a = (a + word(at, length)) | 0;
    b = (b + word(at + 4, length)) | 0;
    c = (c + word(at + 8, length)) | 0;
    c = ((c ^ b) - rotate(b, 14)) | 0;
    a = ((a ^ c) - rotate(c, 11)) | 0;
    b = ((b ^ a) - rotate(a, 25)) | 0;
    c = ((c ^ b) - rotate(b, 16)) | 0;
    a = ((a ^ c) - rotate(c, 4)) | 0;
    b = ((b ^ a) - rotate(a, 14)) | 0;
    c = ((c ^ b) - rotate(b, 24)) | 0;
  }
  return c >>> 0;
}
