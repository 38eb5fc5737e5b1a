/** The one place where an input is opened and recognised by its first bytes, which are read once. */
import { basename } from 'node:path';
import { type PeekedSource, peekSource } from '../../read/bytes/peeked-source.ts';
import { type ByteSource, openFile } from '../../read/bytes/source.ts';
import type { CheckpointFormat } from '../../read/checkpoints/format.ts';
import type { LogFormat } from '../../read/logs/format.ts';
import {
  decompressedHead,
  formatByName,
  formatByRecords,
  formatOf,
  HEAD_BYTES,
} from '../../read/logs/read-log.ts';
import { type Container, containerOf } from './containers.ts';

/** A file that is open, and what its first bytes say that it is. */
export interface InputFile {
  readonly path: string;
  readonly source: PeekedSource;
  /** The first bytes, decompressed. */
  readonly head: Buffer;
  /** The log format that claims the head. */
  readonly told: LogFormat | undefined;
  /** The log format that the file's name speaks for, or the records in its head, of text that no format claims. */
  readonly named: LogFormat | undefined;
  /** The checkpoint format that claims it; asked where a log format claims little, and right where both do. */
  readonly checkpoint: CheckpointFormat | undefined;
  /** Set where it is an archive or a notebook: its contents are read, not the file. */
  readonly container: Container | undefined;
}

/** Whoever opens it closes its source, or hands it on. @throws file-… */
export const openInput = async (path: string): Promise<InputFile> => inputOf(await openFile(path));

/** As {@link openInput}, of a source that is open. */
export async function inputOf(opened: ByteSource): Promise<InputFile> {
  const { path } = opened;
  try {
    const source = await peekSource(opened, HEAD_BYTES);
    const head = await decompressedHead(source.head, path);
    const told = formatOf(head, path);
    // Readers of checkpoints are loaded where a file may be one: they are a sixth of what a log would wait for.
    const checkpoint =
      told === undefined || told.vague
        ? await (await import('../../read/checkpoints/registry.ts')).sniffCheckpoint(source)
        : undefined;
    const container = checkpoint === undefined ? containerOf(source, head, source.head) : undefined;
    const named =
      told !== undefined || container !== undefined
        ? undefined
        : (formatByName(head, basename(path)) ??
          (checkpoint === undefined ? await formatByRecords(head, source) : undefined));
    return { path, source, head, told, named, checkpoint, container };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
