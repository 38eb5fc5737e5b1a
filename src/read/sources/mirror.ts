/**
 * A URL that is watched: a private temporary folder that has what the URL has, brought up to date again and again. Of a file that
 * grew only the new bytes are fetched.
 */
import { dirname, join } from 'node:path';
import { withoutEndSlashes } from '../../model/url.ts';
import { makeFolder } from '../bytes/folder.ts';
import { appendNews, removeFile, replaceFile, writeStream } from '../bytes/growing-copy.ts';
import { makeSpool } from '../bytes/spool.ts';
import type { JudgedPaths } from './mount.ts';
import { fileName, renamed, safeName } from './names.ts';
import { sourceOf } from './registry.ts';
import type { RemoteEntry, SourceOptions } from './source.ts';

export interface Mirror {
  /** The path of this machine that has what the URL has. It does not exist before the first refresh that succeeds. */
  readonly path: string;
  /** The URL as it may be shown. */
  readonly shown: string;
  /** A value in which every text that names a temporary path names the URL. Errors are errors of the same code. */
  rename<T>(value: T): T;
  /**
   * Fetches what is new.
   *
   * @throws source-…; what was fetched before stays
   */
  refresh(): Promise<void>;
  /** Whether the server takes verdicts. */
  readonly takesTags: boolean;
  /** Writes the verdict on a run to the server, where it is another one than was written before. @throws source-… */
  tag(run: JudgedPaths): Promise<void>;
  close(): Promise<void>;
}

/** Files that are no logs by their names: a folder of checkpoints is not copied to watch the log next to them. */
const NO_LOG =
  /\.(pt|pth|ckpt|bin|safetensors|h5|keras|npz|npy|onnx|pkl|index|data-\d+-of-\d+|distcp|zip|tar)$/i;
/** Bytes before the old end of a file that are fetched again: where they differ it is another file. */
const OVERLAP = 4096;

interface Copy {
  readonly path: string;
  entry: RemoteEntry;
  bytes: number;
  /** What was written of its run. */
  verdict?: string | undefined;
}

const isAsBefore = (a: RemoteEntry, b: RemoteEntry): boolean =>
  (a.bytes !== null || a.version !== null) &&
  a.bytes === b.bytes &&
  a.version === b.version &&
  a.modified === b.modified;

/** Nothing is sent before the first refresh. @throws source-unsupported, output-unwritable */
export async function makeMirror(text: string, options: SourceOptions): Promise<Mirror> {
  const source = sourceOf(text, options);
  const spool = await makeSpool();
  const root = join(spool.folder, '0', fileName(source.shown));
  const incoming = join(spool.folder, 'incoming');
  const copies = new Map<string, Copy>();
  const url = withoutEndSlashes(source.shown);
  const names = [
    [root, url],
    [join(spool.folder, '0'), url.slice(0, url.lastIndexOf('/'))],
  ] as const;
  const fetchTo = (entry: RemoteEntry, start: number): Promise<number> =>
    writeStream(incoming, source.open(entry, start, entry.bytes));
  const fetchWhole = async (entry: RemoteEntry, path: string): Promise<void> => {
    const bytes = await fetchTo(entry, 0);
    const known = copies.get(entry.name);
    const grew = known === undefined ? -1 : await appendNews(path, known.bytes, incoming, 0);
    if (grew < 0) {
      await makeFolder(dirname(path));
      await replaceFile(path, incoming);
    }
    copies.set(entry.name, { path, entry, bytes, verdict: known?.verdict });
  };
  const refreshOne = async (entry: RemoteEntry, path: string): Promise<void> => {
    const known = copies.get(entry.name);
    if (known !== undefined && isAsBefore(known.entry, entry)) return;
    if (known === undefined || entry.bytes === null || entry.bytes <= known.bytes)
      return fetchWhole(entry, path);
    const from = Math.max(0, known.bytes - OVERLAP);
    const bytes = await fetchTo(entry, from);
    const grew = await appendNews(path, known.bytes, incoming, from);
    if (grew < 0) return fetchWhole(entry, path);
    copies.set(entry.name, { path, entry, bytes: from + bytes, verdict: known.verdict });
  };
  return {
    path: root,
    shown: source.shown,
    takesTags: source.tag !== undefined,
    rename: <T>(value: T): T => renamed(value, names, spool.folder) as T,
    refresh: async () => {
      const { isFolder, entries } = await source.list();
      if (isFolder) await makeFolder(root);
      const wanted = isFolder ? entries.filter(({ name }) => !NO_LOG.test(name)) : entries.slice(0, 1);
      const gone = new Set(copies.keys());
      for (const entry of wanted) {
        gone.delete(entry.name);
        await refreshOne(entry, isFolder ? join(root, safeName(entry.name, source.shown)) : root);
      }
      for (const name of gone) {
        await removeFile(copies.get(name)!.path);
        copies.delete(name);
      }
    },
    tag: async ({ paths, verdict }) => {
      const copy = [...copies.values()].find(({ path }) => paths.includes(path));
      if (copy === undefined || source.tag === undefined || copy.verdict === verdict.class) return;
      await source.tag(copy.entry, verdict.class);
      copy.verdict = verdict.class;
    },
    close: () => spool.close(),
  };
}
