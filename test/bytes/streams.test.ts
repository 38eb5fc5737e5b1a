import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c, maskedCrc32c } from '../../src/bytes/crc32c.ts';
import { decodeName, encodingOf, toUtf8 } from '../../src/bytes/encoding.ts';
import { gunzipChunks, isGzip } from '../../src/bytes/gzip.ts';
import { MAX_LINE_BYTES, scanLines } from '../../src/bytes/lines.ts';
import type { DiagError } from '../../src/model/errors.ts';

const inPieces = async function* (bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  // Like a file reader: the buffer is used again, so that whoever keeps a chunk is found out.
  const shared = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    shared.set(piece);
    yield shared.subarray(0, piece.length);
  }
};
const gather = async (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
};

describe('crc32c', () => {
  it('gives the check values of RFC 3720, B.4', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, k) => k))).toBe(0x46dd794e);
  });
  it('goes on over pieces, and agrees with one bit at a time', () => {
    const slow = (bytes: Uint8Array): number => {
      let crc = 0xffffffff;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
      }
      return ~crc >>> 0;
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(70), (bytes, cut) => {
        const at = Math.min(cut, bytes.length);
        expect(crc32c(bytes, at, bytes.length, crc32c(bytes, 0, at))).toBe(slow(bytes));
      }),
    );
  });
  it('is masked as LevelDB does', () => {
    // leveldb/util/crc32c_test.cc: a mask is undone by its inverse, and masking twice is something else.
    const crc = crc32c(Buffer.from('foo'));
    const unmask = (masked: number): number => {
      const rotated = (masked - 0xa282ead8) >>> 0;
      return ((rotated >>> 17) | (rotated << 15)) >>> 0;
    };
    expect(unmask(maskedCrc32c(crc))).toBe(crc);
    expect(maskedCrc32c(crc)).not.toBe(crc);
  });
});

describe('gunzipChunks', () => {
  const text = Buffer.from(Array.from({ length: 40_000 }, (_, k) => `line ${k * 7919}\n`).join(''));
  const read = async (bytes: Uint8Array, size = 1000): Promise<{ out: Buffer; errors: DiagError[] }> => {
    const errors: DiagError[] = [];
    return {
      out: await gather(gunzipChunks(inPieces(bytes, size), 'a.gz', (error) => errors.push(error))),
      errors,
    };
  };
  it('reads one member and many, in pieces of any size', async () => {
    const two = Buffer.concat([gzipSync(text.subarray(0, 99_000)), gzipSync(text.subarray(99_000))]);
    expect(isGzip(two)).toBe(true);
    for (const size of [1, 1000, 1 << 20]) {
      const { out, errors } = await read(size === 1 ? gzipSync(text.subarray(0, 500)) : two, size);
      expect(errors).toEqual([]);
      expect(out.equals(size === 1 ? text.subarray(0, 500) : text)).toBe(true);
    }
  });
  it('gives what came before damage, and says so', async () => {
    const zipped = gzipSync(text);
    const cut = await read(zipped.subarray(0, zipped.length >> 1));
    expect(cut.errors.map((error) => error.code)).toEqual(['gzip-damaged']);
    expect(cut.out.length).toBeGreaterThan(text.length / 3);
    expect(cut.out.equals(text.subarray(0, cut.out.length))).toBe(true);
    const broken = Buffer.from(zipped);
    broken.fill(0xff, broken.length >> 1, (broken.length >> 1) + 50);
    const damaged = await read(broken);
    expect(damaged.errors.map((error) => error.code)).toEqual(['gzip-damaged']);
    expect(damaged.out.length).toBeGreaterThan(text.length / 4);
  });
});

describe('scanLines', () => {
  interface Line {
    readonly text: string;
    readonly number: number;
    readonly terminated: boolean;
  }
  const linesOf = async (bytes: Uint8Array, size: number, returns = false) => {
    const lines: Line[] = [];
    const long: [number, number][] = [];
    await scanLines(
      inPieces(bytes, size),
      {
        line: (buffer, start, end, number, terminated) =>
          lines.push({ text: buffer.toString('utf8', start, end), number, terminated }),
        tooLong: (number, length) => long.push([number, length]),
      },
      returns,
    );
    return { lines, long };
  };
  it('cuts like split, whatever the pieces are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: fc.constantFrom('a', 'é', '\n', '\r\n') }),
        fc.integer({ min: 1, max: 9 }),
        async (text, size) => {
          const { lines } = await linesOf(Buffer.from(text), size);
          const wanted = text.split('\n').map((line) => line.replace(/\r$/, ''));
          if (wanted.at(-1) === '') wanted.pop();
          expect(lines.map((line) => line.text)).toEqual(wanted);
          expect(lines.map((line) => line.number)).toEqual(wanted.map((_, k) => k + 1));
          if (lines.length > 0) expect(lines.at(-1)!.terminated).toBe(text.endsWith('\n'));
        },
      ),
    );
  });
  it('takes a bar that overwrites itself as lines of one number', async () => {
    const { lines } = await linesOf(Buffer.from(' 1%\r 2%\r{}\r\nend\r'), 4, true);
    expect(lines.map((line) => [line.text, line.number])).toEqual([
      [' 1%', 1],
      [' 2%', 1],
      ['{}', 1],
      ['end', 2],
    ]);
  });
  it('passes over a line beyond the limit and reads on', async () => {
    const bytes = Buffer.concat([
      Buffer.from('a\n'),
      Buffer.alloc(MAX_LINE_BYTES + 5, 120),
      Buffer.from('\nb\n'),
    ]);
    const { lines, long } = await linesOf(bytes, 1 << 20);
    expect(lines.map((line) => [line.text, line.number])).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
    expect(long).toEqual([[2, MAX_LINE_BYTES + 5]]);
  });
});

describe('encodings', () => {
  it('tells UTF-16 with and without a mark, and turns it into UTF-8', async () => {
    const text = 'step,loss\n1,0.5\nµ,ü\n';
    const little = Buffer.from(text, 'utf16le');
    const big = Buffer.from(little).swap16();
    for (const [bytes, encoding] of [
      [little, 'utf-16le'],
      [big, 'utf-16be'],
      [Buffer.concat([Buffer.from([0xff, 0xfe]), little]), 'utf-16le'],
      [Buffer.concat([Buffer.from([0xfe, 0xff]), big]), 'utf-16be'],
      [Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)]), 'utf-8'],
    ] as const) {
      expect(encodingOf(bytes)).toBe(encoding);
      expect((await gather(toUtf8(inPieces(bytes, 7), encoding))).toString()).toBe(text);
    }
  });
  it('reads a name that is no UTF-8 as Latin-1', () => {
    expect(decodeName(Buffer.from('größe', 'latin1'))).toBe('größe');
    expect(decodeName(Buffer.from('größe'))).toBe('größe');
  });
});
