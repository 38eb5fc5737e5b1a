/** What lies below a folder: each file once, in the order of the names. */
import { basename } from 'node:path';
import { entriesOf } from '../bytes/folder.ts';
import { sizeOfPath } from '../bytes/source.ts';
import { partOfCheckpoint } from '../checkpoints/registry.ts';
import { isSidecar } from '../logs/sidecars.ts';
import { DiagError } from '../model/errors.ts';

/** What a walk meets: a file to be opened, the folder of a capture, what is passed over, and what cannot be read. */
export type Met =
  | { readonly kind: 'file' | 'capture'; readonly path: string }
  | { readonly kind: 'passed'; readonly path: string; readonly reason: string }
  | { readonly kind: 'error'; readonly path: string; readonly error: DiagError };

export const CAPTURE_MANIFEST = 'capture.json';
/** Folders that hold no runs and may hold a great many files. */
const PASSED_FOLDERS = /^(\.|node_modules$|__pycache__$|site-packages$)/;
/** Kinds of files that are not worth opening. */
const PASSED_FILES =
  /\.(py|pyc|ipynb|md|rst|html?|css|js|ts|png|jpe?g|gif|svg|pdf|mp4|wav|zip\.tmp|lock|toml|sh|so|whl)$/i;

/** Walks down from a folder. Links are followed and each folder is visited once: a link back up would never end. */
export async function* walk(folder: string, visited = new Set<string>()): AsyncGenerator<Met> {
  let listed: Awaited<ReturnType<typeof entriesOf>>;
  try {
    listed = await entriesOf(folder);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    yield { kind: 'error', path: folder, error };
    return;
  }
  const { real, entries } = listed;
  if (visited.has(real)) return;
  visited.add(real);
  const names = new Set(entries.map(({ name }) => name));
  if (names.has(CAPTURE_MANIFEST)) {
    yield { kind: 'capture', path: folder };
    return;
  }
  for (const { name, path, kind } of entries)
    if (kind instanceof DiagError) yield { kind: 'error', path, error: kind };
    else if (kind === 'folder') {
      if (!PASSED_FOLDERS.test(name) && partOfCheckpoint(name, kind, names) === undefined)
        yield* walk(path, visited);
    } else {
      const reason = kind === 'file' ? await passedOver(path, names) : `not a regular file (${kind})`;
      yield reason === undefined ? { kind: 'file', path } : { kind: 'passed', path, reason };
    }
}

/** Why a file is not worth opening. */
async function passedOver(path: string, names: ReadonlySet<string>): Promise<string | undefined> {
  if (await isSidecar(path)) return 'hyperparameters';
  if (PASSED_FILES.test(path)) return 'no log by its name';
  const part = partOfCheckpoint(basename(path), 'file', names);
  if (part !== undefined) return part;
  return (await sizeOfPath(path)) === 0 ? 'empty (0 bytes)' : undefined;
}
