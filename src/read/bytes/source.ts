/**
 * The seam through which every reader gets bytes: a length and a slice. Files, buffers and members of archives look
 * the same, and a test can count what was touched.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type FileHandle, lstat, open, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { type DiagError, diagError, tooManyOpenFiles } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { isUrl, withoutSecrets } from '../../model/url.ts';

export interface ByteSource {
  /** For messages; not necessarily a file on disk ("a.zip!policy.pth"). */
  readonly path: string;
  readonly byteLength: number;
  /** Bytes [start, end). Asking beyond the end is an error of the caller: check against byteLength first. */
  slice(start: number, end: number): Promise<Uint8Array>;
  /** The bytes from `start` on into an array, as many as it has; left out where they are not read from a file. */
  fill?(bytes: Uint8Array, start: number): Promise<void>;
  close(): Promise<void>;
  /**
   * Where bytes [start, end) lie in the file that this is a part of; left out where it is the file itself. Bytes that lie
   * compressed there have the place of all that they are compressed with.
   */
  place?(start: number, end: number): Extent;
}

/** Bytes [start, end). */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

/** Where bytes [start, end) of a source lie in its file. */
export const placeOf = (source: ByteSource, start: number, end: number): Extent =>
  source.place?.(start, end) ?? { start, end };

/** A source over bytes in memory. */
export function bytesSource(path: string, bytes: Uint8Array): ByteSource {
  return {
    path,
    byteLength: bytes.byteLength,
    slice: async (start, end) => {
      checkRange(path, start, end, bytes.byteLength);
      return bytes.subarray(start, end);
    },
    close: async () => {},
  };
}

/** Bytes [start, end) of another source, which stays open when this one is closed. */
export function partOfSource(source: ByteSource, start: number, end: number, path: string): ByteSource {
  return {
    path,
    byteLength: end - start,
    slice: async (from, to) => {
      checkRange(path, from, to, end - start);
      return source.slice(start + from, start + to);
    },
    close: async () => {},
    place: (from, to) => placeOf(source, start + from, start + to),
  };
}

function checkRange(path: string, start: number, end: number, length: number): void {
  if (!(start >= 0 && start <= end && end <= length))
    throw new RangeError(`slice ${start}..${end} of ${path}, which has ${length} bytes`);
}

export type PathKind = 'file' | 'folder' | 'missing' | 'fifo' | 'device' | 'socket' | 'loop of links';

/** Says whether a path without links may be read; kept for all that one piece of work does. */
const confinement = new AsyncLocalStorage<(real: string) => boolean>();

/** Does some work in which only paths are read that `allowed` takes, links followed. @throws path-not-allowed */
export const confined = <T>(allowed: (real: string) => boolean, work: () => Promise<T>): Promise<T> =>
  confinement.run(allowed, work);

/** @throws path-not-allowed where the work that asks is confined and the path, links followed, lies elsewhere */
export async function checkConfined(path: string): Promise<void> {
  const allowed = confinement.getStore();
  if (allowed === undefined) return;
  const real = await realpath(path).catch(() => resolve(path));
  if (!allowed(real)) throw diagError('path-not-allowed', { path }, { path });
}

/** What a path is, without opening it: a FIFO or a device would hang or never end. @throws file-unreadable */
export async function kindOfPath(path: string): Promise<PathKind> {
  try {
    const info = await stat(path);
    if (info.isFile()) return 'file';
    if (info.isDirectory()) return 'folder';
    if (info.isFIFO()) return 'fifo';
    return info.isSocket() ? 'socket' : 'device';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'missing';
    if (code === 'ELOOP') return 'loop of links';
    throw unreadable(path, error);
  }
}

/** Whether a path is a link whose target is not there. */
export async function isBrokenLink(path: string): Promise<boolean> {
  if ((await kindOfPath(path)) !== 'missing') return false;
  const entry = await lstat(path).catch(() => null);
  return entry?.isSymbolicLink() === true;
}

/** What shows whether a file was written to, or is another one; undefined where there is no file. */
export interface FileStamp {
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  readonly identity: string;
}

export async function stampOf(path: string): Promise<FileStamp | undefined> {
  const info = await stat(path).catch(() => undefined);
  return info && { bytes: info.size, modified: info.mtimeMs, identity: `${info.dev}:${info.ino}` };
}

/** How many bytes a path has now; NaN where there is nothing. */
export const sizeOfPath = async (path: string): Promise<number> => (await stampOf(path))?.bytes ?? Number.NaN;

/**
 * The regular files directly in a folder, by name, at most `limit`; none where there is no such folder.
 *
 * @throws too-many-open-files
 */
export async function filesIn(folder: string, limit: number): Promise<string[]> {
  await checkConfined(folder);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    const crowded = tooManyOpenFiles(error);
    if (crowded !== undefined) throw crowded;
    return [];
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(folder, entry.name))
    .sort()
    .slice(0, limit);
}

/**
 * Names of what lies directly in a folder, or with `recursive` paths of all that lies below it; undefined where it cannot
 * be listed. Links to folders are not followed.
 *
 * @throws too-many-open-files
 */
export async function namesIn(folder: string, recursive = false): Promise<ReadonlySet<string> | undefined> {
  await checkConfined(folder);
  try {
    return new Set(await readdir(folder, { recursive }));
  } catch (error) {
    const crowded = tooManyOpenFiles(error);
    if (crowded !== undefined) throw crowded;
    return undefined;
  }
}

/** The coded error for a failed system call on an input. */
export function unreadable(path: string, cause: unknown): DiagError {
  const crowded = tooManyOpenFiles(cause);
  if (crowded !== undefined) return crowded;
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return diagError('file-missing', { path, nearest: '', cwd: process.cwd() }, { path }, cause);
  const reason =
    code === 'EACCES' || code === 'EPERM'
      ? 'permission denied'
      : code === 'EIO'
        ? 'input/output error'
        : (code ?? (cause as Error).message);
  return diagError('file-unreadable', { path, reason }, { path }, cause);
}

/**
 * Files that are open at once; of more, those rest that were used longest ago. A folder may hold more checkpoints and
 * shards than a process may have open.
 */
const OPEN_AT_ONCE = 64;

/** A file that a source reads: open, or resting until the next slice. */
interface Pooled {
  readonly path: string;
  /** What identifies a file that was opened again. */
  readonly identity: string;
  readonly byteLength: number;
  handle: Promise<FileHandle> | undefined;
  users: number;
  closed: boolean;
}

/** Open and not in use, those used longest ago first. */
const idle = new Set<Pooled>();

async function openHandle(
  path: string,
): Promise<{ handle: FileHandle; identity: string; byteLength: number }> {
  try {
    const handle = await open(path, 'r');
    const { dev, ino, size } = await handle.stat();
    return { handle, identity: `${dev}:${ino}`, byteLength: size };
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function openAgain({ path, identity, byteLength }: Pooled): Promise<FileHandle> {
  const again = await openHandle(path);
  if (again.identity === identity && again.byteLength >= byteLength) return again.handle;
  await again.handle.close();
  throw diagError('file-changed', { path, before: byteLength, after: again.byteLength }, { path });
}

async function rest(file: Pooled): Promise<void> {
  idle.delete(file);
  const { handle } = file;
  file.handle = undefined;
  await (await handle)?.close();
}

async function makeIdle(file: Pooled): Promise<void> {
  idle.add(file);
  for (const oldest of idle) {
    if (idle.size <= OPEN_AT_ONCE) break;
    await rest(oldest);
  }
}

async function withHandle<T>(file: Pooled, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  if (file.closed) throw new Error(`${file.path} was closed`);
  idle.delete(file);
  file.users++;
  try {
    file.handle ??= openAgain(file).catch((error: unknown) => {
      file.handle = undefined;
      throw error;
    });
    return await use(await file.handle);
  } finally {
    file.users--;
    if (file.users === 0 && file.handle !== undefined) await makeIdle(file);
  }
}

/** Names of a folder among which a slip of the pen is looked for. */
const MOST_NAMES = 10_000;

/** The coded error for a path that is not there, with the name in its folder that was probably meant. */
async function missing(path: string): Promise<DiagError> {
  if (isUrl(path))
    return diagError(
      'source-unsupported',
      {
        url: withoutSecrets(path),
        what: 'a URL in this place',
        instead: 'download it first; docs/sources.md lists the commands that read URLs',
      },
      undefined,
    );
  const names = (await namesIn(dirname(path))) ?? new Set();
  const near = names.size > MOST_NAMES ? '' : nearest(basename(path), names);
  const details = { path, nearest: near === '' ? '' : join(dirname(path), near), cwd: process.cwd() };
  return diagError('file-missing', details, { path });
}

/** Gets the bytes [start, end) of a file before they are read. */
export type Ensure = (start: number, end: number) => Promise<void>;

/** Files whose bytes are somewhere else until a source asks for them, by path without links. */
const onDemand = new Map<string, Ensure>();

/** Has the bytes of a file fetched before they are read; returns how to stop that. */
export function bytesOnDemand(path: string, ensure: Ensure): () => void {
  onDemand.set(path, ensure);
  return () => onDemand.delete(path);
}

/** Bytes of a read where several go on at once, and how many: as many as Node has threads for files. */
const [READ_AT_ONCE, READERS] = [4 * 2 ** 20, 4] as const;

/**
 * Opens a regular file.
 *
 * @throws file-missing, file-unreadable, file-not-regular; a slice throws file-changed where the file shrank, or became
 *   another while it rested
 */
export async function openFile(path: string): Promise<ByteSource> {
  await checkConfined(path);
  const kind = await kindOfPath(path);
  if (kind === 'missing') throw await missing(path);
  if (kind !== 'file') throw diagError('file-not-regular', { path, kind }, { path });
  const { handle, identity, byteLength } = await openHandle(path);
  const file: Pooled = {
    path,
    identity,
    byteLength,
    handle: Promise.resolve(handle),
    users: 0,
    closed: false,
  };
  await makeIdle(file);
  const ensure = onDemand.size === 0 ? undefined : onDemand.get(await realpath(path));
  const readAll = async (open: FileHandle, bytes: Uint8Array, start: number): Promise<void> => {
    for (let filled = 0; filled < bytes.length; ) {
      // A single read of more than 2 GiB fails on Linux, hence pieces.
      const length = Math.min(bytes.length - filled, 1 << 30);
      const read = await open.read(bytes, filled, length, start + filled).catch((error: unknown) => {
        throw unreadable(path, error);
      });
      filled += read.bytesRead;
      if (read.bytesRead === 0)
        throw diagError('file-changed', { path, before: byteLength, after: start + filled }, { path });
    }
  };
  return {
    path,
    byteLength,
    slice: async (start, end) => {
      checkRange(path, start, end, byteLength);
      await ensure?.(start, end);
      // Filled to its end, or not handed out.
      const bytes = new Uint8Array(Buffer.allocUnsafeSlow(end - start).buffer);
      await withHandle(file, (open) => readAll(open, bytes, start));
      return bytes;
    },
    fill: async (bytes, start) => {
      checkRange(path, start, start + bytes.length, byteLength);
      await ensure?.(start, start + bytes.length);
      await withHandle(file, async (open) => {
        const pieces = Array.from({ length: Math.ceil(bytes.length / READ_AT_ONCE) }, (_, k) =>
          bytes.subarray(k * READ_AT_ONCE, (k + 1) * READ_AT_ONCE),
        );
        let next = 0;
        const reader = async (): Promise<void> => {
          for (let k = next++; k < pieces.length; k = next++)
            await readAll(open, pieces[k]!, start + k * READ_AT_ONCE);
        };
        const readers = await Promise.allSettled(Array.from({ length: READERS }, reader));
        for (const one of readers) if (one.status === 'rejected') throw one.reason;
      });
    },
    close: async () => {
      file.closed = true;
      await rest(file);
    },
  };
}

/** The text of a file of settings in the user's home, whatever the work that asks may read; undefined if it does not exist. */
export const readUserFile = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch(() => undefined);

/** The whole text of a regular file, as UTF-8. @throws file-missing, file-unreadable, file-not-regular, file-changed */
export async function readText(path: string): Promise<string> {
  const source = await openFile(path);
  try {
    return Buffer.from(await source.slice(0, source.byteLength)).toString('utf8');
  } finally {
    await source.close();
  }
}

/** Counts the bytes that go through a source. */
export function countingSource(source: ByteSource): ByteSource & { readonly bytesRead: () => number } {
  let count = 0;
  return {
    path: source.path,
    byteLength: source.byteLength,
    slice: (start, end) => {
      count += end - start;
      return source.slice(start, end);
    },
    close: () => source.close(),
    bytesRead: () => count,
  };
}

/** Whether `path` is the folder or lies in it; both with links resolved. */
export const liesIn = (folder: string, path: string): boolean => {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
};

/**
 * The other files of a format that spans several (shards, `.data` and `.index`): opens `name` inside the folder of `path`,
 * and refuses anything that leaves it, symbolic links included.
 *
 * @throws file-missing, file-unreadable, file-not-regular, path-leaves-folder
 */
export async function openSibling(path: string, name: string): Promise<ByteSource> {
  const folder = await realpath(dirname(path));
  const wanted = join(folder, name);
  const inside = (target: string): boolean => target !== folder && liesIn(folder, target);
  if (name.includes('\0') || isAbsolute(name) || !inside(wanted))
    throw diagError('path-leaves-folder', { name, folder: basename(folder) }, { path });
  let real: string;
  try {
    real = await realpath(wanted);
  } catch (error) {
    throw unreadable(wanted, error);
  }
  if (!inside(real)) throw diagError('path-leaves-folder', { name, folder: basename(folder) }, { path });
  return openFile(real);
}
