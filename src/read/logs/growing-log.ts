/** Reads a log again and again while it grows: of one that was read before only what was added. */
import { createHash, type Hash } from 'node:crypto';
import { compressionOf } from '../bytes/compression.ts';
import { encodingOf, markBytes } from '../bytes/encoding.ts';
import { type JobWatcher, watchJob } from '../job/job-signs.ts';
import { LossReader } from '../seen/loss-records.ts';
import type { LogFormat, LogReading } from './format.ts';
import {
  anyTextOf,
  betterOf,
  formatById,
  formatOf,
  HEAD_BYTES,
  mayBeOther,
  type RawLog,
  type ReadLogOptions,
  rawLogOf,
  readTextOn,
} from './read-log.ts';
import { wrapperOf } from './wrapped-lines.ts';

/** A file as it is at one look. */
export interface GrowingBytes {
  /** For messages. */
  readonly path: string;
  readonly byteLength: number;
  /** The bytes from a place on, up to another one or to {@link byteLength}. */
  from(start: number, end?: number): AsyncIterable<Uint8Array>;
}

/** Bytes at the start, and before the end of what was read, by which it is known again. */
const MARK_BYTES = 4096;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** The readers of a log after its first `bytes` bytes, which of a text are whole lines. */
interface Begun {
  readonly format: LogFormat;
  readonly reading: LogReading;
  readonly second: LossReader;
  readonly job: JobWatcher;
  /** The same lines as a text of any layout, from when that may be the better reading. */
  tables: LogReading | undefined;
  readonly hash: Hash;
  bytes: number;
  /** The first and the last of them. */
  readonly head: Buffer;
  mark: Buffer;
}

type GrowingOptions = Pick<ReadLogOptions, 'format' | 'pattern' | 'roles' | 'layouts'>;

/**
 * A log of which each look reads what was added since the look before: of 64 KiB or more, not compressed, and of a format that can be
 * read on; texts in UTF-8. Smaller heads may still turn out to be of another format, and other formats are read whole.
 */
export class GrowingLog {
  private begun: Begun | undefined;
  private readonly options: GrowingOptions;

  /**
   * @param options the log keeps only those of them that it needs: the others are of one look, and hold all that it read
   * @param least bytes of a file that is read on; a smaller one is read whole
   */
  constructor(
    { format, pattern, roles, layouts }: GrowingOptions,
    private readonly least = HEAD_BYTES,
  ) {
    this.options = {
      ...(format !== undefined && { format }),
      ...(pattern !== undefined && { pattern }),
      ...(roles !== undefined && { roles }),
      ...(layouts !== undefined && { layouts }),
    };
  }

  /**
   * What a reading of the whole lines of the file gives. A last line without an end is left for the next look.
   *
   * @returns undefined where the file has to be read whole: it cannot be read on, or a record goes on
   * @throws what `file` throws
   */
  async read(file: GrowingBytes): Promise<RawLog | undefined> {
    const rest = await this.takeAdded(file);
    if (rest !== undefined) return this.contentOf(this.begun!, rest, file);
    this.begun = file.byteLength < this.least ? undefined : await begin(file, this.options);
    const first = this.begun && (await takeLines(this.begun, file));
    return first && this.contentOf(this.begun!, first, file);
  }

  /** As {@link read} of a file that was read on before and only grew; undefined of any other, which is not read. */
  async readOn(file: GrowingBytes): Promise<RawLog | undefined> {
    const rest = await this.takeAdded(file);
    return rest && this.contentOf(this.begun!, rest, file);
  }

  /** Takes what was added; the bytes after its whole lines. Undefined where this is not the file that was read, or none was. */
  private async takeAdded(file: GrowingBytes): Promise<Buffer | undefined> {
    const { begun } = this;
    const isKnown = begun !== undefined && file.byteLength >= begun.bytes && (await hasHead(begun, file));
    return isKnown ? takeLines(begun, file) : undefined;
  }

  /** Lets go of what was read: if the file grows after all, it is read from its start once. */
  forget(): void {
    this.begun = undefined;
  }

  private async contentOf(begun: Begun, rest: Buffer, file: GrowingBytes): Promise<RawLog | undefined> {
    const { reading, second, job, hash, format } = begun;
    if (reading.mayGoOn(rest)) return undefined;
    const known = reading.content();
    const content = mayBeOther(format, known, second.lines, this.options)
      ? betterOf(known, (await this.tablesOf(begun, file)).content())
      : known;
    // Why a text holds no record is said by who reads it whole.
    if (format.anyText !== undefined && content.kept === 0) return undefined;
    return rawLogOf(file.path, format.id, content, {
      account: content.account,
      sha256: hash.copy().digest('hex'),
      jobSigns: format.text ? job.end() : undefined,
      lossRecords: second.end(file.path),
    });
  }

  /** The lines so far as a text: read once more when that is asked for first, then read on. */
  private async tablesOf(begun: Begun, file: GrowingBytes): Promise<LogReading> {
    if (begun.tables !== undefined) return begun.tables;
    const { layouts = [], roles = new Map() } = this.options;
    const tables = await readTextOn(file.path, { layouts, roles });
    let bytes = 0;
    for await (const chunk of file.from(0, begun.bytes)) {
      bytes += chunk.length;
      tables.push(chunk, bytes === begun.bytes);
    }
    begun.tables = tables;
    return tables;
  }
}

/** The readers of a file that can be read on; undefined where it cannot. */
async function begin(file: GrowingBytes, options: GrowingOptions): Promise<Begun | undefined> {
  if (options.pattern !== undefined) return undefined;
  const head = await bytesOf(file.from(0, HEAD_BYTES));
  if (compressionOf(head) !== undefined) return undefined;
  const format =
    options.format === undefined
      ? (formatOf(head, file.path) ?? anyTextOf(head))
      : formatById(options.format);
  if (format?.readOn === undefined) return undefined;
  const isPlain = encodingOf(head) === 'utf-8' && markBytes(head) === 0 && wrapperOf(head) === undefined;
  if (format.text && !isPlain) return undefined;
  return {
    format,
    reading: await format.readOn(file.path, {
      roles: options.roles ?? new Map(),
      layouts: options.layouts ?? [],
    }),
    second: new LossReader(file.path),
    job: watchJob(),
    tables: undefined,
    hash: createHash('sha256'),
    bytes: 0,
    // A part would keep all of it.
    head: Buffer.from(head.subarray(0, MARK_BYTES)),
    mark: Buffer.alloc(0),
  };
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

/** Whether a file begins as it did: one that was written anew may be as long, and end as it did. */
const hasHead = async ({ head }: Begun, file: GrowingBytes): Promise<boolean> =>
  head.equals(await bytesOf(file.from(0, head.length)));

/**
 * Takes what was added: of a text the whole lines.
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
    const whole = rest.length === 0 ? added : Buffer.concat([rest, added]);
    const end = endOfLines(whole, begun.format);
    if (end > 0) take(begun, whole.subarray(0, end));
    // A chunk is valid until the next one is asked for.
    rest = Buffer.from(whole.subarray(end));
  }
  return known.length > 0 ? undefined : rest;
}

/** Where the last whole line ends. A carriage return at the very end may be the first half of a line end. */
function endOfLines(bytes: Buffer, { text, carriageReturns }: LogFormat): number {
  if (!text) return bytes.length;
  const feed = bytes.lastIndexOf(LINE_FEED) + 1;
  if (carriageReturns !== true || bytes.length < 2) return feed;
  return Math.max(feed, bytes.lastIndexOf(CARRIAGE_RETURN, bytes.length - 2) + 1);
}

function take(begun: Begun, lines: Buffer): void {
  begun.reading.push(lines, true);
  begun.tables?.push(lines, true);
  if (begun.format.text) {
    begun.second.push(lines, true);
    begun.job.take(lines);
  }
  begun.hash.update(lines);
  begun.bytes += lines.length;
  begun.mark = Buffer.from(
    lines.length >= MARK_BYTES
      ? lines.subarray(lines.length - MARK_BYTES)
      : Buffer.concat([begun.mark, lines]).subarray(-MARK_BYTES),
  );
}
