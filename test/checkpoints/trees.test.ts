/** Checkpoints that are folders (Orbax, zarr, shards of Keras): what a walk makes of them, and damaged ones. */
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { crc32c } from '../../src/read/bytes/crc32c.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { cpuLimit } from '../support/cpu-time.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';
import { FUZZ_COUNT, mutateBytes, mutateText, outcomeOfOpening, type Random, randomFrom } from './fuzz.ts';

const scratch = scratchFolders('trees');
const fixtures = join(projectRoot, 'fixtures/checkpoints');
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_130);

/** Each tree: its folder, and the file in it that is opened. */
const TREES = [
  ['orbax/ocdbt', '_METADATA'],
  ['orbax/plain', '_METADATA'],
  ['orbax/sharded', '_METADATA'],
  ['zarr/v2', '.zgroup'],
  ['zarr/v3', 'zarr.json'],
  ['keras3-shards', 'adam.weights.json'],
] as const;

describe('a walk', () => {
  it.each([...TREES, ['orbax/manager', '3/default/_METADATA'] as const])(
    'finds one checkpoint in %s, and says why it passes over the rest',
    async (tree, root) => {
      const folder = join(scratch(), 'tree');
      cpSync(join(fixtures, tree), folder, {
        recursive: true,
        filter: (path) => !/make\.py$|expected\.json$/.test(path),
      });
      const { checkpoints, logs, errors, skipped } = await collectInputs([folder]);
      expect(errors).toEqual([]);
      expect(logs).toEqual([]);
      expect(checkpoints).toEqual([join(folder, root)]);
      for (const { reason } of skipped) expect(reason).not.toContain('no known format');
    },
  );

  it('takes a log beside an Orbax checkpoint', async () => {
    const root = scratch();
    cpSync(join(fixtures, 'orbax/manager'), join(root, 'checkpoints'), { recursive: true });
    writeFileSync(join(root, 'log.csv'), 'step,loss\n1,2\n2,1\n');
    const { logs, checkpoints, errors } = await collectInputs([root]);
    expect(errors).toEqual([]);
    expect(logs).toHaveLength(1);
    expect(checkpoints).toEqual([join(root, 'checkpoints/3/default/_METADATA')]);
  });

  it('says which folder to give where a file of Orbax that holds no tree is named', async () => {
    const { errors } = await collectInputs([join(fixtures, 'orbax/ocdbt/_CHECKPOINT_METADATA')]);
    expect(errors.map(({ code }) => code)).toEqual(['format-unsupported']);
    expect(errors[0]!.hint).toContain('folder');
  });
});

const outcomeOf = (path: string): Promise<string> => outcomeOfOpening(() => openCheckpoint(path));

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile() && !/make\.py$|expected\.json$/.test(path))
    .sort();

/** Makes the checksums of a manifest or a node of OCDBT right again, so that the damage gets past them. */
function sealed(bytes: Buffer): Buffer {
  const magic = bytes.length >= 18 ? bytes.readUInt32BE(0) : 0;
  if (magic !== 0x0cdb3a2a && magic !== 0x0cdb20de) return bytes;
  bytes.writeBigUInt64LE(BigInt(bytes.length), 4);
  bytes.writeUInt32LE(crc32c(bytes, 0, bytes.length - 4), bytes.length - 4);
  return bytes;
}

/** What takes the place of a value of JSON. */
const WORDS = ['0', '-1', '1e15', '[]', '{}', 'null', '"<f8"', '"zstd"', '"/"', '4294967296', '"NaN"'];

function damaged(path: string, random: Random, others: readonly string[]): Buffer {
  const bytes = readFileSync(path);
  const seeds = [{ name: '', bytes: new Uint8Array(readFileSync(random.pick(others))) }];
  if (/\.json$|_METADATA$|\.zarray$/.test(path) && random.chance(0.8))
    return Buffer.from(mutateText(bytes.toString(), WORDS, random));
  const changed = Buffer.from(mutateBytes(new Uint8Array(bytes), random, seeds));
  return random.chance(0.7) ? sealed(changed) : changed;
}

describe('damaged trees are a checkpoint or a coded error, always', () => {
  it.each(TREES)(
    '%s',
    async (tree, root) => {
      const folder = scratch();
      cpSync(join(fixtures, tree), folder, { recursive: true });
      const files = filesOf(folder);
      const inTime = cpuLimit(5000);
      const codes = new Map<string, number>();
      // A folder takes ten times as long as a file.
      const count = Math.floor(FUZZ_COUNT / (FUZZ_COUNT > 3000 ? 10 : 3));
      for (let index = 0; index < count; index++) {
        const random = randomFrom(SEED + index * 7919);
        const path = random.pick(files);
        const whole = readFileSync(path);
        const label = `${tree}, CLIPPY_DIAG_FUZZ_SEED=${SEED}, number ${index}, ${path}`;
        if (random.chance(0.05)) rmSync(path);
        else writeFileSync(path, damaged(path, random, files));
        const outcome = await outcomeOf(join(folder, root)).catch((error: Error) => {
          throw new Error(`${label}: ${error.stack ?? error.message}`);
        });
        inTime(() => label);
        codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
        writeFileSync(path, whole);
      }
      expect(codes.get('read') ?? 0).toBeGreaterThan(0);
      expect(codes.size).toBeGreaterThan(2);
      if (process.env.CLIPPY_DIAG_FUZZ !== undefined)
        process.stderr.write(`fuzz ${tree}, seed ${SEED}: ${JSON.stringify(Object.fromEntries(codes))}\n`);
    },
    3_600_000,
  );

  it.each(['orbax/ocdbt', 'orbax/sharded'])(
    '%s: a flipped bit in a node never passes for whole',
    async (tree) => {
      const folder = scratch();
      cpSync(join(fixtures, tree), folder, { recursive: true });
      const path = join(folder, 'manifest.ocdbt');
      const whole = readFileSync(path);
      for (let bit = 0; bit < whole.length * 8; bit += 7) {
        const flipped = Buffer.from(whole);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        writeFileSync(path, flipped);
        expect(await outcomeOf(join(folder, '_METADATA')), `bit ${bit}`).not.toBe('read');
      }
    },
  );
});

describe('what a tree says and cannot hold', () => {
  const written = (files: Readonly<Record<string, string>>): string => {
    const folder = scratch();
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return folder;
  };
  const zarray = (more: object): string =>
    JSON.stringify({
      zarr_format: 2,
      shape: [4],
      chunks: [4],
      dtype: '<f4',
      compressor: null,
      fill_value: 0,
      filters: null,
      order: 'C',
      ...more,
    });

  it.each([
    ['more elements than its bytes can be', { shape: [1e15], chunks: [1e15] }, 'limit-exceeded'],
    ['more chunks than are there', { shape: [4_000_000], chunks: [1] }, 'limit-exceeded'],
    ['a codec that is not read', { compressor: { id: 'bz2' } }, 'format-unsupported'],
    ['filters', { filters: [{ id: 'delta' }] }, 'format-unsupported'],
    ['a type that is not read', { dtype: '<M8[s]' }, 'dtype-unsupported'],
    ['chunks of other axes', { chunks: [2, 2] }, 'checkpoint-malformed'],
  ])('%s', async (_, more, code) => {
    const folder = written({ '.zarray': zarray(more) });
    expect(await outcomeOf(join(folder, '.zarray'))).toBe(code);
  });

  it('an array of which no chunk is stored has its fill value', async () => {
    const folder = written({ '.zarray': zarray({ fill_value: 'NaN', shape: [3] }) });
    const checkpoint = await openCheckpoint(join(folder, '.zarray'));
    expect([...(await checkpoint.read(checkpoint.tensors[0]!.name))]).toEqual([NaN, NaN, NaN]);
    await checkpoint.close();
  });

  it('a leaf of an Orbax tree without an array is an error and is counted as lost', async () => {
    const folder = scratch();
    cpSync(join(fixtures, 'orbax/plain'), folder, { recursive: true });
    rmSync(join(folder, 'params.wide'), { recursive: true });
    const checkpoint = await openCheckpoint(join(folder, '_METADATA'));
    expect(checkpoint.errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('"params/wide" is in the tree and has no array'),
    ]);
    expect((await checkpoint.account()).lost).toMatchObject([{ reason: 'absent', records: 1 }]);
    await checkpoint.close();
  });

  it('a table of files cannot lead out of the folder', async () => {
    const folder = scratch();
    cpSync(join(fixtures, 'keras3-shards'), folder, { recursive: true });
    writeFileSync(
      join(folder, 'adam.weights.json'),
      JSON.stringify({ weight_map: { '/layers/dense/vars': ['../other.weights.h5'] } }),
    );
    expect(await outcomeOf(join(folder, 'adam.weights.json'))).toBe('path-leaves-folder');
  });
});
