import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DiagError } from '../../src/model/errors.ts';
import { unaccounted } from '../../src/model/log.ts';
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';
import { decodeName, encodingOf, toUtf8 } from '../../src/read/bytes/encoding.ts';
import { gunzipChunks, isGzip } from '../../src/read/bytes/gzip.ts';
import { MAX_LINE_BYTES, scanLines } from '../../src/read/bytes/lines.ts';

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
  it('keeps nearly all that came before a damaged block, of a small file too', async () => {
    for (const length of [4_000, 60_000, 500_000]) {
      const part = text.subarray(0, length);
      const broken = gzipSync(part);
      broken.fill(0xff, Math.floor(broken.length * 0.9));
      const { out, errors } = await read(broken, 1 << 20);
      expect(errors.map((error) => error.code)).toEqual(['gzip-damaged']);
      // The bits of a damaged block may mean something for a while.
      const same = out.findIndex((byte, k) => byte !== text[k]);
      expect(same < 0 ? out.length : same).toBeGreaterThan(length * 0.9 - Math.max(3_000, length / 8));
    }
  });
  it('takes zero bytes after the last member for padding, and says what else follows', async () => {
    const zipped = gzipSync(text);
    const other = gzipSync('other\n');
    const follows: [Uint8Array, string[]][] = [
      [new Uint8Array(10), []],
      [new Uint8Array(100_000), []],
      [new Uint8Array(40).fill(0x50), ['gzip-trailing']],
      [new Uint8Array(100_000).fill(0x50), ['gzip-trailing']],
      [Uint8Array.of(0x1f, 0x8b, 1, 2, 3), ['gzip-trailing']],
      // gzip itself passes over a member that follows padding.
      [Buffer.concat([new Uint8Array(512), other]), []],
      [Uint8Array.of(0x1f), ['gzip-damaged']],
      [other.subarray(0, 12), ['gzip-damaged']],
    ];
    for (const [bytes, codes] of follows)
      for (const size of [1000, 1 << 20]) {
        const { out, errors } = await read(Buffer.concat([zipped, bytes]), size);
        expect(errors.map((error) => error.code)).toEqual(codes);
        expect(out.subarray(0, text.length).equals(text)).toBe(true);
      }
  });
  it('reads members with every field that a header may have', async () => {
    const plain = gzipSync(text.subarray(0, 5_000));
    const fields: [number, Buffer][] = [
      [4, Buffer.from([5, 0, 1, 2, 3, 4, 0])],
      [8, Buffer.from('a name\0')],
      [16, Buffer.from('a comment\0')],
      [2, Buffer.from([0x12, 0x34])],
    ];
    for (let choice = 0; choice < 16; choice++) {
      const chosen = fields.filter((_, k) => choice & (1 << k));
      const head = Buffer.from(plain.subarray(0, 10));
      head[3] = chosen.reduce((flags, [flag]) => flags | flag, 0);
      const member = Buffer.concat([head, ...chosen.map(([, bytes]) => bytes), plain.subarray(10)]);
      const { out, errors } = await read(Buffer.concat([member, member]), 7);
      expect(errors).toEqual([]);
      expect(out.equals(Buffer.concat([text.subarray(0, 5_000), text.subarray(0, 5_000)]))).toBe(true);
    }
  });
  it('says so wherever a stream is cut, but between two members', async () => {
    const first = gzipSync(text.subarray(0, 700));
    const two = Buffer.concat([first, gzipSync(text.subarray(700, 1_000))]);
    for (let end = 1; end <= two.length; end++) {
      const { out, errors } = await read(two.subarray(0, end), 64);
      expect(text.subarray(0, out.length).equals(out)).toBe(true);
      expect(errors.length, `cut at ${end}`).toBe(end === first.length || end === two.length ? 0 : 1);
    }
  });
  it('says so where a checksum or a length is wrong, after all that is in the member', async () => {
    for (const at of [8, 4]) {
      const zipped = gzipSync(text);
      zipped[zipped.length - at]! ^= 1;
      const { out, errors } = await read(zipped);
      expect(errors[0]?.message).toContain(at === 8 ? 'incorrect data check' : 'incorrect length check');
      expect(out.equals(text)).toBe(true);
    }
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
    const { account, errors } = await scanLines(
      inPieces(bytes, size),
      'a.log',
      {
        line: (buffer, start, end, number, terminated) => {
          lines.push({ text: buffer.toString('utf8', start, end), number, terminated });
          return 'record';
        },
        blank: (number) => {
          lines.push({ text: '', number, terminated: true });
          return 'overhead';
        },
      },
      { carriageReturns: returns },
    );
    expect(unaccounted({ ...account, bytes: bytes.length })).toBe(0);
    return { lines, errors, account };
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
    const { lines, errors, account } = await linesOf(bytes, 1 << 20);
    expect(lines.map((line) => [line.text, line.number])).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
    expect(errors).toMatchObject([{ id: 'limit-exceeded', path: 'a.log', line: 2 }]);
    expect(account.lost).toEqual([{ reason: 'line-too-long', records: 1, bytes: MAX_LINE_BYTES + 5, at: 2 }]);
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
