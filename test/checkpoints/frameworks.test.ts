/** What the fixtures do not show: bytes touched, files that name others, and the parts the readers are made of. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lookup3 } from '../../src/read/bytes/lookup3.ts';
import { msgpackReader } from '../../src/read/bytes/msgpack.ts';
import {
  countOf,
  packedVarints,
  protobufFields,
  protobufRanges,
  signedVarint,
  varintValue,
} from '../../src/read/bytes/protobuf.ts';
import { bytesSource, countingSource, openFile } from '../../src/read/bytes/source.ts';
import { DTYPE_BYTES } from '../../src/read/checkpoints/dtypes.ts';
import { slotsByOrder } from '../../src/read/checkpoints/keras/keras-roles.ts';
import { layoutOfKeras } from '../../src/read/checkpoints/layouts.ts';
import { openCheckpoint, openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { manifestFiles, projectRoot, sharedData } from '../support/shared-data.ts';
import { makeTable } from './make-table.ts';

const fixture = (name: string): string => join(projectRoot, 'fixtures/checkpoints', name);

describe('bytes touched', () => {
  it.each([
    'hdf5/storage.h5',
    'keras3/adam.weights.h5',
    'keras3/adam.keras',
    'onnx/raw.onnx',
    'flax/adam.msgpack',
    'flax/chunked.msgpack',
  ])('%s: a read touches one tensor, and a listing none', async (name) => {
    const source = countingSource(await openFile(fixture(name)));
    const checkpoint = await openCheckpointSource(source);
    const listed = source.bytesRead();
    const isWhole = ({ name: tensor }: { name: string }): boolean =>
      !/gzip|chunks|axis|axes|partly|unwritten|fletcher|compact/.test(tensor);
    for (const info of checkpoint.tensors.filter(isWhole)) {
      const before = source.bytesRead();
      await checkpoint.read(info.name);
      expect(source.bytesRead() - before, info.name).toBe(info.elements * DTYPE_BYTES[info.dtype]);
    }
    await checkpoint.close();
    // The first 4 KiB tell the format; then structures are read once, some heads twice.
    expect(listed - Math.min(4096, source.byteLength)).toBeLessThan(1.2 * source.byteLength);
  });

  it.skipIf(sharedData === undefined)(
    'real files: listing reads what is no data, at most once (skipped without them)',
    async () => {
      const files = manifestFiles.filter(
        ({ kind, facts }) => /^ckpt\/(keras|onnx|flax)/.test(kind) && facts?.tensors !== undefined,
      );
      expect(files.length).toBeGreaterThan(6);
      for (const { dest } of files) {
        const source = countingSource(await openFile(join(sharedData!, dest)));
        const checkpoint = await openCheckpointSource(source);
        const data = checkpoint.tensors.reduce((sum, t) => sum + t.elements * DTYPE_BYTES[t.dtype], 0);
        // The first 4 KiB tell the format; a window of 256 bytes may reach into the data of each tensor.
        const allowed = 4096 + source.byteLength - data + 256 * checkpoint.tensors.length;
        expect(source.bytesRead(), dest).toBeLessThanOrEqual(allowed);
        await checkpoint.close();
      }
    },
  );
});

describe('TensorFlow', () => {
  it('refuses names that only differ in bytes which are no text', async () => {
    // BundleEntryProto of an empty float: type 1, shape of one axis of size 0.
    const value = Buffer.from('0801' + '12021200', 'hex');
    const entries = [
      { key: new Uint8Array(0), value: Buffer.of(0x08, 1) },
      { key: Buffer.from('w\xfe', 'latin1'), value },
      { key: Buffer.from('w\xff', 'latin1'), value },
    ];
    await expect(openCheckpointSource(bytesSource('n.index', makeTable(entries)))).rejects.toMatchObject({
      code: 'checkpoint-ambiguous',
    });
  });

  it.skipIf(sharedData === undefined)(
    'says which checkpoints are there where the newest is not (skipped without the real files)',
    async () => {
      const { dest } = manifestFiles.find((f) => f.dest.endsWith('/checkpoint'))!;
      await expect(openCheckpoint(join(sharedData!, dest))).rejects.toMatchObject({
        code: 'tf-newest-missing',
        message: expect.stringContaining('model.ckpt-1000'),
        hint: expect.stringContaining('model.ckpt-0.index'),
      });
    },
  );
});

describe('protocol buffers', () => {
  const nested = (depth: number): Uint8Array => {
    let bytes = Buffer.of(0x08, 1);
    for (let i = 0; i < depth; i++) bytes = Buffer.concat([Buffer.of(0x0a, bytes.length), bytes]);
    return bytes;
  };

  it('reads every wire type, in memory and over a file alike', async () => {
    // 1: varint 300, 2: fixed64, 3: "ab", 5: fixed32, field number 2^29 - 1: varint 0.
    const bytes = Buffer.from(
      '08ac02' + '110100000000000000' + '1a026162' + '2d01000000' + 'f8ffffff0f00',
      'hex',
    );
    const fields = [...protobufFields(bytes, 'p', 'a message', 7)];
    expect(fields.map(({ number, wire, offset }) => [number, wire, offset])).toEqual([
      [1, 0, 8],
      [2, 1, 11],
      [3, 2, 21],
      [5, 5, 24],
      [2 ** 29 - 1, 0, 33],
    ]);
    expect(countOf(fields[0]!, 'p', 'a message')).toBe(300);
    const ranges = [];
    for await (const range of protobufRanges(bytesSource('p', bytes), 0, bytes.length, 'a message'))
      ranges.push([range.number, range.wire, range.start + 7]);
    expect(ranges).toEqual(fields.map(({ number, wire, offset }) => [number, wire, offset]));
  });

  it.each([
    ['a tag that does not end', '80'],
    ['a varint that does not end', '0880'],
    ['a length beyond the end', '0a05aa'],
    ['a length beyond 2^53', '0affffffffffffffff7f'],
    ['a varint of eleven bytes', '08ffffffffffffffffffff01'],
    ['field number 0', '0001'],
    ['a group', '0b0c'],
    ['wire type 6', '0e'],
    ['half a fixed64', '0900'],
  ])('refuses %s', async (_, hex) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(() => [...protobufFields(bytes, 'p', 'a message')]).toThrow(/not a valid protocol buffer/);
    const walk = async (): Promise<void> => {
      for await (const _field of protobufRanges(bytesSource('p', bytes), 0, bytes.length, 'a message'));
    };
    await expect(walk()).rejects.toMatchObject({ code: 'protobuf-malformed' });
  });

  it('knows 64 bits, signs and packed rows', () => {
    expect(varintValue(Buffer.from('ffffffffffffffffff01', 'hex'))).toBe(2n ** 64n - 1n);
    expect(signedVarint(Buffer.from('ffffffffffffffffff01', 'hex'))).toBe(-1n);
    expect(packedVarints(Buffer.from('01ac0200', 'hex'))).toEqual([1n, 300n, 0n]);
    expect(packedVarints(Buffer.from('01ac', 'hex'))).toBeUndefined();
  });

  it('refuses counts below zero and messages deeper than 100', () => {
    const [negative] = protobufFields(Buffer.from('08ffffffffffffffffff01', 'hex'), 'p', 'a message');
    expect(() => countOf(negative!, 'p', 'a message')).toThrow(/no count/);
    const dive = (bytes: Uint8Array, depth: number): number => {
      for (const field of protobufFields(bytes, 'p', 'a message', 0, depth))
        return field.wire === 2 ? dive(field.bytes, depth + 1) : depth;
      return depth;
    };
    expect(dive(nested(40), 0)).toBe(40);
    expect(() => [...protobufFields(nested(1), 'p', 'a message', 0, 101)]).toThrow(/limit is 100/);
  });
});

it('lookup3 gives the values of its author', () => {
  // From the self-test in lookup3.c, driver5: hashlittle of "Four score and seven years ago" with seed 0.
  expect(lookup3(Buffer.from('Four score and seven years ago'))).toBe(0x17770551);
  expect(lookup3(new Uint8Array(0))).toBe(0xdeadbeef);
});

it('MessagePack numbers of every width', async () => {
  const bytes = Buffer.from(
    `7f e0 c0 c2 c3 cc80 cd0100 ce00010000 cf0000000100000000 d080 d18000 d280000000 d38000000000000000 ca3f800000 cb3ff0000000000000`.replaceAll(
      ' ',
      '',
    ),
    'hex',
  );
  const reader = msgpackReader(bytesSource('m', bytes));
  const values = [];
  while (reader.position < bytes.length) {
    const token = await reader.next();
    values.push(token.kind === 'value' ? token.value : token.kind);
  }
  expect(values).toEqual([
    127,
    -32,
    null,
    false,
    true,
    128,
    256,
    65536,
    2n ** 32n,
    -128,
    -32768,
    -(2 ** 31),
    -(2n ** 63n),
    1,
    1,
  ]);
});

describe('Keras names', () => {
  const [kernel, bias] = [
    { key: 'kernel', shape: [4, 3] },
    { key: 'bias', shape: [3] },
  ];
  const variable = (key: string, shape: number[]) => ({ key, shape });

  it('ties nameless slots to parameters only where every shape agrees', () => {
    const inTurn = [[4, 3], [4, 3], [3], [3]].map((shape, i) => variable(`v${i}`, shape));
    expect(
      [...slotsByOrder('adam', inTurn, [[kernel, bias]]).values()].map((r) => [r.slot, r.parameter]),
    ).toEqual([
      ['m', 'kernel'],
      ['v', 'kernel'],
      ['m', 'bias'],
      ['v', 'bias'],
    ]);
    const inBlocks = [[4, 3], [3], [4, 3], [3]].map((shape, i) => variable(`v${i}`, shape));
    expect(
      [...slotsByOrder('adam', inBlocks, [[kernel, bias]]).values()].map((r) => [r.slot, r.parameter]),
    ).toEqual([
      ['m', 'kernel'],
      ['m', 'bias'],
      ['v', 'kernel'],
      ['v', 'bias'],
    ]);
    expect(slotsByOrder('adam', inTurn, [[bias, kernel]]).size).toBe(0);
    expect(slotsByOrder('adafactor', inTurn, [[kernel, bias]]).size).toBe(0);
    expect([...slotsByOrder('adagrad', inTurn, []).values()]).toEqual(
      inTurn.map(() => ({ role: 'optimizer_state', slot: 'accumulator' })),
    );
  });

  it.each([
    ['dense/kernel', [4, 3], 'IO'],
    ['conv2d/kernel', [3, 3, 4, 8], 'HWIO'],
    ['depthwise_conv2d/vars/0', [3, 3, 4, 1], 'none'],
    ['conv2d_transpose/vars/0', [3, 3, 4, 8], 'none'],
    ['embedding/embeddings', [10, 4], 'none'],
    ['dense/bias', [3], 'none'],
  ])('layout of %s', (name, shape, layout) => {
    expect(layoutOfKeras(name, shape)).toBe(layout);
  });
});

it('leaves the code of a Lambda layer where it is', async () => {
  const checkpoint = await openCheckpoint(fixture('keras3/lambda.keras'));
  expect(checkpoint.metadata.get('lambda_layers')).toBe('doubled (code in the file: not decoded, not run)');
  // The marshalled function is in the file, base64 in its config.
  expect(readFileSync(fixture('keras3/lambda.keras'), 'latin1')).toContain('__lambda__');
  expect(JSON.stringify([...checkpoint.metadata])).not.toContain('__lambda__');
  await checkpoint.close();
});
