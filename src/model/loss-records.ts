/** What the second reader saw: every line with a loss-like word and a number, in file order (read/seen). */
import type { Column } from './column.ts';

export const RECORD_FLAG = {
  /** The loss-like names of the record are those of evaluations. */
  evaluation: 1,
  /** Text is in the place where earlier records of this name have a number. */
  refused: 2,
  /** A state of a progress bar that the next one overwrites. */
  redrawn: 4,
} as const;

/** Room for the flags in a tag: {@link LossRecords.tag}. */
export const TAG_FLAGS = 8;

/** Parallel columns, one entry a record, in file order. */
export interface LossRecords {
  readonly path: string;
  /** 1-based line, ascending; states of a progress bar share one. */
  readonly line: Column;
  /** The number of the first loss-like name that is no evaluation, else of the first; NaN where text is in its place. */
  readonly value: Column;
  /** Sum of {@link RECORD_FLAG}, plus {@link TAG_FLAGS} times the index of the name. */
  readonly tag: Column;
  /**
   * Seconds that the line of the record prints: since 1970, or since an unknown day where it prints no year. NaN where it prints
   * none; absent where no line prints any. Only distances count: the zone is not known.
   */
  readonly time?: Column;
}
