/** Folders that hold one thing in several files. */
import { mkdir, readdir } from 'node:fs/promises';
import { diagError } from '../model/errors.ts';
import { kindOfPath, unreadable } from './source.ts';

/** Names in a folder, sorted; null where the path is no folder. @throws file-unreadable */
export async function listFolder(path: string): Promise<string[] | null> {
  if ((await kindOfPath(path)) !== 'folder') return null;
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Makes a folder and those above it. @throws output-unwritable */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw diagError('output-unwritable', { path, reason: (error as Error).message }, { path }, error);
  }
}
