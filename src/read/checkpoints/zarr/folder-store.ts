/** The keys of a zarr hierarchy that lies in a folder: a file each. */
import { dirname, join } from 'node:path';
import { type ByteSource, kindOfPath, namesIn, openSibling, sizeOfPath } from '../../bytes/source.ts';
import { checkLimit } from '../limit.ts';
import type { KeyStore, StoredValue } from './store.ts';

/** More keys than the largest checkpoints have; a file each. */
export const MAX_KEYS = 1_000_000;

/**
 * @param path a file in the folder of the hierarchy
 * @throws limit-exceeded beyond {@link MAX_KEYS} files
 */
export async function folderStore(path: string): Promise<KeyStore> {
  const folder = dirname(path);
  const names = [...((await namesIn(folder, true)) ?? [])].map((name) => name.replaceAll('\\', '/')).sort();
  checkLimit('the number of files', names.length, MAX_KEYS, { path });
  const values = new Map<string, StoredValue>();
  const files = new Map<string, number>();
  for (const name of names) {
    if ((await kindOfPath(join(folder, name))) !== 'file') continue;
    const bytes = await sizeOfPath(join(folder, name));
    values.set(name, { file: name, start: 0, end: bytes });
    files.set(name, bytes);
  }
  return { values, files, ...openFiles(path) };
}

/** Opens files in the folder of `path` once each, and closes them together. */
export function openFiles(path: string): Pick<KeyStore, 'open' | 'close'> {
  const sources = new Map<string, Promise<ByteSource>>();
  return {
    open: (file) => {
      const known = sources.get(file);
      if (known !== undefined) return known;
      const opened = openSibling(path, file);
      sources.set(file, opened);
      return opened;
    },
    close: async () => {
      for (const source of sources.values()) await (await source.catch(() => undefined))?.close();
    },
  };
}
