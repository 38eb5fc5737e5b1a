/** Numbers out of bytes, against DataView; what runs past the end or past 2^53 is an error that says where. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { byteReader } from '../../src/read/bytes/reader.ts';

it('reads what DataView reads, in both orders, from wherever the bytes lie', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 27, maxLength: 27 }),
      fc.boolean(),
      fc.nat(9),
      (content, little, offset) => {
        const whole = new Uint8Array(offset + content.length + 3);
        whole.set(content, offset);
        const bytes = whole.subarray(offset, offset + content.length);
        const view = new DataView(content.buffer, content.byteOffset);
        const reader = byteReader(bytes, 'a', 'it', 0, little);
        expect([reader.u8(), reader.u16(), reader.u32(), reader.i32()]).toEqual([
          view.getUint8(0),
          view.getUint16(1, little),
          view.getUint32(3, little),
          view.getInt32(7, little),
        ]);
        const wide = view.getBigUint64(11, little);
        if (wide > BigInt(Number.MAX_SAFE_INTEGER))
          expect(() => reader.u64()).toThrow(expect.objectContaining({ code: 'limit-exceeded' }));
        else expect(reader.u64()).toBe(Number(wide));
        expect([reader.position, reader.remaining]).toEqual([19, 8]);
        expect(reader.f64()).toBe(view.getFloat64(19, little));
      },
    ),
  );
});

it.each([
  [0n, 0],
  [2n ** 32n, 2 ** 32],
  [2n ** 53n - 1n, Number.MAX_SAFE_INTEGER],
  [2n ** 53n, undefined],
  [2n ** 64n - 1n, undefined],
])('a count of %s', (value, expected) => {
  for (const little of [true, false]) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, little);
    const read = (): number => byteReader(bytes, 'a', 'the index', 100, little).u64();
    if (expected !== undefined) expect(read()).toBe(expected);
    else
      expect(read).toThrow(
        expect.objectContaining({
          code: 'limit-exceeded',
          message: expect.stringContaining(String(value)),
          where: { path: 'a', byteOffset: 100 },
        }),
      );
  }
});

it('ends where the bytes end, and says where that is in the file', () => {
  const reader = byteReader(new Uint8Array(10), 'a', 'the header', 1000);
  reader.bytes(7);
  expect(() => reader.u32()).toThrow(
    expect.objectContaining({ code: 'checkpoint-truncated', where: { path: 'a', byteOffset: 1007 } }),
  );
  for (const length of [4, -1, Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => reader.bytes(length)).toThrow(expect.objectContaining({ code: 'checkpoint-truncated' }));
  expect([reader.position, reader.bytes(3).length, reader.remaining]).toEqual([7, 3, 0]);
});
