/** What stores of objects have in common: a path is an object, or all objects below a prefix, which is listed page by page. */
import { DiagError, diagError } from '../../model/errors.ts';
import { checkEntryCount, type ObjectRequest, probe, readRange } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

/** A page of the objects whose keys begin with `folder`; `next` is what the page after it is asked for by. */
export type ObjectListing = (
  folder: string,
  cursor: string | undefined,
) => Promise<{ readonly entries: readonly RemoteEntry[]; readonly next: string | undefined }>;

export interface ObjectStore {
  readonly shown: string;
  /** The key or prefix; empty for all of the bucket. */
  readonly path: string;
  readonly listing: ObjectListing;
  /** The request for the object of a key. */
  object(key: string): Promise<ObjectRequest>;
  readonly options: SourceOptions;
}

export function objectSource({ shown, path, listing, object, options }: ObjectStore): Source {
  const folder = path === '' || path.endsWith('/') ? path : `${path}/`;
  const keyOf = (name: string): string => (name === '' ? path : folder + name);
  const listFolder = async (): Promise<RemoteEntry[]> => {
    const entries: RemoteEntry[] = [];
    let cursor: string | undefined;
    do {
      const page = await listing(folder, cursor);
      entries.push(...page.entries);
      cursor = page.next;
      checkEntryCount(entries.length, { shown, what: 'objects', hint: 'name a longer prefix' });
    } while (cursor !== undefined);
    return entries;
  };
  return {
    shown,
    list: async () => {
      let missing: unknown = diagError('source-missing', { url: shown, status: 404 }, { path: shown });
      if (path !== folder)
        try {
          return { isFolder: false, entries: [await probe(await object(path), options)] };
        } catch (error) {
          if (!(error instanceof DiagError) || error.code !== 'source-missing') throw error;
          missing = error;
        }
      const entries = await listFolder();
      if (entries.length === 0) throw missing;
      return { isFolder: true, entries };
    },
    open: async function* (entry, start, end) {
      yield* readRange(await object(keyOf(entry.name)), entry, start, end, options);
    },
    again: async (entry) => ({
      ...(await probe(await object(keyOf(entry.name)), options)),
      name: entry.name,
    }),
  };
}
