/** A command of the user's that is ended with all that it has started: after a time, or with this program. */
import type { ChildProcess } from 'node:child_process';

/** How long a command that was asked to end may take to do so. */
const GRACE_MS = 5_000;
/** Windows has no groups of processes; there the command alone is ended. Such a child is to be spawned `detached` elsewhere. */
export const HAS_GROUPS = process.platform !== 'win32';

/** Ends a command with all that it has started. */
export function endGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (HAS_GROUPS && child.pid !== undefined) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    // It is gone.
  }
}

/**
 * Asks a command to end after a time, or when this program is to end, and kills it where it has not five seconds later.
 *
 * @param onEnd calls its listener where this program is asked to end; returns how to stop that
 * @returns whether the time was over, and what to call when the command has ended
 */
export function limitChild(
  child: ChildProcess,
  limitMs: number,
  onEnd: (listener: () => void) => () => void,
): { isLate(): boolean; release(): void } {
  let late = false;
  let killing: NodeJS.Timeout | undefined;
  const stop = (): void => {
    endGroup(child, 'SIGTERM');
    killing ??= setTimeout(endGroup, GRACE_MS, child, 'SIGKILL');
  };
  const timer = setTimeout(() => {
    late = true;
    stop();
  }, limitMs);
  const forget = onEnd(stop);
  return {
    isLate: () => late,
    release() {
      clearTimeout(timer);
      clearTimeout(killing);
      forget();
    },
  };
}
