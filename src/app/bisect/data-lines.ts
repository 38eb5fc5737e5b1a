/** Lines in which two files of data differ, or files in which two folders do, and data with some of the bad ones. */
import { copyFile, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { counted } from '../../model/format-number.ts';
import type { Dimension } from './dimension.ts';

/** A file that is mixed line by line is held in memory twice. */
const LARGEST = 1 << 28;

/** @throws usage where one is a folder and the other a file, or a file is too large */
export async function dataOf(good: string, bad: string): Promise<Dimension> {
  const [goodStat, badStat] = [await lstat(good), await lstat(bad)];
  if (goodStat.isDirectory() !== badStat.isDirectory())
    throw diagError('usage', {
      problem: `${good} and ${bad} are a folder and a file`,
      hint: 'give --data two files of lines, or two folders',
    });
  if (goodStat.isDirectory()) return foldersOf(good, bad);
  if (Math.max(goodStat.size, badStat.size) > LARGEST)
    throw diagError('usage', {
      problem: `${good} or ${bad} is larger than 256 MB and cannot be mixed line by line`,
      hint: 'give --data two folders of shards, whose files are then exchanged',
    });
  return linesOf(good, bad);
}

/** Bytes are kept as they are: each line with its end. */
function splitLines(bytes: Buffer): string[] {
  const lines = bytes.toString('latin1').split(/(?<=\n)/);
  return lines[0] === '' ? [] : lines;
}

async function linesOf(good: string, bad: string): Promise<Dimension> {
  const [a, b] = [splitLines(await readFile(good)), splitLines(await readFile(bad))];
  const differing = Array.from({ length: Math.max(a.length, b.length) }, (_, k) => k).filter(
    (k) => a[k] !== b[k],
  );
  const line = (text: string | undefined): string | null => text?.trimEnd().slice(0, 200) ?? null;
  return {
    placeholder: 'data',
    ordered: false,
    changes: differing.map((k) => ({
      kind: 'data',
      name: `line ${k + 1}`,
      good: line(a[k]),
      bad: line(b[k]),
    })),
    async write(chosen, folder) {
      const taken = new Set(chosen.map((k) => differing[k]!));
      const mixed = Array.from(
        { length: Math.max(a.length, b.length) },
        (_, k) => (taken.has(k) ? b[k] : a[k]) ?? '',
      );
      const path = join(folder, basename(good));
      await writeFile(path, Buffer.from(mixed.join(''), 'latin1'));
      return path;
    },
  };
}

/** Regular files below a folder; links are not followed. */
async function filesBelow(folder: string, below = ''): Promise<string[]> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries.sort((x, y) => (x.name < y.name ? -1 : 1))) {
    const path = join(below, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(folder, path)));
    else if (entry.isFile()) found.push(path);
  }
  return found;
}

async function sameBytes(a: string, b: string): Promise<boolean> {
  const [x, y] = [await lstat(a), await lstat(b)];
  return x.size === y.size && (await readFile(a)).equals(await readFile(b));
}

async function foldersOf(good: string, bad: string): Promise<Dimension> {
  const [a, b] = [new Set(await filesBelow(good)), new Set(await filesBelow(bad))];
  const differing: string[] = [];
  for (const path of [...new Set([...a, ...b])].sort())
    if (!(a.has(path) && b.has(path) && (await sameBytes(join(good, path), join(bad, path)))))
      differing.push(path);
  const size = async (side: string, has: boolean, path: string): Promise<string | null> =>
    has ? counted((await lstat(join(side, path))).size, 'byte') : null;
  const changes = [];
  for (const name of differing)
    changes.push({
      kind: 'data' as const,
      name,
      good: await size(good, a.has(name), name),
      bad: await size(bad, b.has(name), name),
    });
  return {
    placeholder: 'data',
    ordered: false,
    changes,
    async write(chosen, folder) {
      const taken = new Set(chosen.map((k) => differing[k]!));
      const root = join(folder, basename(good));
      await mkdir(root);
      for (const path of new Set([...a, ...b])) {
        const [side, has] = taken.has(path) ? [bad, b] : [good, a];
        if (!has.has(path)) continue;
        await mkdir(dirname(join(root, path)), { recursive: true });
        await copyFile(join(side, path), join(root, path));
      }
      return root;
    },
  };
}
