/** What came out of reading one log file (or one group of event files): its runs and what was lost on the way. */
import type { ErrorRecord } from './errors.ts';
import type { Run } from './run.ts';

export interface LogInput {
  readonly kind: 'log';
  readonly path: string;
  readonly format: string;
  /** SHA-256 of the file's bytes, hashed while they stream; null when reading stopped before the end. */
  readonly sha256: string | null;
  /** Damage inside the file: bad lines, bad CRCs. They make the exit code 3 without a gate. */
  readonly errors: readonly ErrorRecord[];
  /** Records read, records lost. */
  readonly kept: number;
  readonly lost: number;
  /** Bytes of a last record that is not whole (a log that is still growing, or was cut): a warning, not a loss. */
  readonly unreadBytes: number;
  /** Bytes that were appended while the file was read; left out where there were none. */
  readonly grownBytes?: number;
  /** The files that were joined into this input, each as it was read; left out where it is one file. */
  readonly files?: readonly Omit<LogInput, 'kind' | 'runs' | 'files'>[];
  readonly runs: readonly Run[];
}
