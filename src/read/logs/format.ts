/** What a log format is: one file in this folder and one line in registry.ts. */

import type { ErrorRecord } from '../../model/errors.ts';
import type { TextLayout } from '../../model/layout.ts';
import type { Account, LogInput } from '../../model/log.ts';
import type { Role, Run, StepUnit, TimeSeries } from '../../model/run.ts';
import type { TextEncoding } from '../bytes/encoding.ts';
import type { Sidecars } from './hyperparameters.ts';

export interface LogReadOptions {
  /** `--map role=NAME`: series that get a role whatever their name says. */
  readonly roles: ReadonlyMap<string, Role>;
  /** Layouts of printed lines from a configuration; the first one that fits a line counts. */
  readonly layouts?: readonly TextLayout[];
  /** `--pattern` of the stdout format. */
  readonly pattern?: string;
  /** The encoding of a text file before it was made UTF-8: the account is of the bytes of the file. */
  readonly encoding?: TextEncoding;
}

/** A series as a format reads it; roles and attempts are found afterwards, over all series of the run. */
export interface LoggedSeries extends Omit<TimeSeries, 'role' | 'task' | 'attemptOffsets' | 'pathOffsets'> {
  /** What it measures, where its name says more (`lr-0.1 - loss` is the `loss` of a run): its role follows from this. */
  readonly quantity?: string;
}

/** A run as one file has it. */
export interface LoggedRun {
  /** Distinguishes the runs of one file; undefined where there is one. */
  readonly name?: string;
  readonly stepUnit: StepUnit;
  /** See {@link Run.planned}. */
  readonly planned?: number;
  readonly series: readonly LoggedSeries[];
  /** Lines or byte offsets at which the log itself says that training starts again, ascending. */
  readonly restarts?: readonly number[];
  readonly hyperparameters?: Run['hyperparameters'];
  readonly notes?: readonly string[];
}

/** What a format finds in a file; the fields are those of {@link LogInput}. */
export interface LogContent extends Pick<LogInput, 'kept' | 'readBy'> {
  /** Of the bytes that the format was given; {@link readRawStream} adds the byte order mark and compares it with the file. */
  readonly account: Account;
  readonly errors: readonly ErrorRecord[];
  readonly runs: readonly LoggedRun[];
  /** In text without a record, the lines that look most like one, the best first. */
  readonly likeliest?: readonly { readonly line: number; readonly text: string }[];
}

/** A log that is being read piece by piece. */
export interface LogReading {
  /** @param isWhole whether the chunk ends with a line: a carriage return at its end is a line end of its own */
  push(chunk: Uint8Array, isWhole?: boolean): void;
  /** What was found so far. If the last line had an end, more may be pushed: it does not change what was returned. */
  content(): LogContent;
  /** Whether a record of the lines so far is still open, or the bytes after the last line end may be a whole record. */
  mayGoOn(rest: Buffer): boolean;
}

/** Files that a walk met and that are one run. */
export interface RunFiles {
  /** What the input is called: the file, or the folder of several. */
  readonly path: string;
  /** What the run is called: the file or folder, as it lies below where the walk began. */
  readonly named: string;
  /** In the order of their names; `prefix` goes before the names of a file's series. */
  readonly files: readonly { readonly path: string; readonly prefix?: string }[];
  /** Where hyperparameters lie. */
  readonly folder: string;
  /** Each file is a series of its own, not a stretch of time. */
  readonly parallel?: true;
}

/** A series of one or more files, one after the other. */
export interface PlacedSeries extends LoggedSeries {
  /** The index of the first point of each file. */
  readonly pathOffsets: readonly number[];
}

/** What a convention makes of the series of a run. */
export interface Conventional<Series extends PlacedSeries> {
  readonly series: readonly Series[];
  /** What a series measures where its name says something else: its role follows from this. */
  readonly quantities: ReadonlyMap<string, string>;
  /** Roles that the names alone do not show. */
  readonly roles: ReadonlyMap<string, Role>;
  readonly stepUnit: StepUnit;
  readonly epochs?: Run['epochs'];
  readonly notes: readonly string[];
}

/**
 * A log format. What is special about one (several files are one run, its file is rewritten) is declared
 * here, so that no other code depends on an id.
 */
export interface LogFormat {
  /** kebab-case: file name, `--format` value, docs page. */
  readonly id: string;
  readonly title: string;
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
  /** As {@link read}, of bytes that come piece by piece: of a log that grows only what was added is read. */
  readOn?(path: string, options: LogReadOptions): LogReading | Promise<LogReading>;
  /** Lines also end at a lone carriage return: progress bars. */
  readonly carriageReturns?: true;
  /** The file is one document: a newer content replaces the older, it does not follow it. */
  readonly document?: true;
  /** The head shows little: parts of checkpoints look alike, so their formats are asked too. */
  readonly vague?: true;
  /**
   * Takes text that no format claims, and all text with `--pattern`. Its first record may come
   * late (after the source of the trainer): a walk tries files of these names, and one without a record is
   * in no known format.
   */
  readonly anyText?: { readonly names: RegExp };
  /** Which of the files that a walk from `root` met are one run; without this, each file is a run. */
  joined?(paths: readonly string[], root: string): readonly RunFiles[];
  /** Files whose records another of them has too, each with that file; a walk skips them. */
  superseded?(paths: readonly string[]): ReadonlyMap<string, string>;
  /** What a program that writes the format means by the series of a run; undefined where none is recognised. */
  convention?<Series extends PlacedSeries>(series: readonly Series[]): Conventional<Series> | undefined;
  /** Hyperparameters of a run that the format keeps in its folder. */
  parameters?(folder: string): Promise<Sidecars>;
  /** Whether a file is one of those that {@link parameters} reads. */
  isParameter?(path: string): Promise<boolean>;
  /** File names (without `.gz`) that only logs have: a gate does not ignore one that was not read. */
  readonly names?: RegExp;
  /** Records that a file holds before the first point; 0 where it is left out. A file with no more is a run that died. */
  readonly headerRecords?: number;
  /** Printed text may look like it: a comma in each line is enough. */
  readonly mayBeText?: true;
  /** Tables of data look like logs of it. */
  readonly mayBeData?: true;
  /** Why a file of this format that a walk met is not a log, by its content. */
  noLog?(runs: readonly Run[], path: string): string | undefined;
}

/** The `read` of a format that takes its bytes piece by piece: all of them, one piece after the other. */
export const wholeBy =
  (readOn: NonNullable<LogFormat['readOn']>): LogFormat['read'] =>
  async (bytes, path, options) => {
    const reading = await readOn(path, options);
    for await (const piece of bytes) reading.push(piece);
    return reading.content();
  };
