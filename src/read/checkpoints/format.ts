/** What a checkpoint format is: one file in this folder and one line in registry.ts. */

import type { Checkpoint } from '../../model/checkpoint.ts';
import type { ByteSource } from '../bytes/source.ts';

export interface CheckpointFormat {
  /** kebab-case: file name, `--format` value, row in docs/checkpoints.md. */
  readonly id: string;
  readonly title: string;
  /**
   * Whether a file is of this format, from its first bytes (at most 4 KiB) and, where these do not tell, from a few
   * more slices. Content decides, never the extension.
   */
  sniff(head: Uint8Array, source: ByteSource): boolean | Promise<boolean>;
  /**
   * Opens it: reads headers, checks every size and offset against the file, allocates nothing that the bytes present
   * cannot fill. The checkpoint owns the source from here on.
   */
  open(source: ByteSource): Promise<Checkpoint>;
  /** Why a walk skips a file or folder: it is read through another one in the same folder. */
  part?(name: string, kind: 'file' | 'folder', beside: ReadonlySet<string>): string | undefined;
}
