/**
 * URLs among paths: each becomes a file or folder of a private temporary folder, which fetches its bytes when a reader asks for
 * them (docs/adr/0020-sources.md). What is shown afterwards names the URL again.
 */
import { join } from 'node:path';
import { type DiagError, diagError } from '../../model/errors.ts';
import { isUrl, withoutEndSlashes } from '../../model/url.ts';
import { makeSpool, type Spool, type SpoolFile, type SpoolLimits } from '../bytes/spool.ts';
import { fileName, renamed, safeName } from './names.ts';
import { sourceOf } from './registry.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

export interface Mounted {
  /** The temporary folder, without links. */
  readonly folder: string;
  /** The paths as they were given, with a path of this machine for each URL. */
  readonly paths: readonly string[];
  /** A value in which every text that names a temporary path names its URL instead. Errors are errors of the same code. */
  shown<T>(value: T): T;
  /** Objects that were read and have another size or version now, each as the error that says so. */
  changed(): Promise<readonly DiagError[]>;
  /** Writes the verdict on each run to the server that it was read from. @returns how many were written @throws source-… */
  tag(runs: readonly JudgedPaths[]): Promise<number>;
  /** Bytes that were fetched so far. */
  fetched(): number;
  close(): Promise<void>;
}

/** What a report says of a run and of the files that it was read from. */
export interface JudgedPaths {
  readonly paths: readonly string[];
  readonly verdict: { readonly class: string };
}

interface Opened {
  readonly source: Source;
  readonly entry: RemoteEntry;
  readonly file: SpoolFile;
}

async function mountOne(source: Source, at: string, spool: Spool, opened: Opened[]): Promise<string> {
  const { isFolder, entries } = await source.list();
  const root = join(at, fileName(source.shown));
  const add = async (entry: RemoteEntry, path: string): Promise<void> => {
    const file = await spool.add(path, entry.bytes, entry.modified ?? 0, (start, end) =>
      source.open(entry, start, end),
    );
    opened.push({ source, entry, file });
  };
  if (!isFolder) {
    await add(entries[0]!, root);
    return join(spool.folder, root);
  }
  await spool.addFolder(root);
  for (const entry of entries) await add(entry, join(root, safeName(entry.name, source.shown)));
  return join(spool.folder, root);
}

/**
 * Makes paths of URLs. Nothing is sent for other paths.
 *
 * @throws source-…, output-unwritable
 */
export async function mountSources(
  paths: readonly string[],
  options: SourceOptions & SpoolLimits,
): Promise<Mounted> {
  const sources = paths.map((path) => (isUrl(path) ? sourceOf(path, options) : undefined));
  const spool = await makeSpool(options);
  const opened: Opened[] = [];
  /** Temporary path → URL, the longest path first. */
  const names: [path: string, url: string][] = [];
  const local: string[] = [];
  const shown = <T>(value: T): T => renamed(value, names, spool.folder) as T;
  const close = (): Promise<void> => spool.close();
  try {
    for (const [i, path] of paths.entries()) {
      const source = sources[i];
      if (source === undefined) {
        local.push(path);
        continue;
      }
      const mounted = await mountOne(source, String(i), spool, opened);
      local.push(mounted);
      const url = withoutEndSlashes(source.shown);
      // Every URL has a folder of its own: what begins so is of this one.
      names.push([mounted, url], [join(spool.folder, String(i)), url.slice(0, url.lastIndexOf('/'))]);
    }
  } catch (error) {
    await close();
    throw shown(error);
  }
  return {
    folder: spool.folder,
    paths: local,
    shown,
    tag: async (runs) => {
      let written = 0;
      for (const { paths: own, verdict } of runs) {
        const one = opened.find(({ file }) => own.includes(file.path));
        if (one?.source.tag === undefined) continue;
        await one.source.tag(one.entry, verdict.class);
        written++;
      }
      return written;
    },
    fetched: () => opened.reduce((sum, { file }) => sum + file.fetched(), 0),
    changed: async () => {
      const errors: DiagError[] = [];
      for (const { source, entry, file } of opened) {
        if (!file.wasRead()) continue;
        const now = await source.again(entry);
        const other = now.version !== null && entry.version !== null && now.version !== entry.version;
        if (now.bytes === entry.bytes && !other) continue;
        const path = shown(file.path);
        errors.push(
          diagError(
            'input-still-written',
            { path, before: entry.bytes ?? 0, after: now.bytes ?? 0 },
            { path },
          ),
        );
      }
      return errors;
    },
    close,
  };
}
