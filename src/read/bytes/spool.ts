/**
 * A private temporary folder whose files have the names, sizes and times of objects elsewhere, and get their bytes when a
 * reader asks for them. It is removed at the end of the command, and when a signal ends the process.
 */
import { rmSync } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { bytesOnDemand } from './source.ts';

/** Gives bytes [start, end) of the object; all from `start` on where `end` is null. */
export type Fetch = (start: number, end: number | null) => AsyncIterable<Uint8Array>;

/** An object up to this size is fetched as a whole, with one request. */
const WHOLE = 32 * 2 ** 20;
/** Bytes that are fetched at once of a larger one. */
const BLOCK = 8 * 2 ** 20;
/** The longest object of which the size is not known before it is read. */
const MOST_UNKNOWN = 4 * 2 ** 30;

export interface SpoolLimits {
  readonly whole?: number;
  readonly block?: number;
}

export interface Spool {
  /** The folder, without links. */
  readonly folder: string;
  /**
   * Makes a file that is filled on demand.
   *
   * @param path relative to the folder
   * @param bytes its size; null where it is not known: then all of it is fetched now
   * @param modified milliseconds since 1970
   * @throws what `fetch` throws, output-unwritable
   */
  add(path: string, bytes: number | null, modified: number, fetch: Fetch): Promise<SpoolFile>;
  addFolder(path: string): Promise<void>;
  close(): Promise<void>;
}

export interface SpoolFile {
  readonly path: string;
  /** Whether a byte of it was asked for. */
  wasRead(): boolean;
  /** Bytes that were fetched. */
  fetched(): number;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const spools = new Set<string>();

function removeAll(signal: NodeJS.Signals): void {
  for (const folder of spools) removeNow(folder);
  spools.clear();
  for (const one of SIGNALS) process.off(one, removeAll);
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}

/** Windows removes no file that somebody has open: what is left there lies among other temporary files. */
function removeNow(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // The signal counts.
  }
}

const unwritable = (path: string, error: unknown): Error =>
  (error as NodeJS.ErrnoException).syscall === undefined
    ? (error as Error)
    : diagError(
        'output-unwritable',
        { path, reason: (error as NodeJS.ErrnoException).code ?? (error as Error).message },
        { path },
        error,
      );

/** Makes the folder, which only this user can read. @throws output-unwritable */
export async function makeSpool({ whole = WHOLE, block = BLOCK }: SpoolLimits = {}): Promise<Spool> {
  const folder = await mkdtemp(join(tmpdir(), 'clippy-diag-')).then(
    (made) => realpath(made),
    (error: unknown) => {
      throw unwritable(tmpdir(), error);
    },
  );
  if (spools.size === 0) for (const signal of SIGNALS) process.on(signal, removeAll);
  spools.add(folder);
  const forgets: (() => void)[] = [];
  return {
    folder,
    add: async (relative, bytes, modified, fetch) => {
      const path = join(folder, relative);
      try {
        await mkdir(dirname(path), { recursive: true });
        const file = await spoolFile(path, bytes, modified, fetch, { whole, block });
        forgets.push(bytesOnDemand(path, file.ensure));
        return file;
      } catch (error) {
        throw unwritable(path, error);
      }
    },
    addFolder: async (relative) => {
      await mkdir(join(folder, relative), { recursive: true }).catch((error: unknown) => {
        throw unwritable(folder, error);
      });
    },
    close: async () => {
      for (const forget of forgets) forget();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
      spools.delete(folder);
      if (spools.size === 0) for (const signal of SIGNALS) process.off(signal, removeAll);
    },
  };
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, at + written);
    written += bytesWritten;
  }
}

async function spoolFile(
  path: string,
  size: number | null,
  modified: number,
  fetch: Fetch,
  { whole, block }: Required<SpoolLimits>,
): Promise<SpoolFile & { ensure(start: number, end: number): Promise<void> }> {
  let fetched = 0;
  let read = false;
  /** Writes what is fetched; the time of the object stays that of the file. */
  const pull = async (start: number, end: number | null): Promise<void> => {
    const handle = await open(path, 'r+');
    try {
      let at = start;
      for await (const piece of fetch(start, end)) {
        if (size === null && at + piece.length > MOST_UNKNOWN)
          throw diagError(
            'limit-exceeded',
            {
              what: 'an object of unknown size',
              found: at + piece.length,
              limit: MOST_UNKNOWN,
              hint: 'download it first',
            },
            { path },
          );
        await writeAt(handle, piece, at);
        at += piece.length;
        fetched += piece.length;
      }
    } finally {
      await handle.utimes(new Date(modified), new Date(modified));
      await handle.close();
    }
  };
  const made = await open(path, 'wx', 0o600);
  try {
    // Sparse: it takes no room before its bytes are there.
    if (size !== null) await made.truncate(size);
    await made.utimes(new Date(modified), new Date(modified));
  } finally {
    await made.close();
  }
  if (size === null) await pull(0, null);
  const there = new Set<number>();
  const step = size === null || size <= whole ? Number.POSITIVE_INFINITY : block;
  /** One transfer at a time: two readers of one block must not fetch it twice. */
  let last: Promise<void> = Promise.resolve();
  const fill = async (start: number, end: number): Promise<void> => {
    if (size === null || end <= start) return;
    if (step === Number.POSITIVE_INFINITY) {
      if (there.has(0)) return;
      await pull(0, size);
      there.add(0);
      return;
    }
    for (let k = Math.floor(start / step); k * step < end; k++) {
      if (there.has(k)) continue;
      let beyond = k + 1;
      while (beyond * step < end && !there.has(beyond)) beyond++;
      await pull(k * step, Math.min(beyond * step, size));
      for (let done = k; done < beyond; done++) there.add(done);
    }
  };
  return {
    path,
    wasRead: () => read,
    fetched: () => fetched,
    ensure: (start, end) => {
      read = true;
      const mine = last.then(() => fill(start, end));
      last = mine.catch(() => {});
      return mine;
    },
  };
}
