/** Deletes files of one kind in a folder. */
import { lstat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { listFolder } from './folder.ts';

/**
 * Deletes the files of a folder whose names end so. A folder that is a link is left alone: in what a stranger wrote it may
 * lead anywhere.
 *
 * @returns how many files there were, and their bytes; null for a link
 */
export async function deleteFiles(
  folder: string,
  ending: string,
): Promise<{ readonly files: number; readonly bytes: number } | null> {
  const about = await lstat(folder).catch(() => null);
  if (about === null) return { files: 0, bytes: 0 };
  if (about.isSymbolicLink()) return null;
  const names = ((await listFolder(folder)) ?? []).filter((name) => name.endsWith(ending));
  let bytes = 0;
  for (const name of names) {
    bytes += (await lstat(join(folder, name))).size;
    await unlink(join(folder, name));
  }
  return { files: names.length, bytes };
}
