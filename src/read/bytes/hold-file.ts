/** Keeps a file for one process: a second one that wants to write it is refused, one whose holder died takes it over. */
import { open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';

interface Holder {
  readonly pid: number;
  readonly host: string;
}

/** Who holds a file by what its lock says; null where the lock is missing, or was cut while it was written. */
async function holderOf(lock: string): Promise<Holder | null> {
  try {
    const found: unknown = JSON.parse(await readFile(lock, 'utf8'));
    if (!isJsonObject(found) || typeof found.pid !== 'number' || typeof found.host !== 'string') return null;
    return { pid: found.pid, host: found.host };
  } catch {
    return null;
  }
}

/**
 * Whether a holder is gone. Of another machine that is not known. A lock with this process's own number was left by an
 * earlier process: in a container every run has the same number.
 */
function isGone({ pid, host }: Holder): boolean {
  if (host !== hostname()) return false;
  if (pid === process.pid) return true;
  try {
    // Signal 0 sends nothing: it asks whether the process exists.
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Locks of this process. */
const held = new Set<string>();

/**
 * Holds a file by a second file `PATH.lock`, which says the process and its machine.
 *
 * @returns what lets it go
 * @throws file-held (another process writes it), output-unwritable
 */
export async function holdFile(path: string): Promise<() => Promise<void>> {
  const lock = `${path}.lock`;
  // Twice at most: once more after the lock of a process that is gone was removed.
  for (const last of [false, true]) {
    try {
      const file = await open(lock, 'wx');
      await file.writeFile(JSON.stringify({ pid: process.pid, host: hostname() }));
      await file.close();
      held.add(lock);
      return async () => {
        held.delete(lock);
        await rm(lock, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        throw diagError(
          'output-unwritable',
          { path: lock, reason: (error as Error).message },
          { path },
          error,
        );
    }
    const holder = await holderOf(lock);
    if (last || held.has(lock) || (holder !== null && !isGone(holder)))
      throw diagError(
        'file-held',
        { pid: `${holder?.pid ?? 'unknown'}`, host: holder?.host ?? 'unknown', lock },
        { path },
      );
    await rm(lock, { force: true });
  }
  throw new Error('unreachable: the second turn returns or throws');
}
