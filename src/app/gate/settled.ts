/** Whether the inputs of a gate are still being written to. */

import { type DiagError, diagError } from '../../model/errors.ts';
import { type FileStamp, stampOf } from '../../read/bytes/source.ts';

export interface SettleOptions {
  /** Seconds that must have passed since an input was last written to; 0 looks twice and does not wait. Default 5. */
  readonly settle?: number;
  /** Settles after so many milliseconds. */
  readonly sleep?: (milliseconds: number) => Promise<void>;
  readonly now: () => Date;
  /** Called with what is waited for, for a progress line. */
  readonly onProgress?: (what: string) => void;
}

export const DEFAULT_SETTLE = 5;

const sleepFor = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Waits until the newest of some files, which have been read, is `settle` seconds old, and says which were written to
 * meanwhile or since the reading began, or have another size than what was read of them. A time in the future says
 * nothing (another machine's clock): such a file counts as old, so that the wait is never longer than `settle`.
 *
 * @param paths files, and folders into which files may come; anything else is left out
 * @param read how many bytes were read of a file, where all of it was
 * @param started when the reading began
 */
export async function stillWritten(
  paths: readonly string[],
  read: ReadonlyMap<string, number>,
  started: Date,
  { settle = DEFAULT_SETTLE, sleep = sleepFor, now, onProgress = () => {} }: SettleOptions,
): Promise<DiagError[]> {
  const before = await Promise.all(paths.map(stampOf));
  const time = now().getTime();
  const past = before.flatMap((stamp) =>
    stamp !== undefined && stamp.modified <= time ? [stamp.modified] : [],
  );
  const newest = past.reduce((latest, modified) => Math.max(latest, modified), Number.NEGATIVE_INFINITY);
  const left = Math.ceil(newest + 1000 * settle - time);
  if (left > 0) {
    onProgress(`waiting ${Math.ceil(left / 1000)} s: an input was written to just now (--settle)`);
    await sleep(left);
  }
  const after = await Promise.all(paths.map(stampOf));
  const end = now().getTime();
  const since = ({ modified }: FileStamp): boolean =>
    // File times have whole milliseconds: a write in the starting millisecond happened before the reading.
    modified >= started.getTime() + 1 && modified <= end;
  return paths.flatMap((path, k) => {
    const [a, b] = [before[k], after[k]];
    if (a === undefined && b === undefined) return [];
    const same =
      a !== undefined &&
      b !== undefined &&
      a.bytes === b.bytes &&
      a.modified === b.modified &&
      a.identity === b.identity;
    const seen = read.get(path) ?? b?.bytes;
    if (same && !since(b) && b.bytes === seen) return [];
    return [
      diagError(
        'input-still-written',
        { path, before: read.get(path) ?? a?.bytes ?? 0, after: b?.bytes ?? 0 },
        { path },
      ),
    ];
  });
}
