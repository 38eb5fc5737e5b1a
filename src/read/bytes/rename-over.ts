/** Puts a file in the place of another. */
import { rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** What Windows says while somebody (a reader, a virus scanner, an indexer) has one of the two files open. */
const HELD = new Set(['EPERM', 'EACCES', 'EBUSY']);
/** Milliseconds between attempts: 1.3 s in all. */
const WAITS = [10, 20, 40, 80, 160, 320, 640];

/** How it asks the system, for tests of another one. */
interface System {
  readonly platform: NodeJS.Platform;
  readonly rename: (from: string, to: string) => Promise<void>;
}

/**
 * Renames over an existing file. Elsewhere than on Windows whoever has that one open keeps its content, and one attempt is
 * enough; Windows refuses while it is open, so it is tried again for 1.3 s.
 *
 * @throws what the last attempt throws
 */
export async function renameOver(
  from: string,
  to: string,
  system: System = { platform: process.platform, rename },
): Promise<void> {
  for (const wait of system.platform === 'win32' ? WAITS : [])
    try {
      return await system.rename(from, to);
    } catch (error) {
      if (!HELD.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      await sleep(wait);
    }
  await system.rename(from, to);
}
