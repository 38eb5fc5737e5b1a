/** Folders that hold one thing in several files. */
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DiagError, diagError } from '../../model/errors.ts';
import { checkConfined, kindOfPath, type PathKind, unreadable } from './source.ts';

/** Names in a folder, sorted; null where the path is no folder. @throws file-unreadable */
export async function listFolder(path: string): Promise<string[] | null> {
  if ((await kindOfPath(path)) !== 'folder') return null;
  await checkConfined(path);
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Something in a folder. Links are followed; `kind` is an error where that is forbidden. */
export interface FolderEntry {
  readonly name: string;
  readonly path: string;
  readonly kind: PathKind | DiagError;
  /** It is a link to what it is. */
  readonly linked: boolean;
}

/**
 * What lies in a folder, in the order of the names, and the folder's real path, by which a walk knows it again.
 *
 * @throws file-missing, file-unreadable
 */
export async function entriesOf(folder: string): Promise<{ real: string; entries: FolderEntry[] }> {
  await checkConfined(folder);
  try {
    const real = await realpath(folder);
    const found = await readdir(folder, { withFileTypes: true });
    found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    const entries: FolderEntry[] = [];
    for (const entry of found) {
      const path = join(folder, entry.name);
      const kind = entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : await kindOfLink(path);
      entries.push({ name: entry.name, path, kind, linked: entry.isSymbolicLink() });
    }
    return { real, entries };
  } catch (error) {
    throw unreadable(folder, error);
  }
}

const kindOfLink = (path: string): Promise<PathKind | DiagError> =>
  kindOfPath(path).catch((error: unknown) => {
    if (error instanceof DiagError) return error;
    throw error;
  });

/** Makes a folder and those above it. @throws output-unwritable */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw diagError('output-unwritable', { path, reason: (error as Error).message }, { path }, error);
  }
}

/** The folder of the Git repository that holds `folder`, without links; undefined where none does. */
export async function repositoryOf(folder: string): Promise<string | undefined> {
  for (let at = await realpath(folder); ; at = dirname(at)) {
    // A folder, or in a worktree or submodule a file.
    if ((await kindOfPath(join(at, '.git')).catch(() => 'missing')) !== 'missing') return at;
    if (at === dirname(at)) return undefined;
  }
}
