/** Reading one log file: bytes, hash, decompression, encoding, format, runs. */
import { createHash, type Hash } from 'node:crypto';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { type DiagError, diagError, type ErrorRecord } from '../../model/errors.ts';
import {
  type Account,
  type LogInput,
  type Lost,
  lostRecords,
  unaccounted,
  unreadBytes,
} from '../../model/log.ts';
import type { LossRecords } from '../../model/loss-records.ts';
import { nearest } from '../../model/nearest.ts';
import { isLossLike, type Run } from '../../model/run.ts';
import { peekStream, readChunks, STDIN_NAME } from '../bytes/chunks.ts';
import { compressionOf } from '../bytes/compression.ts';
import { encodingOf, isBinary, markBytes, type TextEncoding, toUtf8 } from '../bytes/encoding.ts';
import { joinAccounts } from '../bytes/ledger.ts';
import { type ByteSource, openFile, sizeOfPath } from '../bytes/source.ts';
import type { StreamDamage } from '../bytes/stream-damage.ts';
import { type JobSigns, type JobWatcher, watchJob } from '../job/job-signs.ts';
import { jobOf, tellsEnd } from '../job/job-story.ts';
import { LossReader } from '../seen/loss-records.ts';
import { recordsByRun } from '../seen/records-by-run.ts';
import { finishRun } from './finish-run.ts';
import type { LogContent, LogFormat, LoggedRun, LogReadOptions } from './format.ts';
import { NO_SIDECARS, type Sidecars } from './hyperparameters.ts';
import { LOG_FORMATS } from './registry.ts';
import { readSidecars } from './sidecars.ts';
import { suggestPattern } from './suggest-pattern.ts';
import { AMBIGUOUS_CELL } from './table-column.ts';
import { isBetter, isDamaged, isDoubtful } from './text/last-stage.ts';
import { unsupportedFormat } from './unsupported.ts';
import { unwrapped, type Wrapper, wrapperOf } from './wrapped-lines.ts';

export interface ReadLogOptions extends Partial<LogReadOptions> {
  /** `--format`: the id of a format that is used whatever the content looks like. */
  readonly format?: string;
  /** The id of the run; the path where it is left out. */
  readonly id?: string;
  /** What `-` reads; by default the standard input of the process. */
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Folder of the hyperparameters; by default the folder of the log. */
  readonly folder?: string;
  /** Reads the same bytes again, where possible; otherwise the start of a text is kept in memory for it. */
  readonly reopen?: () => AsyncIterable<Uint8Array>;
  /** Reads the hyperparameters in the folder of a log, or false; default {@link readSidecars}. */
  readonly sidecars?: ((folder: string) => Promise<Sidecars>) | false;
}

/** Bytes at the start of a file, and of its decompressed content, by which formats are recognised. */
export const HEAD_BYTES = 64 << 10;

/** A file as its format reads it, before roles and attempts are found. */
export interface RawLog extends LogContent {
  readonly path: string;
  readonly format: string;
  readonly sha256: string | null;
  readonly lost: number;
  readonly unreadBytes: number;
  readonly grownBytes?: number;
  /** What a text says of the process that wrote it. */
  readonly jobSigns?: JobSigns;
  /** What the second reader saw; empty where the format is binary. */
  readonly lossRecords?: LossRecords;
}

/** The format that claims a head, asked in the order of the registry. */
export function formatOf(head: Buffer, path: string): LogFormat | undefined {
  const text = utf8Head(head);
  return FORMATS.find((format) => format.sniff(format.text ? text : head, path));
}

/** Whether a head may be text: no zero bytes, as UTF-8. */
const isText = (head: Buffer): boolean => !isBinary(utf8Head(head));

/** The head as UTF-8 text. */
function utf8Head(head: Buffer): Buffer {
  const encoding = encodingOf(head);
  if (encoding !== 'utf-8') return Buffer.from(new TextDecoder(encoding).decode(head));
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? head.subarray(3) : head;
}

const FORMATS: readonly LogFormat[] = Object.values(LOG_FORMATS);

/** The format for text that no other format claims. */
const ANY_TEXT = FORMATS.find(({ anyText }) => anyText !== undefined)!;

/** The format of a head that no format claims; undefined where it is not text. */
export const anyTextOf = (head: Buffer): LogFormat | undefined => (isText(head) ? ANY_TEXT : undefined);

/** The format that text of this name is tried in if its head shows no format. */
export const formatByName = (head: Buffer, name: string): LogFormat | undefined =>
  ANY_TEXT.anyText!.names.test(name) && !isBinary(head) ? ANY_TEXT : undefined;

/**
 * The format that reads records of training in a text, whatever the file is called; undefined where it has no
 * records. Only a text that is a log as a whole counts: other text may name a loss too.
 *
 * @param source the file, of which more is read where its head has lines but no record
 */
export async function formatByRecords(head: Buffer, source: ByteSource): Promise<LogFormat | undefined> {
  if (!isText(head)) return undefined;
  if (await hasRecords(utf8Head(head))) return ANY_TEXT;
  if (source.byteLength <= head.length || compressionOf(head) !== undefined || !hasLines(head))
    return undefined;
  const more = Buffer.from(await source.slice(0, Math.min(source.byteLength, MORE_BYTES)));
  const reader = new LossReader();
  reader.push(utf8Head(more));
  return reader.lines >= SOME_LINES && (await hasRecords(utf8Head(more))) ? ANY_TEXT : undefined;
}

/** Whether bytes are lines of characters: the head of other data may have no zero bytes either. */
function hasLines(head: Buffer): boolean {
  let controls = 0;
  // Tabs, ends of lines, backspaces of progress bars and the escape of colours are part of a text.
  for (const byte of head) if (byte < 8 || (byte > 13 && byte < 32 && byte !== 27)) controls++;
  return head.includes(10) && controls * 100 < head.length;
}

/** How far into a text its first record is searched: a model summary and settings may precede it. */
const MORE_BYTES = 1 << 20;
/** Least lines that name a loss for which this larger start of a text is parsed. */
const SOME_LINES = 3;

async function hasRecords(text: Buffer): Promise<boolean> {
  const { kept, readBy } = await ANY_TEXT.read(oneChunk(text), '', { roles: new Map() });
  return kept > 0 && readBy?.how !== 'guess';
}

/** The format of an id. @throws unknown-id */
export function formatById(id: string): LogFormat {
  const found = FORMATS.find((format) => format.id === id);
  if (found === undefined)
    throw diagError('unknown-id', {
      kind: 'log format',
      id,
      known: Object.keys(LOG_FORMATS),
      nearest: nearest(id, Object.keys(LOG_FORMATS)),
    });
  return found;
}

/** The first bytes of a file, decompressed, as {@link formatOf} takes them. */
export async function decompressedHead(head: Uint8Array, path: string): Promise<Buffer> {
  const compression = compressionOf(head);
  const plain =
    compression === undefined ? head : await startOf(compression.decompress(oneChunk(head), path, () => {}));
  const wrapper = wrapperOf(plain);
  return Buffer.from(wrapper === undefined ? plain : await startOf(unwrapped(oneChunk(plain), wrapper)));
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** The first bytes of a stream, which is closed. */
async function startOf(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    parts.push(Buffer.from(chunk));
    bytes += chunk.length;
    if (bytes >= HEAD_BYTES) break;
  }
  return Buffer.concat(parts);
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    onBytes(chunk.length);
    yield chunk;
  }
}

async function* watched(chunks: AsyncIterable<Uint8Array>, job: JobWatcher): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    job.take(chunk);
    yield chunk;
  }
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Passes every chunk to the second reader before the format gets it. */
async function* shownTo(chunks: AsyncIterable<Uint8Array>, reader: LossReader): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    reader.push(chunk);
    yield chunk;
  }
}

/**
 * Reads a log of any format, compressed or not.
 *
 * @param known the format found by its head, where that was looked at
 * @throws file-…, format-unknown, log-no-record, format-unsupported, log-is-lfs-pointer, limit-exceeded; unknown-id
 *   for a format
 */
export async function readRawLog(
  source: ByteSource,
  options: ReadLogOptions = {},
  known?: LogFormat,
): Promise<RawLog> {
  const { path, byteLength } = source;
  const reopen = (): AsyncIterable<Uint8Array> => readChunks(source);
  const raw = await readRawStream(reopen(), path, { reopen, ...options }, known);
  const grownBytes = (await sizeOfPath(path)) - byteLength;
  return grownBytes > 0 ? { ...raw, grownBytes } : raw;
}

/** As {@link readRawLog}, for bytes of any source; a chunk must stay valid only until the next one is asked for. */
export async function readRawStream(
  chunks: AsyncIterable<Uint8Array>,
  shown: string,
  options: ReadLogOptions = {},
  told?: LogFormat,
): Promise<RawLog> {
  const hash = createHash('sha256');
  const { head, all, sizes, decode, damage } = await decoded(hashed(chunks, hash), shown, options);
  const errors: ErrorRecord[] = damage.errors;
  if (options.format === undefined) refuse(head, shown);
  const format = chosenFormat(options, told, head, shown);
  const unknown = (): Error =>
    diagError(
      'format-unknown',
      { path: shown, tried: `the ${FORMATS.length} formats of logs` },
      { path: shown },
    );
  if (format === undefined) {
    for await (const _ of all) break;
    throw unknown();
  }
  const encoding = format.text ? encodingOf(head) : 'utf-8';
  const job = watchJob();
  const second = new LossReader(shown);
  const content = await contentOf(format, { all, decode, path: shown, encoding }, { job, second }, options);
  const jobSigns = format.text ? job.end() : undefined;
  // Text was read in the hope that its first record comes late (a listing of the source may precede it).
  if (
    format.anyText !== undefined &&
    options.format === undefined &&
    content.kept === 0 &&
    errors.length === 0 &&
    !tellsEnd(jobSigns)
  ) {
    throw noRecord(content, options, shown) ?? unknown();
  }
  const bytes = sizes.decompressed;
  const account = accountOfFile(content.account, {
    bytes,
    mark: format.text ? markBytes(head) : 0,
    wrapping: bytes - sizes.unwrapped,
    odd: encoding === 'utf-8' ? 0 : bytes % 2,
    torn: damage.torn,
  });
  return rawLogOf(shown, format.id, content, {
    account: sizes.isCompressed ? { ...account, compressedBytes: sizes.file } : account,
    errors,
    sha256: damage.torn === undefined ? hash.digest('hex') : null,
    jobSigns,
    lossRecords: second.end(shown),
  });
}

/** What was read of a file, without the content that its format found. */
interface ReadFile extends Pick<RawLog, 'account' | 'sha256'> {
  /** Errors of the file, before those of its content. */
  readonly errors?: readonly ErrorRecord[];
  readonly jobSigns: JobSigns | undefined;
  readonly lossRecords: LossRecords;
}

/** A log from what was read of it; an account that does not add up is an error of it. */
export function rawLogOf(path: string, format: string, content: LogContent, file: ReadFile): RawLog {
  const { account, errors = [], sha256, jobSigns, lossRecords } = file;
  const open = unaccounted(account);
  const isOpen =
    open !== 0 ? [diagError('log-account-open', { bytes: open, path }, { path }).toRecord()] : [];
  return {
    ...content,
    path,
    format,
    account,
    lost: lostRecords(account),
    unreadBytes: unreadBytes(account),
    errors: [...errors, ...isOpen, ...content.errors],
    sha256,
    ...(jobSigns === undefined ? {} : { jobSigns }),
    lossRecords,
  };
}

/** The bytes of a file, decompressed and without what a log collector wraps around its lines. */
type Decode = (file: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

interface Decoded {
  readonly head: Buffer;
  readonly all: AsyncIterable<Uint8Array>;
  /** Bytes so far; complete once {@link all} was read to its end. */
  readonly sizes: { file: number; decompressed: number; unwrapped: number; readonly isCompressed: boolean };
  /** Decodes the same file again; damage was reported the first time. */
  readonly decode: Decode;
  readonly damage: { torn: Lost | undefined; readonly errors: ErrorRecord[] };
}

/** @throws file-empty; gzip-damaged, stream-damaged where nothing could be decompressed */
async function decoded(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  { format }: ReadLogOptions,
): Promise<Decoded> {
  const damage: Decoded['damage'] = { torn: undefined, errors: [] };
  const sizes = { file: 0, decompressed: 0, unwrapped: 0, isCompressed: false };
  const file = await peekStream(
    counted(chunks, (bytes) => {
      sizes.file += bytes;
    }),
    HEAD_BYTES,
  );
  if (file.head.length === 0) throw diagError('file-empty', { path }, { path });
  const compression = compressionOf(file.head);
  sizes.isCompressed = compression !== undefined;
  const plain =
    compression?.decompress(file.all, path, (error, kind) => {
      damage.torn = { reason: reasonOf(kind, compression.id), bytes: 0, at: sizes.decompressed };
      damage.errors.push(error.toRecord());
    }) ?? file.all;
  const inner = await peekStream(
    counted(plain, (bytes) => {
      sizes.decompressed += bytes;
    }),
    HEAD_BYTES,
  );
  if (inner.head.length === 0 && damage.errors.length > 0) {
    const code = compression?.id === 'gzip' ? 'gzip-damaged' : 'stream-damaged';
    const reason = 'nothing could be decompressed';
    throw diagError(code, { path, format: compression?.id ?? '', bytes: 0, reason }, { path });
  }
  const wrapper: Wrapper | undefined =
    format === undefined || format === ANY_TEXT.id ? wrapperOf(inner.head) : undefined;
  const lines = await peekStream(
    counted(wrapper === undefined ? inner.all : unwrapped(inner.all, wrapper), (bytes) => {
      sizes.unwrapped += bytes;
    }),
    HEAD_BYTES,
  );
  return {
    head: Buffer.from(lines.head),
    all: lines.all,
    sizes,
    damage,
    decode: (again) => {
      const whole = compression?.decompress(again, path, () => {}) ?? again;
      return wrapper === undefined ? whole : unwrapped(whole, wrapper);
    },
  };
}

/** Why a damaged stream gave no more records. */
function reasonOf(damage: StreamDamage, compression: string): Lost['reason'] {
  if (damage === 'trailing') return 'no-record';
  if (damage === 'over-limit') return 'over-limit';
  return compression === 'gzip' ? 'torn-gzip' : 'torn-stream';
}

/** Bytes kept for a second look at a stream that cannot be read again. */
const KEPT_BYTES = 64 << 20;

/** Whether text that a format claims may still be a printed log. */
const mayBeText = (format: LogFormat, forced: string | undefined): boolean =>
  forced === undefined && format.mayBeText === true;

interface SecondLook {
  /** The bytes, to be read first. */
  readonly first: AsyncIterable<Uint8Array>;
  /** The same bytes; undefined where they were not kept. */
  again(): AsyncIterable<Uint8Array> | undefined;
}

/** The bytes of a text, which can be read twice. */
function secondLook(
  all: AsyncIterable<Uint8Array>,
  reopen: (() => AsyncIterable<Uint8Array>) | undefined,
  decode: Decode,
): SecondLook {
  let kept: Buffer[] | undefined = reopen === undefined ? [] : undefined;
  let bytes = 0;
  const first = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of all) {
      bytes += chunk.length;
      if (bytes > KEPT_BYTES) kept = undefined;
      kept?.push(Buffer.from(chunk));
      yield chunk;
    }
  };
  return {
    first: first(),
    again: () => {
      if (reopen !== undefined) return decode(reopen());
      const chunks = kept;
      return chunks === undefined ? undefined : Readable.from(chunks);
    },
  };
}

/** What a format reads, or the last stage of text where that finds more of the log. */
async function contentOf(
  format: LogFormat,
  file: {
    readonly all: AsyncIterable<Uint8Array>;
    readonly decode: Decode;
    readonly path: string;
    readonly encoding: TextEncoding;
  },
  readers: { readonly job: JobWatcher; readonly second: LossReader },
  options: ReadLogOptions,
): Promise<LogContent> {
  const { all, decode, path, encoding } = file;
  const mayBeOther = options.pattern === undefined && mayBeText(format, options.format);
  const look = mayBeOther ? secondLook(all, options.reopen, decode) : undefined;
  const chunks = format.text
    ? shownTo(watched(toUtf8(look?.first ?? all, encoding), readers.job), readers.second)
    : all;
  const known = await format.read(chunks, path, formatOptions(options, encoding));
  return look === undefined ? known : lastStage(known, look, readers.second.lines, encoding, path, options);
}

/**
 * Whether a table is read again as printed lines. Not a damaged one, which reports it: as lines it would seem whole.
 */
const isWorthSecondLook = (known: LogContent, lossLines: number): boolean =>
  !isDamaged(known) && isDoubtful(known, lossLines);

/** Whether a growing log may be a printed log instead: then it is read as text too, see {@link betterOf}. */
export const mayBeOther = (
  format: LogFormat,
  known: LogContent,
  lossLines: number,
  { format: forced }: ReadLogOptions,
): boolean => mayBeText(format, forced) && isWorthSecondLook(known, lossLines);

/** What a format read, or the same bytes as text, where that holds more of the log. */
export const betterOf = (known: LogContent, text: LogContent): LogContent =>
  isBetter(text, known) ? text : known;

/** What a format read, or the text read again as printed lines, where that holds more of the log. */
async function lastStage(
  known: LogContent,
  look: SecondLook,
  lossLines: number,
  encoding: TextEncoding,
  path: string,
  options: ReadLogOptions,
): Promise<LogContent> {
  const again = isWorthSecondLook(known, lossLines) ? look.again() : undefined;
  if (again === undefined) return known;
  return betterOf(
    known,
    await ANY_TEXT.read(toUtf8(again, encoding), path, formatOptions(options, encoding)),
  );
}

/** Reads on in text that no format claims. */
export const readTextOn: NonNullable<LogFormat['readOn']> = (path, options) =>
  ANY_TEXT.readOn!(path, options);

/** The format that the user names, the one for the user's pattern, or the one that claims the content; else text. */
function chosenFormat(
  { format, pattern }: ReadLogOptions,
  told: LogFormat | undefined,
  head: Buffer,
  path: string,
): LogFormat | undefined {
  if (format !== undefined) return formatById(format);
  if (pattern !== undefined) return ANY_TEXT;
  return told ?? formatOf(head, path) ?? anyTextOf(head);
}

/** The options of a format for a text in an encoding. */
const formatOptions = (
  { roles = new Map(), layouts = [], pattern }: ReadLogOptions,
  encoding: TextEncoding,
): LogReadOptions => ({
  roles,
  layouts,
  ...(encoding === 'utf-8' ? {} : { encoding }),
  ...(pattern === undefined ? {} : { pattern }),
});

/** The error for a text without a record, with the line most like one; undefined where no line is. */
function noRecord(
  { likeliest = [] }: LogContent,
  options: ReadLogOptions,
  path: string,
): DiagError | undefined {
  const [best] = likeliest.flatMap((one) => {
    const pattern = suggestPattern(one.text);
    return pattern === undefined ? [] : [{ ...one, pattern }];
  });
  if (best === undefined || options.pattern !== undefined) return undefined;
  const { line, pattern } = best;
  const text = best.text.trim().slice(0, 160);
  return diagError('log-no-record', { path, line, text, pattern }, { path, line });
}

/** The account of the file, from that of the bytes that a format got: adds what was removed before. */
function accountOfFile(
  account: Account,
  file: { bytes: number; mark: number; wrapping: number; odd: number; torn: Lost | undefined },
): Account {
  const { bytes, mark, wrapping, odd, torn } = file;
  const lost: Lost[] =
    mark === 0 ? [...account.lost] : account.lost.map((one) => ({ ...one, at: one.at + mark }));
  if (odd > 0) lost.push({ reason: 'torn-record', bytes: odd, at: bytes - odd });
  if (torn !== undefined) lost.push(torn);
  return { ...account, bytes, overhead: account.overhead + mark + wrapping, lost };
}

/** Throws for what is recognised but not read. */
function refuse(head: Buffer, path: string): void {
  const text = head.toString('latin1', 0, 200);
  if (text.startsWith('version https://git-lfs.github.com/spec/'))
    throw diagError(
      'log-is-lfs-pointer',
      { path, bytes: Number(/\nsize (\d+)/.exec(text)?.[1] ?? Number.NaN) },
      { path },
    );
  const unsupported = unsupportedFormat(head);
  if (unsupported !== undefined) throw diagError('format-unsupported', { path, ...unsupported }, { path });
}

/**
 * Reads one log file into runs: roles, attempts, hyperparameters from sidecars.
 *
 * @param path `-` for standard input
 * @throws as {@link readRawLog}
 */
export async function readLogFile(path: string, options: ReadLogOptions = {}): Promise<LogInput> {
  if (path === '-')
    return finishLog(await readRawStream(options.stdin ?? process.stdin, STDIN_NAME, options), options);
  const source = await openFile(path);
  try {
    return await finishLog(await readRawLog(source, options), options);
  } finally {
    await source.close();
  }
}

/** Turns what was read into runs, the input of everything else. */
export async function finishLog(raw: RawLog, options: ReadLogOptions = {}): Promise<LogInput> {
  const { path, runs: read, jobSigns, lossRecords, ...rest } = raw;
  // A text of nothing but a crash is a run without a loss.
  const runs = read.length === 0 && tellsEnd(jobSigns) ? [NO_RECORD] : read;
  const sidecars =
    options.sidecars === false || path === STDIN_NAME
      ? NO_SIDECARS
      : await (options.sidecars ?? readSidecars)(options.folder ?? dirname(path));
  const id = options.id ?? path;
  const finished = runs.map((run, k) =>
    finishRun(
      runs.length === 1 ? id : `${id}#${run.name ?? k + 1}`,
      [{ path, run }],
      raw.format,
      options.roles ?? new Map(),
      sidecars.hyperparameters,
      sidecars.notes,
    ),
  );
  return {
    kind: 'log',
    path,
    ...rest,
    errors: told([...raw.errors, ...finished.flatMap(refusedErrors)], raw, finished),
    runs: withRecords(finished, lossRecords === undefined ? [] : [lossRecords]).map((run, k) =>
      k === finished.length - 1 ? withJob(run, jobSigns) : run,
    ),
  };
}

const NO_RECORD: LoggedRun = { stepUnit: 'step', series: [] };

/** The run with the story of its process, if anything is known of it. */
export function withJob(run: Run, signs: JobSigns | undefined): Run {
  const job = jobOf(run, signs);
  return job === undefined ? run : { ...run, job };
}

/** The runs of a log's files, with what the second reader saw of each. */
export function withRecords(runs: readonly Run[], files: readonly LossRecords[]): Run[] {
  if (files.length === 0) return [...runs];
  const byFile = files.map((records) => recordsByRun(records, runs));
  return runs.map((run, k) => ({ ...run, lossRecords: byFile.map((parts) => parts[k]!) }));
}

/**
 * The errors of a log. A record lost to a value that is not a number is an error, although its column has only text
 * and is dropped as a series.
 */
function told(errors: readonly ErrorRecord[], raw: RawLog, runs: readonly Run[]): readonly ErrorRecord[] {
  const lost = raw.account.lost.find(({ reason }) => reason === 'refused-value');
  if (errors.length > 0 || lost === undefined || raw.lost === 0) return errors;
  const kept = new Set(runs.flatMap(({ series }) => series.map(({ name }) => name)));
  const column = raw.runs
    .flatMap(({ series }) => series)
    .find(({ name, refused }) => refused > 0 && !kept.has(name));
  return [
    diagError(
      'log-cells-bad',
      { count: raw.lost, column: column?.name ?? 'the loss', text: column?.firstRefused?.text ?? '' },
      { path: raw.path, byteOffset: lost.at },
    ).toRecord(),
  ];
}

/** Text in place of a loss's numbers is an error of the file that holds it. */
const refusedErrors = (run: Run): ErrorRecord[] =>
  run.series
    .filter(
      ({ role, lossLike, refused, firstRefused }) =>
        refused > 0 &&
        // Another column of the loss, or a part of it, is judged too.
        (isLossLike(role) || lossLike !== undefined) &&
        firstRefused?.text !== AMBIGUOUS_CELL,
    )
    .map(({ name, refused, firstRefused }) =>
      diagError(
        'log-cells-bad',
        { count: refused, column: name, text: firstRefused?.text ?? '' },
        {
          path: firstRefused?.path ?? run.paths[0]!,
          ...(firstRefused?.line === undefined ? {} : { line: firstRefused.line }),
        },
      ).toRecord(),
    );

/** The files of a run that comes from several, each with its own errors. */
export function filesOfRun(raws: readonly RawLog[], run: Run): Omit<LogInput, 'kind' | 'runs' | 'files'>[] {
  const refused = refusedErrors(run);
  return raws.map(({ runs: _, jobSigns: _signs, lossRecords: _records, ...file }) => ({
    ...file,
    errors: [...file.errors, ...refused.filter(({ path }) => path === file.path)],
  }));
}

/** Several files that were read and are one run, as one input. It has no hash, since a hash identifies one file. */
export function joinLogs(path: string, raws: readonly RawLog[], run: Run): LogInput {
  const sum = (of: (raw: RawLog) => number): number => raws.reduce((total, raw) => total + of(raw), 0);
  return {
    kind: 'log',
    path,
    format: run.format,
    sha256: null,
    errors: [...raws.flatMap(({ errors }) => errors), ...refusedErrors(run)],
    account: joinAccounts(raws.map(({ account }) => account)),
    kept: sum(({ kept }) => kept),
    lost: sum(({ lost }) => lost),
    unreadBytes: sum(({ unreadBytes }) => unreadBytes),
    runs: [run],
  };
}
