/** What a log format is: one file in this folder and one line in registry.ts. */
import type { ErrorRecord } from '../model/errors.ts';
import type { LogInput } from '../model/log.ts';
import type { Role, Run, StepUnit, TimeSeries } from '../model/run.ts';

export interface LogReadOptions {
  /** `--map role=NAME`: series that get a role whatever their name says. */
  readonly roles: ReadonlyMap<string, Role>;
  /** `--pattern` of the stdout format. */
  readonly pattern?: string;
}

/** A series as a format reads it; roles and attempts are found afterwards, over all series of the run. */
export type LoggedSeries = Pick<TimeSeries, 'name' | 'step' | 'value' | 'wallTime' | 'line' | 'byteOffset'>;

/** A run as one file tells it. */
export interface LoggedRun {
  /** Tells the runs of one file apart; undefined where there is one. */
  readonly name?: string;
  readonly stepUnit: StepUnit;
  readonly series: readonly LoggedSeries[];
  /** Lines or byte offsets at which the log itself says that training starts again, ascending. */
  readonly restarts?: readonly number[];
  readonly hyperparameters?: Run['hyperparameters'];
  readonly notes?: readonly string[];
}

/** What a format finds in a file; the fields are those of {@link LogInput}. */
export interface LogContent extends Pick<LogInput, 'kept' | 'lost' | 'unreadBytes'> {
  readonly errors: readonly ErrorRecord[];
  readonly runs: readonly LoggedRun[];
}

export interface LogFormat {
  /** kebab-case: file name, `--format` value, docs page. */
  readonly id: string;
  readonly title: string;
  /** What was looked for when a file is in no known format ("JSON objects, one a line"). */
  readonly tried: string;
  /** Text is handed over as UTF-8 without a byte order mark, whatever it was. */
  readonly text: boolean;
  /**
   * Whether the (decompressed) head of a file, at most 64 KiB, is of this format. Content decides, never the
   * extension. Must claim its own fixtures and no others.
   */
  sniff(head: Buffer, path: string): boolean;
  /**
   * Reads one file, streaming. `bytes` yields the decompressed content in order; `path` is for messages.
   * Damage is recorded in the result, not thrown; only a file of which nothing can be used throws a DiagError.
   */
  read(bytes: AsyncIterable<Uint8Array>, path: string, options: LogReadOptions): Promise<LogContent>;
}
