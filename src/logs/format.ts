/** What a log format is: one file in this folder and one line in registry.ts. */
import type { LogInput } from '../model/log.ts';
import type { Role } from '../model/run.ts';

export interface LogReadOptions {
  /** `--map role=NAME`: series that get a role whatever their name says. */
  readonly roles: ReadonlyMap<string, Role>;
  /** `--pattern` of the stdout format. */
  readonly pattern?: string;
}

export interface LogFormat {
  /** kebab-case: file name, `--format` value, docs page. */
  readonly id: string;
  readonly title: string;
  /** What was looked for when a file is in no known format ("JSON objects, one a line"). */
  readonly tried: string;
  /**
   * Whether the (decompressed) head of a file, at most 64 KiB, is of this format. Content decides, never the
   * extension. Must claim its own fixtures and no others.
   */
  sniff(head: Uint8Array, path: string): boolean;
  /**
   * Reads one file, streaming. `bytes` yields the decompressed content in order; `path` is for messages.
   * Damage is recorded in the result, not thrown; only a file of which nothing can be used throws a DiagError.
   */
  read(bytes: AsyncIterable<Uint8Array>, path: string, options: LogReadOptions): Promise<LogInput>;
}
