import { describe, expect, it } from 'vitest';
import { bytesSource, countingSource } from '../../src/read/bytes/source.ts';
import { openZip } from '../../src/read/bytes/zip.ts';
import { makeZip, type ZipEntry, type ZipLies } from './make-zip.ts';

const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value));
const open = (entries: readonly ZipEntry[], lies?: ZipLies) =>
  openZip(bytesSource('t.zip', makeZip(entries, lies)));
const a: ZipEntry = { name: 'a', data: text('first member') };
const b: ZipEntry = { name: 'dir/b', data: text('second '.repeat(500)) };

describe('openZip', () => {
  it.each([
    ['stored', [a, b]],
    [
      'deflated',
      [
        { ...a, deflate: true },
        { ...b, deflate: true },
      ],
    ],
    [
      'with data descriptors',
      [
        { ...a, descriptor: true },
        { ...b, descriptor: true, deflate: true },
      ],
    ],
    [
      'with zip64 sizes',
      [
        { ...a, zip64: true },
        { ...b, zip64: true, deflate: true },
      ],
    ],
    ['with a folder', [{ name: 'dir/', data: text('') }, a, b]],
    ['empty', []],
  ])('reads members: %s', async (_, entries) => {
    const members = await open(entries);
    const files = entries.filter((entry) => !entry.name.endsWith('/'));
    expect([...members.keys()]).toEqual(files.map((entry) => entry.name));
    for (const { name, data } of files) {
      const member = members.get(name)!;
      expect(await member.read(1e6)).toEqual(data);
      const source = member.source();
      expect(source.byteLength).toBe(data.length);
      expect(await source.slice(2, 7)).toEqual(data.subarray(2, 7));
    }
  });

  it('reads a slice of a stored member without the rest', async () => {
    const big = { name: 'big', data: new Uint8Array(1_000_000).fill(7) };
    const source = countingSource(bytesSource('t.zip', makeZip([big, a])));
    const members = await openZip(source);
    const listed = source.bytesRead();
    expect(listed).toBeLessThan(4000);
    await members.get('big')!.source().slice(500_000, 500_010);
    expect(source.bytesRead()).toBe(listed + 10);
  });

  it.each<[string, readonly ZipEntry[], ZipLies | undefined, string, RegExp]>([
    ['a name twice', [a, a], undefined, 'checkpoint-ambiguous', /"a" twice/],
    ['a name that leaves', [{ ...a, name: '../a' }], undefined, 'path-leaves-folder', /\.\.\/a/],
    ['an absolute name', [{ ...a, name: '/etc/a' }], undefined, 'path-leaves-folder', /etc/],
    ['a backslash', [{ ...a, name: '..\\a' }], undefined, 'path-leaves-folder', /a/],
    ['a NUL', [{ ...a, name: 'a\0b' }], undefined, 'path-leaves-folder', /a/],
    ['another local name', [{ ...a, local: { name: 'x' } }, b], undefined, 'checkpoint-ambiguous', /name/],
    ['another local size', [{ ...a, local: { size: 3 } }, b], undefined, 'checkpoint-ambiguous', /size/],
    [
      'another local checksum',
      [{ ...a, local: { crc: 3 } }, b],
      undefined,
      'checkpoint-ambiguous',
      /checksum/,
    ],
    [
      'another local method',
      [{ ...a, local: { method: 8 } }],
      undefined,
      'checkpoint-ambiguous',
      /compression/,
    ],
    [
      'another zip64 size',
      [{ ...a, zip64: true, local: { size: 3 } }],
      undefined,
      'checkpoint-ambiguous',
      /size/,
    ],
    [
      'another descriptor',
      [{ ...a, descriptor: true, local: { crc: 3 } }],
      undefined,
      'checkpoint-ambiguous',
      /descriptor/,
    ],
    ['bytes in front', [{ ...a, gap: text('#!') }], undefined, 'checkpoint-ambiguous', /bytes 0 to 2/],
    [
      'bytes between',
      [a, { ...b, gap: text('xx') }],
      undefined,
      'checkpoint-ambiguous',
      /belong to no member/,
    ],
    [
      'bytes before the directory',
      [a],
      { beforeDirectory: text('x') },
      'checkpoint-ambiguous',
      /belong to no/,
    ],
    [
      'members that share bytes',
      [a, { ...b, central: { offset: 0 } }],
      undefined,
      'checkpoint-ambiguous',
      /place|inside|belong/,
    ],
    [
      'a second end record in the comment',
      [a],
      { comment: makeZip([b]) },
      'checkpoint-ambiguous',
      /end record/,
    ],
    ['a comment', [a], { comment: text('hi') }, 'checkpoint-ambiguous', /follow the end record/],
    ['a wrong count', [a, b], { entryCount: 1 }, 'checkpoint-malformed', /follow the last directory/],
    ['a count beyond the directory', [a], { entryCount: 2 }, 'checkpoint-truncated', /central directory/],
    ['encryption', [{ ...a, central: { flags: 1 } }], undefined, 'checkpoint-malformed', /encrypted/],
    ['another method', [{ ...a, central: { method: 12 } }], undefined, 'checkpoint-malformed', /method 12/],
  ])('refuses %s', async (_, entries, lies, code, message) => {
    await expect(open(entries, lies)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('stops inflating at the declared size', async () => {
    const bomb = { name: 'bomb', data: new Uint8Array(50_000_000), deflate: true };
    const archive = Buffer.from(makeZip([bomb]));
    // The true size stands in both headers; a smaller one in both is what a bomb would say.
    for (let at = archive.indexOf(u32(50_000_000)); at >= 0; at = archive.indexOf(u32(50_000_000), at + 4))
      archive.writeUInt32LE(1000, at);
    const members = await openZip(bytesSource('t.zip', new Uint8Array(archive)));
    await expect(members.get('bomb')!.read(1e9)).rejects.toMatchObject({
      code: 'checkpoint-malformed',
      message: expect.stringContaining('more than the declared 1000'),
    });
  });

  it('checks checksums, sizes and limits when it reads', async () => {
    const wrong = { crc: 1 };
    const members = await open([
      { ...a, local: wrong, central: wrong },
      { ...b, deflate: true },
    ]);
    await expect(members.get('a')!.read(1e6)).rejects.toMatchObject({ code: 'checksum-mismatch' });
    await expect(members.get('dir/b')!.read(10)).rejects.toMatchObject({ code: 'limit-exceeded' });
    const archive = makeZip([{ ...b, deflate: true }]);
    archive[30 + 5 + 3]! ^= 0xff;
    const damaged = (await openZip(bytesSource('t.zip', archive))).get('dir/b')!;
    await expect(damaged.read(1e6)).rejects.toMatchObject({
      code: expect.stringMatching(/malformed|mismatch/),
    });
  });

  it('says of every cut archive that it was cut', async () => {
    const whole = makeZip([a, { ...b, deflate: true }]);
    for (let length = 0; length < whole.length; length++)
      await expect(
        openZip(bytesSource('t.zip', whole.subarray(0, length))),
        `${length}`,
      ).rejects.toMatchObject({
        code: 'archive-cut',
      });
  });
});

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
