/**
 * Writes files so that a reader sees the old content or the new one, never a part: temporary name in the same
 * folder, sync, rename. Every failure leaves the old file as it was and no temporary file behind.
 */
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { diagError } from '../model/errors.ts';

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

/** Where a file is to be replaced: behind a link, which stays one. */
const targetOf = (path: string): Promise<string> => realpath(path).catch(() => path);

/** A device, pipe or socket: there is no old content to keep, and a rename would put a file in its place. */
async function isSpecial(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  return info !== undefined && !info.isFile() && !info.isDirectory();
}

/**
 * Writes `content`, or the pieces it yields, to `path`, whole or not at all.
 *
 * @throws output-unwritable, and what `content` throws while it yields
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const target = await targetOf(path);
  const special = await isSpecial(target);
  // process.pid and a counter are unique enough: the file is opened with O_EXCL.
  const temporary = special
    ? target
    : join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`);
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
    if (!special) await rename(temporary, target);
  } catch (error) {
    if (created) await rm(temporary, { force: true }).catch(() => {});
    // What is no failed system call came out of `content`.
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw diagError('output-unwritable', { path, reason: reasonOf(error) }, { path }, error);
  }
}
let counter = 0;

/**
 * Finds out, before the long work, whether `path` can be written: creates and removes a temporary file beside it.
 *
 * @throws output-unwritable
 */
export async function checkWritable(path: string): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory())
    throw diagError('output-unwritable', { path, reason: 'it is a folder' }, { path });
  const target = await targetOf(path);
  if (await isSpecial(target)) return;
  const probe = join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`);
  try {
    await (await open(probe, 'wx')).close();
    await rm(probe, { force: true });
  } catch (error) {
    throw diagError('output-unwritable', { path, reason: reasonOf(error) }, { path }, error);
  }
}

/** Removes a file of ours; it may be gone already. @throws output-unwritable */
export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (error) {
    throw diagError('output-unwritable', { path, reason: (error as Error).message }, { path }, error);
  }
}
