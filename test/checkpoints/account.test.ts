/** The account of a checkpoint: tensors are its records, and what is read when tensors are read is what it says. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspectCheckpoint } from '../../src/app/engine/checkpoint-inspect.ts';
import type { Checkpoint } from '../../src/model/checkpoint.ts';
import type { Account } from '../../src/model/log.ts';
import { type ByteSource, bytesSource, openFile } from '../../src/read/bytes/source.ts';
import { DTYPE_BYTES } from '../../src/read/checkpoints/dtypes.ts';
import {
  openCheckpoint,
  openCheckpointSource,
  partOfCheckpoint,
} from '../../src/read/checkpoints/registry.ts';
import { accountOf } from '../../src/read/checkpoints/stored-bytes.ts';
import { accountFault } from '../support/closes.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixtures = join(projectRoot, 'fixtures/checkpoints');
/** Without what is read through another file, as a walk goes. */
function filesUnder(folder: string): string[] {
  const names = readdirSync(folder);
  return names.flatMap((name) => {
    const path = join(folder, name);
    const kind = statSync(path).isDirectory() ? 'folder' : 'file';
    if (partOfCheckpoint(name, kind, new Set(names)) !== undefined) return [];
    return kind === 'folder' ? filesUnder(path) : [path];
  });
}
const scratchFolder = scratchFolders('account');
/** Files that are read through another one are opened there. */
const paths = filesUnder(fixtures).filter(
  (path) =>
    !/\.(py|md|mjs)$|expected[^/]*\.json$|\.data-\d+-of-\d+$|\.bin$|group\d+-shard|facts|\/checkpoint$/.test(
      path,
    ),
);

/** Records which bytes are asked for. */
function watched(source: ByteSource): ByteSource & { readonly asked: Uint8Array } {
  const asked = new Uint8Array(source.byteLength);
  return {
    path: source.path,
    byteLength: source.byteLength,
    asked,
    slice: (start, end) => {
      asked.fill(1, start, end);
      return source.slice(start, end);
    },
    close: () => source.close(),
  };
}

const valueBytes = ({ tensors }: Checkpoint): number =>
  tensors.reduce((sum, { elements, dtype }) => sum + elements * DTYPE_BYTES[dtype], 0);

describe('accountOf', () => {
  const naive = (bytes: number, claims: readonly (readonly [number, number])[][]): number[] => {
    const owner = new Array<number>(bytes).fill(3);
    for (let kind = claims.length - 1; kind >= 0; kind--)
      for (const [start, end] of claims[kind]!) owner.fill(kind, start, end);
    return [0, 1, 2, 3].map((kind) => owner.filter((one) => one === kind).length);
  };
  it('counts a byte once, for what is read before what is lost before what is passed over', () => {
    let state = 7;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
    for (let round = 0; round < 2_000; round++) {
      const bytes = 1 + below(60);
      const claims = [0, 1, 2].map(() =>
        Array.from({ length: below(5) }, () => {
          const start = below(bytes);
          return [start, start + below(bytes - start + 1)] as const;
        }),
      );
      const [read, lost, passedOver] = claims.map((list) => list.map(([start, end]) => ({ start, end })));
      const account = accountOf(
        {
          bytes,
          passedOver: passedOver!,
          lost: lost!.map((extent) => ({ reason: 'damaged', tensors: 1, extent })),
        },
        read!,
      );
      const lostBytes = account.lost.reduce((sum, one) => sum + one.bytes, 0);
      expect([account.records, lostBytes, account.passedOver, account.overhead]).toEqual(
        naive(bytes, claims),
      );
      expect(account.lost.reduce((sum, one) => sum + one.records!, 0)).toBe(lost!.length);
      expect(accountFault(account)).toBeUndefined();
    }
  });
});

describe('the account of a checkpoint', () => {
  it('closes for every file of every framework, and nothing of them is lost', async () => {
    let raw = 0;
    for (const path of paths) {
      const checkpoint = await openCheckpoint(path);
      const account = await checkpoint.account();
      expect(accountFault(account), path).toBeUndefined();
      const unread = checkpoint.errors.filter(({ id }) => !/unsupported|object-array|external/.test(id));
      expect(account.lost, path).toEqual(unread.length === 0 ? [] : expect.anything());
      // Formats that store each tensor as it is, once.
      if (/safetensors$|\.npy$|\.msgpack$|tensorflow[^/]*\/(?!.*(string|partition))/.test(path)) {
        expect(account.records, path).toBe(valueBytes(checkpoint));
        raw++;
      }
      await checkpoint.close();
    }
    expect(raw).toBeGreaterThan(20);
    expect(paths.length).toBeGreaterThan(60);
  });

  it('has the bytes that reading the tensors reads', async () => {
    let compared = 0;
    for (const path of paths) {
      const source = watched(await openFile(path));
      const checkpoint = await openCheckpointSource(source);
      const account = await checkpoint.account();
      source.asked.fill(0);
      for (const { name } of checkpoint.tensors) for await (const _ of checkpoint.stream(name));
      const read = source.asked.reduce((sum, one) => sum + one, 0);
      await checkpoint.close();
      // Of several files only the first is watched; an HDF5 file has its index of chunks read again.
      if (account.bytes !== source.byteLength) continue;
      const again = /\.(h5|hdf5)$/.test(path)
        ? 40_000
        : /\.npz$/.test(path)
          ? 128 * checkpoint.tensors.length
          : 0;
      expect(read, path).toBeGreaterThanOrEqual(/\.(h5|hdf5|keras)$/.test(path) ? 0 : account.records);
      expect(read, path).toBeLessThanOrEqual(account.records + again + (/\.keras$/.test(path) ? 40_000 : 0));
      compared++;
    }
    expect(compared).toBeGreaterThan(40);
  });

  it('tells where a cut safetensors file was cut, tensor by tensor', async () => {
    const path = paths.find((one) => one.endsWith('.safetensors') && statSync(one).size > 300)!;
    const whole = new Uint8Array(readFileSync(path));
    const of = async (end: number): Promise<Account> =>
      (await openCheckpointSource(bytesSource('cut.safetensors', whole.subarray(0, end)))).account();
    const full = await of(whole.length);
    const header = full.overhead;
    for (let end = header; end < whole.length; end++) {
      const account = await of(end);
      expect(accountFault(account), `cut at ${end}`).toBeUndefined();
      expect(account).toMatchObject({ bytes: end, overhead: header, passedOver: 0 });
      const [lost] = account.lost;
      expect(lost).toMatchObject({ reason: 'cut-off', bytes: end - header - account.records });
      expect(lost!.at).toBe(header + account.records);
    }
  });

  it('counts a tensor whose checksum is another as lost once it was read', async () => {
    const folder = scratchFolder();
    const from = join(fixtures, 'tensorflow');
    await cp(from, folder, { recursive: true });
    const index = readdirSync(folder).find((name) => name.endsWith('.index'))!;
    const data = join(folder, index.replace(/\.index$/, '.data-00000-of-00001'));
    const before = await inspectCheckpoint(join(folder, index));
    const bytes = readFileSync(data);
    bytes[100]! ^= 1;
    writeFileSync(data, bytes);
    const { account, errors } = await inspectCheckpoint(join(folder, index));
    expect(errors.map(({ id }) => id)).toEqual(['checksum-mismatch']);
    expect(account.lost).toEqual([
      {
        reason: 'bad-checksum',
        records: 1,
        bytes: before.account.records - account.records,
        at: expect.any(Number),
      },
    ]);
    expect(accountFault(account)).toBeUndefined();
    rmSync(data);
    const without = (await inspectCheckpoint(join(folder, index))).account;
    expect(without).toMatchObject({ records: 0, lost: [{ reason: 'absent', bytes: 0 }] });
    expect(accountFault(without)).toBeUndefined();
  });

  it('counts all files of a sharded checkpoint', async () => {
    const folder = join(scratchFolder(), 'shards');
    mkdirSync(folder);
    const path = paths.find((one) => one.endsWith('.safetensors') && statSync(one).size > 300)!;
    const shard = await openCheckpoint(path);
    const names = shard.tensors.map(({ name }) => name);
    const own = await shard.account();
    await shard.close();
    writeFileSync(join(folder, 'a.safetensors'), readFileSync(path));
    const index = JSON.stringify({
      weight_map: Object.fromEntries(names.map((name) => [name, 'a.safetensors'])),
    });
    writeFileSync(join(folder, 'model.safetensors.index.json'), index);
    const { account } = await inspectCheckpoint(join(folder, 'model.safetensors.index.json'));
    expect(account).toEqual({
      ...own,
      bytes: own.bytes + index.length,
      overhead: own.overhead + index.length,
    });
    expect(accountFault(account)).toBeUndefined();
    expect(names.length).toBeGreaterThan(1);
  });
});
