/** Cut and mutated files of Keras, TensorFlow, tfjs, ONNX and Flax: a checkpoint or a coded error, always. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';
import { lookup3 } from '../../src/read/bytes/lookup3.ts';
import { type ProtobufField, protobufFields } from '../../src/read/bytes/protobuf.ts';
import { bytesSource } from '../../src/read/bytes/source.ts';
import { openZip } from '../../src/read/bytes/zip.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { readTable } from '../../src/read/checkpoints/tensorflow/tf-table.ts';
import { projectRoot } from '../support/shared-data.ts';
import {
  flaxSeeds,
  hdf5Seeds,
  keras3Hdf5Seeds,
  kerasSeeds,
  onnxSeeds,
  seedPath,
  tensorflowSeeds,
  tfjsSeeds,
} from './framework-seeds.ts';
import { cutEverywhere, fuzzFormat, type Mutator, mutateBytes, mutateText, type Random } from './fuzz.ts';
import { makeTable } from './make-table.ts';
import { makeZip } from './make-zip.ts';

const fixtures = join(projectRoot, 'fixtures/checkpoints');
const scratch = mkdtempSync(join(tmpdir(), 'robustness-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const hdf5 = [...hdf5Seeds, ...keras3Hdf5Seeds];
const TIME = 3_600_000;

describe('cut files never pass for whole', () => {
  // Those of HDF5 and Keras are test files of their own: cuts-*.test.ts.
  it.each([...tensorflowSeeds, ...tfjsSeeds, ...onnxSeeds, ...flaxSeeds])(
    '$name',
    (seed) => cutEverywhere(seed, seedPath(seed)),
    TIME,
  );
});

/** Points one address of a file at what another points at, or into the middle of it; makes checksums right again. */
const mutateHdf5: Mutator = (bytes, random, seeds) => {
  if (random.chance(0.4)) return mutateBytes(bytes, random, seeds);
  const file = Buffer.from(bytes);
  const addresses: number[] = [];
  for (let i = 8; i + 8 <= file.length; i += random.chance(0.5) ? 8 : 4)
    if (file.readUInt32LE(i + 4) === 0 && file.readUInt32LE(i) > 0 && file.readUInt32LE(i) < file.length)
      addresses.push(i);
  for (let times = 1 + random.below(3); times > 0 && addresses.length > 0; times--) {
    const place = random.pick(addresses);
    const value = random.pick([
      file.readUInt32LE(random.pick(addresses)),
      place,
      random.below(file.length),
      file.readUInt32LE(place) + random.pick([-8, -1, 1, 8, 24]),
      0xffffffff,
    ]);
    file.writeUInt32LE(value >>> 0, place);
  }
  sealHeaders(file);
  return new Uint8Array(file);
};

/** Checksums of version-2 object headers. */
function sealHeaders(file: Buffer): void {
  for (let i = file.indexOf('OHDR'); i >= 0; i = file.indexOf('OHDR', i + 4)) {
    const flags = file[i + 5]!;
    const prefix = 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
    const width = 1 << (flags & 3);
    if (width > 4 || i + prefix + width > file.length) continue;
    const end = i + prefix + width + file.readUIntLE(i + prefix, width);
    if (end + 4 <= file.length) file.writeUInt32LE(lookup3(file.subarray(i, end)), end);
  }
}

/** Mutates a member of the archive and packs it again with the right checksums. */
const kerasMembers = new Map<Uint8Array, { name: string; data: Uint8Array }[]>();
const mutateKeras: Mutator = (_, random, seeds) => {
  const members = kerasMembers.get(random.pick(seeds).bytes)!;
  const changed = random.pick(members).name;
  return makeZip(
    members.map(({ name, data }) => ({
      name,
      data:
        name !== changed
          ? data
          : name.endsWith('.json')
            ? Buffer.from(mutateText(Buffer.from(data).toString(), ['{}', '[]', '"Lambda"', 'true'], random))
            : mutateHdf5(data, random, hdf5),
      deflate: random.chance(0.3),
    })),
  );
};

/** Mutates entries of the index and writes the table again with the right checksums. */
const tableEntries = new Map<Uint8Array, Awaited<ReturnType<typeof readTable>>>();
const mutateIndex: Mutator = (bytes, random, seeds) => {
  if (random.chance(0.2)) return mutateBytes(bytes, random, seeds);
  const entries = tableEntries.get(random.pick(seeds).bytes)!.map((entry) => ({ ...entry }));
  for (let times = 1 + random.below(2); times > 0; times--) {
    const entry = random.pick(entries);
    const others = entries.map(({ value }) => ({ name: '', bytes: new Uint8Array([...value, ...value]) }));
    if (random.chance(0.15)) entry.key = mutateBytes(entry.key, random, others);
    else if (entry.value.length > 0 && random.chance(0.8))
      entry.value = mutateMessage(entry.value, { 2: { 2: {} }, 7: { 1: {} } }, random);
    else entry.value = mutateBytes(new Uint8Array(entry.value), random, others);
  }
  if (random.chance(0.05)) entries.push(random.pick(entries));
  return makeTable(entries, random.chance(0.3) ? 3 : 1000);
};

/** Mutates one field somewhere in the messages and makes all lengths around it right again. */
function mutateMessage(
  bytes: Uint8Array,
  nested: Readonly<Record<number, object>>,
  random: Random,
): Uint8Array {
  const fields: ProtobufField[] = [];
  try {
    fields.push(...protobufFields(bytes, '', ''));
  } catch {
    // Mutated already.
  }
  if (fields.length === 0) return mutateBytes(bytes, random, [{ name: '', bytes }]);
  const target = random.pick(fields);
  const parts = fields.flatMap((field) => {
    const { number, wire } = field;
    const inner = nested[number] as Readonly<Record<number, object>> | undefined;
    let value = field.bytes;
    if (field === target)
      value =
        inner !== undefined && wire === 2 && value.length > 0 && random.chance(0.9)
          ? mutateMessage(value, inner, random)
          : mutateBytes(value, random, [{ name: '', bytes }]);
    const written = [
      Buffer.from(varint(number * 8 + wire)),
      ...(wire === 2 ? [Buffer.from(varint(value.length))] : []),
      value,
    ];
    if (field === target && random.chance(0.05)) return [];
    return field === target && random.chance(0.1) ? [...written, ...written] : written;
  });
  return new Uint8Array(Buffer.concat(parts));
}
const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
const mutateOnnx: Mutator = (bytes, random, seeds) =>
  random.chance(0.25)
    ? mutateBytes(bytes, random, seeds)
    : mutateMessage(bytes, { 7: { 5: { 13: {} } } }, random);

/** Arrays with wrong shapes, types, lengths, nested in odd ways. */
const mutateFlax: Mutator = (bytes, random, seeds) => {
  if (random.chance(0.6)) return mutateBytes(bytes, random, seeds);
  const text = (value: string): number[] => [0xa0 + value.length, ...Buffer.from(value)];
  const array = (): number[] => {
    const data = random.below(20);
    const axes = random.below(4);
    const inner = [
      0x93,
      0x90 + axes,
      ...Array.from({ length: axes }, () => [random.pick([0, 1, 2, 4, 0x7f, 0xff, 0xc0])]).flat(),
      ...text(random.pick(['float32', 'int8', 'bool', 'bfloat16', 'object', '<V2'])),
      0xc4,
      data + (random.chance(0.1) ? 1 : 0),
      ...new Array<number>(data).fill(1),
    ];
    return [0xc7, inner.length, random.pick([1, 1, 1, 3, 2, 9]), ...inner];
  };
  const tree = (depth: number): number[] => {
    const members = 1 + random.below(3);
    const keys = ['a', 'b', 'a/b', '0', 'shape', 'chunks', '__msgpack_chunked_array__', 'opt_state', 'mu'];
    return [
      0x80 + members,
      ...Array.from({ length: members }, () => [
        ...text(random.pick(keys)),
        ...(depth > 0 && random.chance(0.4)
          ? tree(depth - 1)
          : random.chance(0.8)
            ? array()
            : [random.below(256)]),
      ]).flat(),
    ];
  };
  return Uint8Array.from(tree(4));
};

const mutateModel: Mutator = (bytes, random, seeds) =>
  random.chance(0.2)
    ? mutateBytes(bytes, random, seeds)
    : new Uint8Array(
        Buffer.from(
          mutateText(
            Buffer.from(bytes).toString(),
            [
              '"uint8"',
              '"uint16"',
              '"float16"',
              '"string"',
              '"bool"',
              '"complex64"',
              '"../x"',
              '[]',
              '{}',
              'true',
              '-1',
            ],
            random,
          ),
        ),
      );

describe('mutated files give a checkpoint or a coded error', () => {
  it('hdf5', () => fuzzFormat('hdf5', hdf5, mutateHdf5), TIME);
  it(
    'keras-v3',
    async () => {
      for (const { bytes } of kerasSeeds) {
        const members = [];
        for (const [name, member] of await openZip(bytesSource('seed', bytes)))
          members.push({ name, data: await member.read(2 ** 30) });
        kerasMembers.set(bytes, members);
      }
      await fuzzFormat('keras-v3', kerasSeeds, mutateKeras);
    },
    TIME,
  );
  it(
    'tf-checkpoint',
    async () => {
      for (const { bytes } of tensorflowSeeds)
        tableEntries.set(bytes, await readTable(bytesSource('seed', bytes)));
      // The shards of one seed serve all: what matters is that entries point anywhere.
      const path = join(fixtures, 'tensorflow/sharded.index');
      await fuzzFormat('tf-checkpoint', tensorflowSeeds, mutateIndex, undefined, undefined, path);
    },
    TIME,
  );
  it(
    'tfjs',
    () => fuzzFormat('tfjs', tfjsSeeds, mutateModel, undefined, undefined, seedPath(tfjsSeeds[0]!)),
    TIME,
  );
  it(
    'onnx',
    () => fuzzFormat('onnx', onnxSeeds, mutateOnnx, undefined, undefined, seedPath(onnxSeeds[0]!)),
    TIME,
  );
  it('flax-msgpack', () => fuzzFormat('flax-msgpack', flaxSeeds, mutateFlax), TIME);
});

const outcomeOf = async (path: string): Promise<string> => {
  try {
    const checkpoint = await openCheckpoint(path);
    try {
      for (const { name } of checkpoint.tensors) await checkpoint.read(name);
      return checkpoint.errors[0]?.id ?? 'read';
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (error instanceof DiagError) return error.code;
    throw error;
  }
};

describe('files beside a checkpoint', () => {
  const copies: readonly [string, string, string][] = [
    ['tensorflow', 'sharded.index', 'sharded.data-00000-of-00002'],
    ['tensorflow', 'keras3.index', 'keras3.data-00000-of-00001'],
    ['tfjs/layers', 'model.json', 'group1-shard3of7'],
    ['onnx', 'external.onnx', 'external.bin'],
  ];
  const copyOf = (folder: string): string => {
    const copy = join(scratch, folder);
    cpSync(join(fixtures, folder), copy, { recursive: true });
    return copy;
  };

  it.each(copies)('%s/%s: a cut %s is noticed at every length', async (folder, main, other) => {
    const copy = copyOf(folder);
    const whole = readFileSync(join(copy, other));
    for (let length = 0; length < whole.length; length += Math.max(1, Math.floor(whole.length / 40))) {
      writeFileSync(join(copy, other), whole.subarray(0, length));
      expect(await outcomeOf(join(copy, main)), `${length} bytes`).not.toBe('read');
    }
  });

  it('a flipped bit anywhere in a TensorFlow shard is noticed by its checksum', async () => {
    const copy = copyOf('tensorflow');
    const name = join(copy, 'tf1.ckpt-1.data-00000-of-00001');
    const whole = readFileSync(name);
    for (let i = 0; i < whole.length; i += 61) {
      const flipped = Buffer.from(whole);
      flipped[i]! ^= 1 << (i % 8);
      writeFileSync(name, flipped);
      expect(await outcomeOf(join(copy, 'tf1.ckpt-1.index')), `byte ${i}`).toBe('checksum-mismatch');
    }
  });

  it.each(copies)('%s/%s: a missing %s, and a FIFO in its place', async (folder, main, other) => {
    const copy = copyOf(folder);
    rmSync(join(copy, other));
    expect(await outcomeOf(join(copy, main))).toBe('file-missing');
    expect(spawnSync('mkfifo', [join(copy, other)]).status).toBe(0);
    expect(await outcomeOf(join(copy, main))).toBe('file-not-regular');
    rmSync(join(copy, other));
  });

  it('a table block with a wrong checksum is refused', async () => {
    const bytes = new Uint8Array(tensorflowSeeds[0]!.bytes);
    bytes[3]! ^= 1;
    writeFileSync(join(scratch, 'wrong.index'), bytes);
    expect(await outcomeOf(join(scratch, 'wrong.index'))).toBe('checksum-mismatch');
    expect(maskedCrc32c(crc32c(Buffer.from('123456789')))).toBe(
      (((0xe3069283 >>> 15) | (0xe3069283 << 17)) + 0xa282ead8) >>> 0,
    );
  });
});
