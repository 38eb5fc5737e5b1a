import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bytesSource, countingSource, openFile } from '../../src/read/bytes/source.ts';
import { openCheckpoint, openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { safetensors, type TensorToWrite, writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { projectRoot } from '../support/shared-data.ts';
import { expectTensors, type TensorFacts } from './expected.ts';

const folder = join(projectRoot, 'fixtures/checkpoints/safetensors');
const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Record<
  string,
  { metadata: Record<string, string>; tensors: Record<string, TensorFacts> }
>;
const scratch = mkdtempSync(join(tmpdir(), 'safetensors-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A file with this header text, padded data included. */
const fileOf = (header: string, dataBytes: number, declared = Buffer.byteLength(header)): Uint8Array => {
  const file = Buffer.alloc(8 + Buffer.byteLength(header) + dataBytes);
  file.writeBigUInt64LE(BigInt(declared));
  file.write(header, 8);
  return file;
};
const openText = (header: string, dataBytes = 0, declared?: number) =>
  openCheckpointSource(bytesSource('t.safetensors', fileOf(header, dataBytes, declared)));
const entry = (begin: number, end: number, shape = [(end - begin) / 4]) =>
  `{"dtype":"F32","shape":${JSON.stringify(shape)},"data_offsets":[${begin},${end}]}`;

describe('safetensors', () => {
  it.each(Object.keys(expected))('reads %s as the reference library wrote it', async (name) => {
    const checkpoint = await openCheckpoint(join(folder, name));
    expect(checkpoint.errors).toEqual([]);
    expect(Object.fromEntries(checkpoint.metadata)).toEqual(expected[name]!.metadata);
    await expectTensors(checkpoint, expected[name]!.tensors);
    await checkpoint.close();
  });

  it('tells the step and the framework', async () => {
    const checkpoint = await openCheckpoint(join(folder, 'model-step-1200.safetensors'));
    expect([checkpoint.step, checkpoint.framework]).toEqual([1200, 'pytorch']);
    await checkpoint.close();
  });

  it('touches the header when listing and one tensor when reading', async () => {
    const source = countingSource(await openFile(join(folder, 'f16-all.safetensors')));
    const checkpoint = await safetensors.open(source);
    const listed = source.bytesRead();
    expect(listed).toBeLessThan(200);
    await checkpoint.read('f16');
    expect(source.bytesRead() - listed).toBe(2 * 65536);
    await checkpoint.close();
  });

  it.each([
    ['an overlap', `{"a":${entry(0, 8)},"b":${entry(4, 12)}}`, 12, 'checkpoint-malformed', /inside another/],
    ['a hole', `{"a":${entry(0, 4)},"b":${entry(8, 12)}}`, 12, 'checkpoint-malformed', /belong to no tensor/],
    ['bytes at the end', `{"a":${entry(0, 4)}}`, 5, 'checkpoint-malformed', /after the last tensor/],
    ['a size that disagrees', `{"a":${entry(0, 4, [2])}}`, 4, 'checkpoint-malformed', /needs 8 bytes/],
    ['a key twice', `{"a":${entry(0, 4)},"\\u0061":${entry(4, 8)}}`, 8, 'checkpoint-ambiguous', /"a" twice/],
    [
      'a field twice',
      `{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}`,
      4,
      'checkpoint-ambiguous',
      /dtype/,
    ],
    ['negative dimensions', `{"a":${entry(0, 4, [-1, -1])}}`, 4, 'checkpoint-malformed', /dimension -1/],
    ['a product beyond 2^53', `{"a":${entry(0, 0, [2 ** 40, 2 ** 40])}}`, 0, 'limit-exceeded', /elements/],
    ['an end before its begin', `{"a":${entry(4, 0, [1])}}`, 4, 'checkpoint-malformed', /before it begins/],
    [
      'an empty tensor beyond all',
      `{"a":${entry(400, 400, [0])}}`,
      0,
      'checkpoint-malformed',
      /beyond all others/,
    ],
    [
      'an unknown field',
      `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}`,
      4,
      'checkpoint-malformed',
      /"x"/,
    ],
    ['a metadata number', `{"__metadata__":{"a":1}}`, 0, 'checkpoint-malformed', /not text/],
    ['deep nesting', `{"a":${'['.repeat(100000)}`, 0, 'limit-exceeded', /depth/],
    ['no JSON', '{"a"', 0, 'checkpoint-malformed', /JSON/],
  ])('refuses %s', async (_, header, data, code, message) => {
    await expect(openText(header, data)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('refuses a header beyond 100 MB without reading it', async () => {
    await expect(openText('{}', 0, 100_000_001)).rejects.toMatchObject({ code: 'limit-exceeded' });
    await expect(openText('{}', 0, 3)).rejects.toMatchObject({ code: 'checkpoint-truncated' });
  });

  it('takes a zero-size tensor at an offset that is used, and absurd other dimensions', async () => {
    const checkpoint = await openText(`{"a":${entry(0, 8)},"z":${entry(4, 4, [0, 2 ** 50, 2 ** 50])}}`, 8);
    expect(checkpoint.tensors.map((t) => t.elements)).toEqual([2, 0]);
    expect(await checkpoint.read('z')).toEqual(new Float32Array(0));
  });

  it('keeps names that JavaScript objects treat specially', async () => {
    const checkpoint = await openText(`{"__proto__":${entry(0, 4)},"constructor":${entry(4, 8)}}`, 8);
    expect(checkpoint.tensors.map((t) => t.name)).toEqual(['__proto__', 'constructor']);
    await expect(checkpoint.read('toString')).rejects.toMatchObject({ code: 'tensor-missing' });
  });

  it('lists what is whole of a file that was cut, and of one with an unknown type', async () => {
    const cut = await openText(`{"a":${entry(0, 4)},"b":${entry(4, 12)}}`, 7);
    expect(cut.tensors.map((t) => t.name)).toEqual(['a']);
    expect(cut.errors).toMatchObject([{ id: 'checkpoint-truncated', tensor: 'b' }]);
    const odd = await openText(`{"a":${entry(0, 4)},"b":{"dtype":"F4","shape":[8],"data_offsets":[4,8]}}`, 8);
    expect(odd.tensors.map((t) => t.name)).toEqual(['a']);
    expect(odd.errors).toMatchObject([{ id: 'dtype-unsupported', tensor: 'b' }]);
  });
});

describe('writeSafetensors', () => {
  const tensors: TensorToWrite[] = [
    { name: 'flags', shape: [3], dtype: 'BOOL', values: Uint8Array.of(1, 0, 1) },
    { name: '2', shape: [2, 2], dtype: 'F32', values: Float32Array.of(1, Number.NaN, -0, 4) },
    {
      name: 'grad/ü"\\',
      shape: [4],
      dtype: 'F64',
      values: () => [Float64Array.of(1, 2), Float64Array.of(3, Number.POSITIVE_INFINITY)],
    },
    { name: 'step', shape: [], dtype: 'I64', values: BigInt64Array.of(-5n) },
    { name: 'none', shape: [0, 3], dtype: 'U16', values: new Uint16Array(0) },
  ];

  it('writes what the reader reads', async () => {
    const path = join(scratch, 'written.safetensors');
    await writeSafetensors(path, tensors, new Map([['format', 'pt']]));
    const checkpoint = await openCheckpoint(path);
    expect(checkpoint.errors).toEqual([]);
    const read = new Map(
      await Promise.all(
        checkpoint.tensors.map(async (t) => [t.name, await checkpoint.read(t.name)] as const),
      ),
    );
    expect(read).toEqual(
      new Map<string, unknown>([
        ['2', tensors[1]!.values],
        ['grad/ü"\\', Float64Array.of(1, 2, 3, Number.POSITIVE_INFINITY)],
        ['step', tensors[3]!.values],
        ['none', tensors[4]!.values],
        ['flags', tensors[0]!.values],
      ]),
    );
    await checkpoint.close();
  });

  it('leaves nothing behind where values do not fill the shape or names repeat', async () => {
    const path = join(scratch, 'wrong.safetensors');
    const short = { ...tensors[1]!, shape: [5] };
    await expect(writeSafetensors(path, [short])).rejects.toThrow(RangeError);
    expect(() => writeSafetensors(path, [short, short])).toThrow(/repeat/);
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'file-missing' });
  });
});

it('says what was tried when no format claims a file', async () => {
  const text = bytesSource('notes.txt', Buffer.from('no checkpoint'));
  await expect(openCheckpointSource(text)).rejects.toMatchObject({
    code: 'format-unknown',
    message: expect.stringMatching(/tried the \d+ formats of checkpoints$/),
  });
});
