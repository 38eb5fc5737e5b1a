/** Files of 20 GB, sparse on disk: listed by their headers, read where they are asked, never held in memory. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { crc32 } from '../../src/read/bytes/crc32.ts';
import { countingSource, openFile } from '../../src/read/bytes/source.ts';
import { openCheckpoint, openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { cpuTime } from '../support/cpu-time.ts';
import { projectRoot } from '../support/shared-data.ts';
import { makeTable } from './make-table.ts';

const scratch = mkdtempSync(join(tmpdir(), 'huge-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const GB = 2 ** 30;
const ELEMENTS = 5 * GB;
const BYTES = 4 * ELEMENTS;
/** An entry beyond 4 GiB that is not zero, and where it lies. */
const MARK = { index: 3 * GB + 5, value: 42.5 };

/** Writes pieces at offsets; what lies between takes no room on disk. */
async function writeSparse(
  path: string,
  size: number,
  pieces: readonly [number, Uint8Array][],
): Promise<void> {
  const file = await open(path, 'w');
  await file.truncate(size);
  for (const [at, bytes] of pieces) await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const le = (width: number, value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.subarray(0, width);
};
const mark = (start: number): [number, Uint8Array] => [
  start + 4 * MARK.index,
  new Uint8Array(Float32Array.of(MARK.value).buffer),
];
const tensor = (offset: number, size: number): string =>
  `ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nL${ELEMENTS}L\ntQL${offset}L\n(L${size}L\nt(I1\ntI00\nNtR`;
const PICKLE = latin1(`(dS'w'\n${tensor(0, ELEMENTS)}sS'view'\n${tensor(MARK.index - 1, 3)}s.`);

async function safetensors(path: string): Promise<void> {
  const header = latin1(
    JSON.stringify({
      w: { dtype: 'F32', shape: [ELEMENTS - 3], data_offsets: [0, BYTES - 12] },
      view: { dtype: 'F32', shape: [3], data_offsets: [BYTES - 12, BYTES] },
    }),
  );
  const start = 8 + header.length;
  const last = new Uint8Array(Float32Array.of(0, MARK.value, 0).buffer);
  await writeSparse(path, start + BYTES, [
    [0, le(8, header.length)],
    [8, header],
    [start + BYTES - 12, last],
  ]);
}

async function pytorchZip(path: string): Promise<void> {
  const zip64 = (...fields: number[]): Buffer =>
    Buffer.concat([le(2, 1), le(2, 8 * fields.length), ...fields.map((field) => le(8, field))]);
  const entry = (name: string, crc: number, size: number, offset: number) => {
    const wide = size > 0xffffffff;
    const sizes = Buffer.concat([
      le(4, crc),
      le(4, wide ? 0xffffffff : size),
      le(4, wide ? 0xffffffff : size),
    ]);
    const extra = wide ? zip64(size, size) : Buffer.alloc(0);
    const common = Buffer.concat([
      latin1('\x2d\0\0\0\0\0\0\0\0\0'),
      sizes,
      le(2, name.length),
      le(2, extra.length),
    ]);
    return {
      local: Buffer.concat([latin1('PK\x03\x04'), common, latin1(name), extra]),
      central: Buffer.concat([
        latin1('PK\x01\x02\0\0'),
        common,
        Buffer.alloc(10),
        le(4, offset),
        latin1(name),
        extra,
      ]),
    };
  };
  const pickle = entry('a/data.pkl', crc32(PICKLE), PICKLE.length, 0);
  const dataHeaderAt = pickle.local.length + PICKLE.length;
  // The checksum of 20 GB is not computed: nothing here reads the storage whole.
  const data = entry('a/data/0', 1, BYTES, dataHeaderAt);
  const start = dataHeaderAt + data.local.length;
  const directory = Buffer.concat([pickle.central, data.central]);
  const directoryAt = start + BYTES;
  const counts = Buffer.concat([le(8, 2), le(8, 2), le(8, directory.length), le(8, directoryAt)]);
  const end = Buffer.concat([
    ...[latin1('PK\x06\x06'), le(8, 44), le(2, 45), le(2, 45), le(4, 0), le(4, 0), counts],
    ...[latin1('PK\x06\x07'), le(4, 0), le(8, directoryAt + directory.length), le(4, 1)],
    ...[
      latin1('PK\x05\x06'),
      le(4, 0),
      le(2, 2),
      le(2, 2),
      le(4, directory.length),
      le(4, 0xffffffff),
      le(2, 0),
    ],
  ]);
  await writeSparse(path, directoryAt + directory.length + end.length, [
    [0, Buffer.concat([pickle.local, PICKLE, data.local])],
    mark(start),
    [directoryAt, Buffer.concat([directory, end])],
  ]);
}

async function pytorchLegacy(path: string): Promise<void> {
  const pickles = Buffer.concat([
    Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex'),
    latin1('\x80\x02M\xe9\x03.'),
    latin1("(dS'little_endian'\nI01\ns."),
    PICKLE,
    latin1("(lS'0'\na."),
    le(8, ELEMENTS),
  ]);
  await writeSparse(path, pickles.length + BYTES, [[0, pickles], mark(pickles.length)]);
}

async function npy(path: string): Promise<void> {
  const header = latin1(`{'descr': '<f4', 'fortran_order': False, 'shape': (${ELEMENTS},), }\n`);
  const start = 10 + header.length;
  await writeSparse(path, start + BYTES, [
    [0, Buffer.concat([latin1('\x93NUMPY\x01\0'), le(2, header.length), header])],
    mark(start),
  ]);
}

/** A file of h5py that claims 32 GiB in 16 bytes, with the bytes added. */
async function hdf5(path: string): Promise<void> {
  const file = readFileSync(join(projectRoot, 'fixtures/hostile/hdf5-shape-larger-than-bytes.h5'));
  // Layout message: version 3, contiguous, address, size.
  const layout = file.indexOf(Buffer.concat([latin1('\x03\x01'), le(8, 2048), le(8, 16)]));
  le(8, 32 * GB).copy(file, layout + 10);
  await writeSparse(path, 2048 + 32 * GB, [[0, file.subarray(0, 2048)], mark(2048)]);
}

/** A tensor of 20 GB in chunks of 2 GB, as Flax writes arrays above 1 GiB. */
async function flax(path: string): Promise<void> {
  const text = (value: string): Buffer => latin1(String.fromCharCode(0xa0 + value.length) + value);
  const be = (width: number, value: number): Buffer => le(8, value).subarray(0, width).reverse();
  const size = 2 * GB;
  const pieces: [number, Uint8Array][] = [];
  let at = 0;
  const put = (...parts: Buffer[]): void => {
    const bytes = Buffer.concat(parts);
    pieces.push([at, bytes]);
    at += bytes.length;
  };
  const count = BYTES / size;
  put(latin1('\x81'), text('w'), latin1('\x83'), latin1(`\xb9__msgpack_chunked_array__\xc3`), text('shape'));
  put(
    latin1('\x81'),
    text('0'),
    latin1('\xcf'),
    be(8, ELEMENTS),
    text('chunks'),
    latin1(String.fromCharCode(0x80 + count)),
  );
  for (let i = 0; i < count; i++) {
    const shape = Buffer.concat([
      latin1('\x93\x91\xce'),
      be(4, size / 4),
      text('float32'),
      latin1('\xc6'),
      be(4, size),
    ]);
    put(text(String(i)), latin1('\xc9'), be(4, shape.length + size), latin1('\x01'), shape);
    at += size;
  }
  await writeSparse(path, at, pieces);
}

describe('files of 20 GB', () => {
  it.each([
    ['safetensors', safetensors],
    ['pytorch-zip', pytorchZip],
    ['pytorch-legacy', pytorchLegacy],
    ['npy', npy],
    ['keras-h5', hdf5],
    ['flax-msgpack', flax],
  ])('%s', async (format, write) => {
    const path = join(scratch, format);
    await write(path);
    const source = countingSource(await openFile(path));
    expect(source.byteLength).toBeGreaterThan(20 * GB);
    const cpu = cpuTime();
    const checkpoint = await openCheckpointSource(source);
    // Measured: a few milliseconds. A second is the promise.
    expect(cpu()).toBeLessThan(1000);
    expect([checkpoint.format, checkpoint.errors]).toEqual([format, []]);
    const [whole] = checkpoint.tensors;
    expect(whole!.elements).toBeGreaterThanOrEqual(ELEMENTS - 3);
    const listed = source.bytesRead();
    expect(listed).toBeLessThan(200_000);

    const before = process.memoryUsage().rss;
    for await (const piece of checkpoint.stream(whole!.name)) {
      expect(piece.length).toBeLessThanOrEqual(2 ** 20);
      break;
    }
    expect(source.bytesRead() - listed).toBeLessThan(10 * 2 ** 20);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20);

    const view = checkpoint.tensors.find(({ name }) => name === 'view');
    if (view !== undefined) {
      const read = source.bytesRead();
      expect(await checkpoint.read('view')).toEqual(Float32Array.of(0, MARK.value, 0));
      expect(source.bytesRead() - read).toBe(12);
    }
    await checkpoint.close();
    rmSync(path);
  });
});

describe('20 GB beside a small file', () => {
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
  const count = (number: number, value: number): Buffer =>
    Buffer.from([...varint(number * 8), ...varint(value)]);
  const message = (number: number, ...parts: Uint8Array[]): Buffer => {
    const content = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(content.length)]), content]);
  };
  const external = Object.entries({ location: 'onnx.bin' }).map(([key, value]) =>
    message(13, message(1, latin1(key)), message(2, latin1(value))),
  );
  it.each([
    [
      'tf-checkpoint',
      'tf.index',
      'tf.data-00000-of-00001',
      makeTable([
        { key: new Uint8Array(0), value: count(1, 1) },
        {
          key: latin1('w'),
          value: Buffer.concat([count(1, 1), message(2, message(2, count(1, ELEMENTS))), count(5, BYTES)]),
        },
      ]),
    ],
    [
      'tfjs',
      'model.json',
      'group1-shard1of1',
      latin1(
        JSON.stringify({
          weightsManifest: [
            { paths: ['group1-shard1of1'], weights: [{ name: 'w', shape: [ELEMENTS], dtype: 'float32' }] },
          ],
        }),
      ),
    ],
    [
      'onnx',
      'model.onnx',
      'onnx.bin',
      Buffer.concat([
        count(1, 8),
        message(
          7,
          message(5, count(1, ELEMENTS), count(2, 1), message(8, latin1('w')), ...external, count(14, 1)),
        ),
        message(8, count(2, 18)),
      ]),
    ],
  ])('%s', async (format, main, other, bytes) => {
    writeFileSync(join(scratch, main), bytes);
    await writeSparse(join(scratch, other), BYTES, [mark(0)]);
    const cpu = cpuTime();
    const checkpoint = await openCheckpoint(join(scratch, main));
    expect(cpu()).toBeLessThan(1000);
    expect([checkpoint.format, checkpoint.errors]).toEqual([format, []]);
    expect(checkpoint.tensors[0]).toMatchObject({ name: 'w', dtype: 'F32', elements: ELEMENTS });
    const before = process.memoryUsage().rss;
    for await (const piece of checkpoint.stream('w')) {
      expect(piece.length).toBeLessThanOrEqual(2 ** 20);
      break;
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20);
    await checkpoint.close();
  });
});
