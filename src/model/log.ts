/** What came out of reading one log file (or one group of event files): its runs and what was lost on the way. */
import type { ErrorRecord } from './errors.ts';
import type { Run } from './run.ts';

/** Why a stretch of an input gave no record. The list is closed: consumers of the JSON may switch on it. */
export const LOSS_REASONS = [
  /** The last record is not whole: the log is still written, or was cut. */
  'torn-record',
  /** The gzip stream ends or breaks here; how much followed is unknown, so that it has 0 bytes. */
  'torn-gzip',
  /** As `torn-gzip`, of a zstd, xz or bzip2 stream. */
  'torn-stream',
  /** A quote that no quote closes took these lines for one cell. */
  'unclosed-quote',
  /** Zero bytes where text should be: a disk that was full, a machine that lost power. */
  'hole',
  /** A record that its format cannot read. */
  'damaged',
  /** A record whose checksum is not that of its bytes. */
  'bad-checksum',
  /** Bytes between records that belong to none. */
  'no-record',
  /** A record that is its format's, and whose value is not a number. */
  'refused-value',
  /** A row with more or fewer cells than the header has. */
  'wrong-cells',
  'line-too-long',
  /** A part that lies beyond the end of its file, or a step of a capture behind one that is not whole. */
  'cut-off',
  /** A part whose file is not there. */
  'absent',
  /** More than a limit allows. */
  'over-limit',
] as const;
export type LossReason = (typeof LOSS_REASONS)[number];

/** A stretch of an input that gave no record. Stretches of one reason with no record between them are one. */
export interface Lost {
  readonly reason: LossReason;
  /** Records (lines, rows, events, columns, tensors) that it held; left out where that is unknown. */
  readonly records?: number;
  readonly bytes: number;
  /** Offset of its first byte in the decoded stream. */
  readonly at: number;
  /** Stretches that were folded into this entry because there were too many to list; left out where it is one. */
  readonly pieces?: number;
}

/**
 * Where every byte of an input went:
 * `bytes = records + overhead + passedOver + Σ lost.bytes`.
 */
export interface Account {
  /** Size of the file, decompressed, in its own encoding: a UTF-16 character has two bytes. */
  readonly bytes: number;
  /** Size on disk, where it is compressed. */
  readonly compressedBytes?: number;
  /** Bytes of the records that were read. */
  readonly records: number;
  /** Byte order mark, header, framing, separators, line ends, blank lines. */
  readonly overhead: number;
  /** Text that matches no dialect, members that are no metric. */
  readonly passedOver: number;
  /** In the order of their places; empty where the input is whole. */
  readonly lost: readonly Lost[];
}

/** Records that were lost. A torn last record is not among them: it may still be written. */
export const lostRecords = ({ lost }: Pick<Account, 'lost'>): number =>
  lost.reduce(
    (sum, { reason, records, pieces }) => (reason === 'torn-record' ? sum : sum + (records ?? pieces ?? 1)),
    0,
  );

/** Bytes of a last record that is not whole. */
export const unreadBytes = ({ lost }: Pick<Account, 'lost'>): number =>
  lost.reduce((sum, { reason, bytes }) => (reason === 'torn-record' ? sum + bytes : sum), 0);

/** Bytes of the input that the account does not tell; 0 where it closes. */
export const unaccounted = ({ bytes, records, overhead, passedOver, lost }: Account): number =>
  bytes - records - overhead - passedOver - lost.reduce((sum, one) => sum + one.bytes, 0);

/** How a text without a known layout was read. */
export interface ReadBy {
  /** `layout`: a record of a configuration, or columns chosen by `--map`; `words`: its words name the loss; `guess`: only its numbers look like one, and nobody should rely on it unasked. */
  readonly how: 'layout' | 'words' | 'guess';
  /** One sentence: what was read, from which line, and how to choose another column. */
  readonly statement: string;
}

export interface LogInput {
  readonly kind: 'log';
  readonly path: string;
  readonly format: string;
  /** SHA-256 of the file's bytes, hashed while they stream; null when reading stopped before the end. */
  readonly sha256: string | null;
  /** Damage inside the file: bad lines, bad CRCs. They make the exit code 3 without a gate. */
  readonly errors: readonly ErrorRecord[];
  readonly account: Account;
  /** Records read. */
  readonly kept: number;
  /** {@link lostRecords} of the account. */
  readonly lost: number;
  /** {@link unreadBytes} of the account: a warning in `analyze`, inconclusive in a gate. */
  readonly unreadBytes: number;
  /** Bytes that were appended while the file was read; left out where there were none. */
  readonly grownBytes?: number;
  /** Left out where the layout is a known one. */
  readonly readBy?: ReadBy;
  /** The files that were joined into this input, each as it was read; left out where it is one file. */
  readonly files?: readonly Omit<LogInput, 'kind' | 'runs' | 'files'>[];
  readonly runs: readonly Run[];
}

/** How an input was read, where no known layout says it: the text as a whole, or the loss of one of its runs. */
export function readByOf({
  readBy,
  runs,
}: {
  readonly readBy?: ReadBy | undefined;
  readonly runs: readonly Run[];
}): Pick<LogInput, 'readBy'> {
  if (readBy !== undefined) return { readBy };
  const statement = runs.find(({ guess }) => guess !== undefined)?.guess;
  return statement === undefined ? {} : { readBy: { how: 'guess', statement } };
}
