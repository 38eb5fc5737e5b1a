/** Where inputs live that are not files of this machine: one interface for every scheme of a URL. */

/** An object behind a URL. */
export interface RemoteEntry {
  /** Path relative to the URL, with `/` between its parts; empty where the URL itself names the object. */
  readonly name: string;
  /** Its size; null where the server does not say. */
  readonly bytes: number | null;
  /** Milliseconds since 1970; null where the server does not say. */
  readonly modified: number | null;
  /** What identifies this content (an ETag); null where the server does not say. */
  readonly version: string | null;
}

export interface Source {
  /** The URL as reports, messages and errors show it: without credentials, query and fragment. */
  readonly shown: string;
  /**
   * What lies behind the URL: itself, or the objects of a folder.
   *
   * @throws source-missing, source-denied, source-unreachable, source-refused, source-answer
   */
  list(): Promise<{ readonly isFolder: boolean; readonly entries: readonly RemoteEntry[] }>;
  /**
   * Bytes [start, end) of an entry, or all of it from `start` where `end` is null. Interrupted transfers are resumed.
   *
   * @throws source-incomplete, source-changed, and what `list` throws
   */
  open(entry: RemoteEntry, start: number, end: number | null): AsyncIterable<Uint8Array>;
  /** The entry as it is now: its size and version tell whether it grew or changed. @throws what `list` throws */
  again(entry: RemoteEntry): Promise<RemoteEntry>;
  /**
   * Writes a verdict to the run that a listed entry is of, in place of the one that was written before; left out where nothing can be
   * written to.
   *
   * @param verdict a class of verdict
   * @throws what `list` throws
   */
  tag?(entry: RemoteEntry, verdict: string): Promise<void>;
}

/** What a verdict is called where it is written. */
export const VERDICT_TAG = 'clippy-diag';

/** What a source may use of the world around it. */
export interface SourceOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds without a byte after which a transfer counts as interrupted. Default 30,000. */
  readonly idle?: number;
  /** Milliseconds before the first repetition; each further one waits twice as long. Default 500. */
  readonly backoff?: number;
  /** Repetitions without progress after which a transfer is given up. Default 5. */
  readonly retries?: number;
  /** Refuse addresses of this machine and of its own networks: for URLs that a stranger may choose. */
  readonly publicOnly?: boolean;
  /** Aborts every transfer. */
  readonly signal?: AbortSignal;
}
