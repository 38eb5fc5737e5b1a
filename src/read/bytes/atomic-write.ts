/**
 * Writes files so that a reader sees the old content or the new one, never a part: temporary name in the same
 * folder, sync, rename. Every failure and every signal leaves the old file as it was and no temporary file behind.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { open, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type DiagError, diagError, tooManyOpenFiles } from '../../model/errors.ts';
import { renameOver } from './rename-over.ts';

const reasonOf = (error: unknown): string => {
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case 'ENOSPC':
      return 'no space left on the device';
    case 'EDQUOT':
      return 'the disk quota is used up';
    case 'EROFS':
      return 'the file system is read-only';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ENOENT':
      return 'its folder does not exist';
    case 'EISDIR':
      return 'it is a folder';
    default:
      return code ?? (error as Error).message;
  }
};

const unwritable = (path: string, error: unknown): DiagError =>
  tooManyOpenFiles(error) ??
  diagError('output-unwritable', { path, reason: reasonOf(error) }, { path }, error);

/**
 * Where a file is to be replaced, in one form for every spelling: the target of a link, which stays a link; for a new file,
 * its name in its real folder.
 */
export const targetOf = (path: string): Promise<string> =>
  realpath(path).catch(async () =>
    join(await realpath(dirname(path)).catch(() => resolve(dirname(path))), basename(path)),
  );

/** A device, pipe or socket: there is no old content to keep, and a rename would put a file in its place. */
async function isSpecial(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  return info !== undefined && !info.isFile() && !info.isDirectory();
}

/** Temporary files of this process that lie on the disk right now. */
const lying = new Set<string>();

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Removes what lies on the disk; where nobody else handles the signal, the process then ends by it as it would have. */
function removeAll(signal: NodeJS.Signals): void {
  for (const path of lying) rmSync(path, { force: true });
  lying.clear();
  unwatch();
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}

const unwatch = (): void => {
  for (const signal of SIGNALS) process.off(signal, removeAll);
};

/**
 * A name next to `target` that no other process uses. It is random: process numbers are the same in every container, and a
 * killed process leaves its file behind.
 */
function temporaryBeside(target: string): string {
  const path = join(dirname(target), `.${basename(target)}.${randomBytes(8).toString('hex')}.tmp`);
  if (lying.size === 0) for (const signal of SIGNALS) process.on(signal, removeAll);
  lying.add(path);
  return path;
}

/** Says that a temporary file is gone: renamed, removed or never made. */
function forget(path: string): void {
  lying.delete(path);
  if (lying.size === 0) unwatch();
}

/**
 * Writes `content`, or the pieces it yields, to `path`, whole or not at all.
 *
 * @throws output-unwritable, too-many-open-files, and what `content` throws while it yields
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const target = await targetOf(path);
  const special = await isSpecial(target);
  const temporary = special ? target : temporaryBeside(target);
  let created = false;
  try {
    const handle = await open(temporary, special ? 'w' : 'wx');
    created = !special;
    try {
      const pieces = typeof content === 'string' || content instanceof Uint8Array ? [content] : content;
      for await (const piece of pieces) await handle.writeFile(piece);
      // A device has nothing to sync.
      if (!special) await handle.sync();
    } finally {
      await handle.close();
    }
    if (!special) await renameOver(temporary, target);
  } catch (error) {
    if (created) await rm(temporary, { force: true }).catch(() => {});
    // What is no failed system call came out of `content`.
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw unwritable(path, error);
  } finally {
    forget(temporary);
  }
}

/**
 * Checks, before the long work, whether `path` can be written: creates and removes a temporary file in its folder.
 *
 * @throws output-unwritable, too-many-open-files
 */
export async function checkWritable(path: string): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory())
    throw diagError('output-unwritable', { path, reason: 'it is a folder' }, { path });
  const target = await targetOf(path);
  if (await isSpecial(target)) return;
  const probe = temporaryBeside(target);
  try {
    await (await open(probe, 'wx')).close();
    await rm(probe, { force: true });
  } catch (error) {
    throw unwritable(path, error);
  } finally {
    forget(probe);
  }
}

/** Removes a file of ours; it may be gone already. @throws output-unwritable */
export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (error) {
    throw unwritable(path, error);
  }
}
