/** Cut, mutated and hostile files of the formats of this folder: a checkpoint or a coded error, always. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/read/bytes/source.ts';
import { openZip } from '../../src/read/bytes/zip.ts';
import { openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { projectRoot } from '../support/shared-data.ts';
import {
  cutEverywhere,
  type FuzzCheck,
  type FuzzSeed,
  fuzzFormat,
  type Mutator,
  mutateBytes,
  mutateText,
  type Random,
} from './fuzz.ts';
import { makeZip, type ZipEntry } from './make-zip.ts';

const fixtures = join(projectRoot, 'fixtures/checkpoints');
const seedsOf = (folder: string, pattern: RegExp): FuzzSeed[] =>
  readdirSync(join(fixtures, folder))
    .filter((name) => pattern.test(name))
    .map((name) => ({ name, bytes: new Uint8Array(readFileSync(join(fixtures, folder, name))) }));

const safetensors = seedsOf('safetensors', /\.safetensors$/);
const small = safetensors.filter(({ bytes }) => bytes.length < 10_000);
const torch = seedsOf('pytorch', /\.(pt|pth|ckpt)$/);
const isZip = ({ bytes }: FuzzSeed): boolean => bytes[0] === 0x50;
const torchZip = torch.filter(isZip);
const torchLegacy = torch.filter((seed) => !isZip(seed));
const npy = seedsOf('numpy', /\.npy$/);
const npz = seedsOf('numpy', /\.npz$/);
const TIME = 3_600_000;

describe('cut files never pass for whole', () => {
  it.each([...safetensors, ...torch, ...npy, ...npz])('$name', (seed) => cutEverywhere(seed), TIME);
});

/** Mutates the header and makes its length right again. */
const mutateSafetensors: Mutator = (bytes, random, seeds) => {
  if (random.chance(0.3)) return mutateBytes(bytes, random, seeds);
  const length = Number(Buffer.from(bytes).readBigUInt64LE(0));
  const words = [
    '"F64"',
    '"BF16"',
    '"F4"',
    '"dtype"',
    '"shape"',
    '"data_offsets"',
    '"__metadata__"',
    '"__proto__"',
    'true',
    '{}',
    '[]',
  ];
  const header = Buffer.from(
    mutateText(Buffer.from(bytes.subarray(8, 8 + length)).toString(), words, random),
  );
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  return new Uint8Array(Buffer.concat([prefix, header, bytes.subarray(8 + length)]));
};

/** The members of each seed, unpacked once. */
const membersOf = async (seeds: readonly FuzzSeed[]): Promise<Map<Uint8Array, ZipEntry[]>> => {
  const unpacked = new Map<Uint8Array, ZipEntry[]>();
  for (const { bytes } of seeds) {
    const entries: ZipEntry[] = [];
    for (const [name, member] of await openZip(bytesSource('seed', bytes)))
      entries.push({ name, data: await member.read(2 ** 30) });
    unpacked.set(bytes, entries);
  }
  return unpacked;
};

/** Mutates the members of an archive and packs them again, so that every checksum and size is right. */
const mutateZip =
  (unpacked: ReadonlyMap<Uint8Array, readonly ZipEntry[]>, isTable: (name: string) => boolean): Mutator =>
  (_, random, seeds) => {
    const seed = random.pick(seeds);
    const entries = unpacked.get(seed.bytes)!.map((entry) => ({ ...entry }));
    const tables = entries.filter(({ name }) => isTable(name));
    const target: ZipEntry =
      random.chance(0.8) && tables.length > 0 ? random.pick(tables) : random.pick(entries);
    const others = entries.map(({ name, data }) => ({ name, bytes: data }));
    const changed = entries.map((entry) =>
      entry.name === target.name ? mutateMember(entry, random, others) : entry,
    );
    if (random.chance(0.05)) changed.splice(random.below(changed.length), 1);
    if (random.chance(0.05)) changed.push(random.pick(entries));
    return makeZip(changed);
  };

const mutateMember = (entry: ZipEntry, random: Random, others: readonly FuzzSeed[]): ZipEntry => ({
  name: random.chance(0.03) ? random.pick(['../x', 'x', `${entry.name}x`, 'a\0']) : entry.name,
  data:
    entry.name.endsWith('.npy') && random.chance(0.7)
      ? mutateNpyHeader(entry.data, random)
      : mutateBytes(entry.data, random, others),
  deflate: random.chance(0.3),
  descriptor: random.chance(0.3),
  ...(random.chance(0.05) ? { local: { size: random.below(1000) } } : {}),
  ...(random.chance(0.05) ? { central: { size: random.pick([0, 1, 2 ** 31, 2 ** 32 - 2]) } } : {}),
});

/** Mutates the dict in the header and makes its length right again. */
const mutateNpyHeader = (bytes: Uint8Array, random: Random): Uint8Array => {
  const length = Buffer.from(bytes).readUInt16LE(8);
  const words = ["'<f8'", "'>f4'", "'|O'", "'<U3'", "'descr'", "'shape'", 'True', 'False', '()'];
  const header = Buffer.from(
    mutateText(Buffer.from(bytes.subarray(10, 10 + length)).toString('latin1'), words, random),
  );
  const prefix = Buffer.from(bytes.subarray(0, 10));
  prefix.writeUInt16LE(header.length, 8);
  return new Uint8Array(Buffer.concat([prefix, header, bytes.subarray(10 + length)]));
};

/** The pickles make up the first part of a legacy file; values behind them have no structure to break. */
const mutateLegacy: Mutator = (bytes, random, seeds) => {
  const end = Buffer.from(bytes).lastIndexOf('.') + 1;
  const pickles = mutateBytes(bytes.subarray(0, end), random, seeds);
  return new Uint8Array(Buffer.concat([pickles, bytes.subarray(end)]));
};

/** Values of every tensor of a seed as it was written. */
const originals = new Map<FuzzSeed, Map<string, unknown>>();
const sameValues: FuzzCheck = async (checkpoint, seed) => {
  if (!originals.has(seed)) {
    const whole = await openCheckpointSource(bytesSource('seed', seed.bytes));
    originals.set(
      seed,
      new Map(
        await Promise.all(whole.tensors.map(async ({ name }) => [name, await whole.read(name)] as const)),
      ),
    );
  }
  for (const { name } of checkpoint.tensors)
    expect(await checkpoint.read(name), name).toEqual(originals.get(seed)!.get(name));
};

describe('mutated files', () => {
  it('safetensors', () => fuzzFormat('safetensors', small, mutateSafetensors), TIME);
  it(
    'npy',
    () => fuzzFormat('npy', npy, (b, r, s) => (r.chance(0.3) ? mutateBytes(b, r, s) : mutateNpyHeader(b, r))),
    TIME,
  );
  it(
    'npz',
    async () =>
      fuzzFormat(
        'npz',
        npz,
        mutateZip(await membersOf(npz), () => true),
      ),
    TIME,
  );
  it(
    'PyTorch zip, checksums made right again',
    async () =>
      fuzzFormat(
        'pytorch-zip',
        torchZip,
        mutateZip(await membersOf(torchZip), (name) => name.endsWith('.pkl')),
      ),
    TIME,
  );
  it(
    'stable-baselines3, checksums made right again',
    async () => {
      const bytesOf = (name: string): Uint8Array => torch.find((seed) => seed.name === name)!.bytes;
      const archives = [
        ['policy.pth', bytesOf('views-zip.pt')],
        ['policy.optimizer.pth', bytesOf('adagrad-zip.pt')],
        ['pytorch_variables.pth', bytesOf('protocol-4-legacy.pt')],
      ].map(([name, data]) => ({ name, data }) as ZipEntry);
      const data = { name: 'data', data: new TextEncoder().encode('{"policy_class": {}}') };
      const seed = { name: 'stable-baselines3', bytes: makeZip([data, ...archives]) };
      const outer = mutateZip(await membersOf([seed]), (name) => name.endsWith('.pth'));
      // A changed byte of an inner archive seldom gets past its checksums: its own members are changed too.
      const policies = torchZip.slice(0, 4);
      const inner = mutateZip(await membersOf(policies), (name) => name.endsWith('.pkl'));
      const mutate: Mutator = (bytes, random, seeds) =>
        random.chance(0.4)
          ? outer(bytes, random, seeds)
          : makeZip([
              data,
              { name: 'policy.pth', data: inner(bytes, random, policies) },
              ...archives.slice(1),
            ]);
      await fuzzFormat('stable-baselines3', [seed], mutate);
    },
    TIME,
  );
  it('PyTorch legacy', () => fuzzFormat('pytorch-legacy', torchLegacy, mutateLegacy), TIME);

  // Every tensor of these covers its storage, so that each changed byte is under a checksum: what is read is right.
  const covered = [
    ...torchZip.filter(({ name }) => /^(adagrad|lightning|protocol)/.test(name)),
    ...npz.filter(({ name }) => name !== 'objects.npz'),
  ];
  it(
    'archives, checksums as they were: no wrong value',
    () => fuzzFormat('archives', covered, mutateBytes, undefined, sameValues),
    TIME,
  );

  const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'));
  afterAll(() => rmSync(scratch, { recursive: true }));
  it(
    'sharded index',
    () => {
      writeFileSync(join(scratch, 'a.safetensors'), small[0]!.bytes);
      writeFileSync(join(scratch, 'b.bin'), torch.find(({ name }) => name === 'protocol-3.pt')!.bytes);
      const map = JSON.parse(readFileSync(join(fixtures, 'safetensors/expected.json'), 'utf8')) as Record<
        string,
        { tensors: object }
      >;
      const index = {
        metadata: { total_size: 100 },
        weight_map: {
          ...Object.fromEntries(
            Object.keys(map[small[0]!.name]!.tensors).map((name) => [name, 'a.safetensors']),
          ),
          w: 'b.bin',
        },
      };
      const seed = { name: 'index', bytes: new TextEncoder().encode(JSON.stringify(index)) };
      const words = [
        '"a.safetensors"',
        '"b.bin"',
        '"../a.safetensors"',
        '"/dev/zero"',
        '"."',
        '"weight_map"',
        '"__proto__"',
        '{}',
        '[]',
      ];
      const mutate: Mutator = (bytes, random, seeds) =>
        random.chance(0.3)
          ? mutateBytes(bytes, random, seeds)
          : new TextEncoder().encode(mutateText(Buffer.from(bytes).toString(), words, random));
      return fuzzFormat(
        'safetensors-index',
        [seed],
        mutate,
        undefined,
        undefined,
        join(scratch, 'index.json'),
      );
    },
    TIME,
  );
});
