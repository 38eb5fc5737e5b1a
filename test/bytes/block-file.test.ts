/** The temporary file for the numbers of watched logs: nobody finds it, a block is written once, and a full disk is said. */
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BLOCK, type Column, ColumnBuilder, copyOf, keepBlocksIn } from '../../src/model/column.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';
import { scratchFolders } from '../support/scratch.ts';

const disk = vi.hoisted(() => ({ isFull: false, written: 0 }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  return {
    ...fs,
    writeSync: (...args: [number, Uint8Array, number, number, number]) => {
      if (disk.isFull) throw new Error('ENOSPC: no space left on device, write');
      disk.written += args[3];
      return fs.writeSync(...args);
    },
  };
});

const scratch = scratchFolders('block-file');
let folder: string;
beforeEach(() => {
  folder = scratch();
  vi.stubEnv('TMPDIR', folder);
  Object.assign(disk, { isFull: false, written: 0 });
});
afterEach(() => {
  keepBlocksIn(undefined);
  vi.unstubAllEnvs();
});

const losses = (count: number, seed = 1): Float64Array =>
  Float64Array.from({ length: count }, (_, k) => Math.sin(k + seed));
function columnOf(values: Float64Array): Column {
  const made = new ColumnBuilder();
  for (const value of values) made.push(value);
  return made.finish();
}

it.runIf(process.platform === 'linux')('has no name, and nobody else may read it', () => {
  keepBlocksIn(new BlockFile(expect.unreachable));
  columnOf(losses(2 * BLOCK + 1));
  expect(readdirSync(folder)).toEqual([]);
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = `/proc/self/fd/${fd}`;
      return readlinkSync(path).startsWith(folder) ? [statSync(path)] : [];
    } catch {
      return [];
    }
  });
  expect(open.map(({ mode, nlink }) => [mode & 0o777, nlink])).toEqual([[0o600, 0]]);
});

it('a column that is made again is written once', () => {
  keepBlocksIn(new BlockFile(expect.unreachable));
  const values = losses(50 * BLOCK + 1);
  const first = columnOf(values);
  expect(disk.written).toBe(50 * BLOCK * 8);
  const second = columnOf(values);
  expect(disk.written).toBe(50 * BLOCK * 8);
  expect([copyOf(first), copyOf(second)]).toEqual([values, values]);
});

it('gives the places of columns that are gone to others', async () => {
  const file = new BlockFile(expect.unreachable);
  const put = vi.spyOn(file, 'put');
  keepBlocksIn(file);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const kept = losses(20 * BLOCK + 1, 0.5);
  const column = columnOf(kept);
  for (let round = 0; round < 12; round++) {
    columnOf(losses(1000 * BLOCK + 1, round));
    put.mockClear();
    await wait(0);
    collect();
    await wait(10);
  }
  columnOf(losses(BLOCK + 1, 99));
  // Those in the cache of blocks are held; without places that are used again it would be 12,000.
  expect(put.mock.results.at(-1)!.value.place).toBeLessThan(6000);
  expect(copyOf(column)).toEqual(kept);
});

it('blocks of other numbers, or of another kind, are others', () => {
  const file = new BlockFile(expect.unreachable);
  const put = (low: number, kind: number) =>
    file.put(new Uint8Array(Float64Array.from({ length: BLOCK }, () => low).buffer), kind)!;
  expect(put(1, 0)).toBe(put(1, 0));
  expect(put(1, 0)).not.toBe(put(2, 0));
  expect(put(1, 0)).not.toBe(put(1, 1));
});

it.each([
  ['a disk that is full', () => Object.assign(disk, { isFull: true }), 'ENOSPC'],
  ['a folder that is not there', () => vi.stubEnv('TMPDIR', `${folder}/gone`), 'ENOENT'],
])('%s is said once; numbers are in memory from there on', (_, breakIt, why) => {
  const said: string[] = [];
  keepBlocksIn(new BlockFile((text) => said.push(text)));
  const values = losses(9 * BLOCK + 1);
  const before = why === 'ENOSPC' ? columnOf(values) : undefined;
  breakIt();
  const after = columnOf(losses(9 * BLOCK + 1, 7));
  columnOf(losses(BLOCK + 1, 8));
  expect(said).toEqual([expect.stringMatching(`stay in memory .*${why}.*TMPDIR`)]);
  expect(copyOf(after)).toEqual(losses(9 * BLOCK + 1, 7));
  if (before !== undefined) expect(copyOf(before)).toEqual(values);
});
