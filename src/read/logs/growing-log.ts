/** Reads a log again and again while it grows: of one that was read before only what was added. */
import { createHash, type Hash } from 'node:crypto';
import { compressionOf } from '../bytes/compression.ts';
import { encodingOf, markBytes } from '../bytes/encoding.ts';
import { type JobWatcher, watchJob } from '../job/job-signs.ts';
import { LossReader } from '../seen/loss-records.ts';
import type { LogFormat, LogReading } from './format.ts';
import {
  formatById,
  formatOf,
  HEAD_BYTES,
  mayBeOther,
  type RawLog,
  type ReadLogOptions,
  rawLogOf,
} from './read-log.ts';
import { wrapperOf } from './wrapped-lines.ts';

/** A file as it is at one look. */
export interface GrowingBytes {
  /** For messages. */
  readonly path: string;
  readonly byteLength: number;
  /** The bytes from a place on, up to {@link byteLength}. */
  from(start: number): AsyncIterable<Uint8Array>;
}

/** Bytes before the end of what was read by which it is known again. */
const MARK_BYTES = 4096;
const LINE_FEED = 10;

/** The readers of a log after its first `bytes` bytes, which are whole lines. */
interface Begun {
  readonly format: LogFormat;
  readonly reading: LogReading;
  readonly second: LossReader;
  readonly job: JobWatcher;
  readonly hash: Hash;
  bytes: number;
  /** The last of them. */
  mark: Buffer;
}

/**
 * A log of which each look reads what was added since the look before: JSON lines and CSV in UTF-8 of 64 KiB or more, not compressed.
 * Smaller heads may still turn out to be of another format, and other formats are read whole.
 */
export class GrowingLog {
  private begun: Begun | undefined;

  constructor(private readonly options: ReadLogOptions) {}

  /**
   * What a reading of the whole lines of the file gives. A last line without an end that is surely cut is left for the next look.
   *
   * @returns undefined where the file has to be read whole: it cannot be read on, or its last line may be a record
   * @throws what `file` throws
   */
  async read(file: GrowingBytes): Promise<RawLog | undefined> {
    const { begun } = this;
    if (begun !== undefined && file.byteLength >= begun.bytes) {
      const rest = await takeLines(begun, file);
      if (rest !== undefined) return this.contentOf(begun, rest, file.path);
    }
    this.begun = await begin(file, this.options);
    const rest = this.begun && (await takeLines(this.begun, file));
    return rest && this.contentOf(this.begun!, rest, file.path);
  }

  private contentOf(begun: Begun, rest: Buffer, path: string): RawLog | undefined {
    const { reading, second, job, hash, format } = begun;
    if (!reading.isCut(rest)) return undefined;
    const content = reading.content();
    if (mayBeOther(format, content, second.lines, this.options)) return undefined;
    return rawLogOf(path, format.id, content, {
      account: content.account,
      sha256: hash.copy().digest('hex'),
      jobSigns: job.end(),
      lossRecords: second.end(path),
    });
  }
}

/** The readers of a file that can be read on; undefined where it cannot. */
async function begin(file: GrowingBytes, options: ReadLogOptions): Promise<Begun | undefined> {
  if (file.byteLength < HEAD_BYTES || options.pattern !== undefined) return undefined;
  const head = await headOf(file);
  if (compressionOf(head) !== undefined || encodingOf(head) !== 'utf-8' || markBytes(head) > 0)
    return undefined;
  if (wrapperOf(head) !== undefined) return undefined;
  const format = options.format === undefined ? formatOf(head, file.path) : formatById(options.format);
  if (format?.readOn === undefined) return undefined;
  return {
    format,
    reading: format.readOn(file.path, { roles: options.roles ?? new Map() }),
    second: new LossReader(file.path),
    job: watchJob(),
    hash: createHash('sha256'),
    bytes: 0,
    mark: Buffer.alloc(0),
  };
}

async function headOf(file: GrowingBytes): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of file.from(0)) {
    parts.push(Buffer.from(chunk));
    bytes += chunk.length;
    if (bytes >= HEAD_BYTES) break;
  }
  return Buffer.concat(parts).subarray(0, HEAD_BYTES);
}

/**
 * Takes the whole lines that were added.
 *
 * @returns the bytes after them; undefined where the file is no longer the one that was read
 */
async function takeLines(begun: Begun, file: GrowingBytes): Promise<Buffer | undefined> {
  let known = begun.mark;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of file.from(begun.bytes - known.length)) {
    let added = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (known.length > 0) {
      const same = Math.min(known.length, added.length);
      if (!known.subarray(0, same).equals(added.subarray(0, same))) return undefined;
      known = known.subarray(same);
      added = added.subarray(same);
    }
    const end = added.lastIndexOf(LINE_FEED) + 1;
    // A chunk is valid until the next one is asked for.
    if (end === 0) rest = Buffer.concat([rest, added]);
    else {
      if (rest.length > 0) take(begun, rest);
      take(begun, added.subarray(0, end));
      rest = Buffer.from(added.subarray(end));
    }
  }
  return known.length > 0 ? undefined : rest;
}

function take(begun: Begun, lines: Buffer): void {
  begun.reading.push(lines);
  begun.second.push(lines);
  begun.job.take(lines);
  begun.hash.update(lines);
  begun.bytes += lines.length;
  begun.mark = Buffer.from(
    lines.length >= MARK_BYTES
      ? lines.subarray(lines.length - MARK_BYTES)
      : Buffer.concat([begun.mark, lines]).subarray(-MARK_BYTES),
  );
}
