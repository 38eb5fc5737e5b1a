/** Reading one log file: bytes, hash, decompression, encoding, format, runs. */
import { createHash, type Hash } from 'node:crypto';
import { dirname } from 'node:path';
import { peekStream, readChunks, STDIN_NAME } from '../bytes/chunks.ts';
import { encodingOf, toUtf8 } from '../bytes/encoding.ts';
import { gunzipChunks, isGzip } from '../bytes/gzip.ts';
import { sizeOfPath } from '../bytes/source.ts';
import { diagError, type ErrorRecord } from '../model/errors.ts';
import type { LogInput } from '../model/log.ts';
import { finishRun } from './finish-run.ts';
import type { LogContent, LogFormat, LogReadOptions } from './format.ts';
import { LOG_FORMATS } from './registry.ts';
import { readSidecars } from './sidecars.ts';
import { unsupportedFormat } from './unsupported.ts';

export interface ReadLogOptions extends Partial<LogReadOptions> {
  /** `--format`: the id of a format that is used whatever the content looks like. */
  readonly format?: string;
  /** The id of the run; the path where it is left out. */
  readonly id?: string;
  /** What `-` reads; the standard input of the process where it is left out. */
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Look for hyperparameters beside the file; default true. */
  readonly sidecars?: boolean;
}

const HEAD_BYTES = 64 << 10;

/** A file as its format reads it, before roles and attempts are found. */
export interface RawLog extends LogContent {
  readonly path: string;
  readonly format: string;
  readonly sha256: string | null;
  readonly grownBytes?: number;
}

/** The format that claims a head, asked in the order of the registry. */
export function formatOf(head: Buffer, path: string): LogFormat | undefined {
  const text = utf8Head(head);
  return Object.values(LOG_FORMATS).find((format: LogFormat) =>
    format.sniff(format.text ? text : head, path),
  );
}

/** Whether a head may be text: no zero bytes, as UTF-8. */
const isText = (head: Buffer): boolean => !utf8Head(head).includes(0);

/** The head as UTF-8 text. */
function utf8Head(head: Buffer): Buffer {
  const encoding = encodingOf(head);
  if (encoding !== 'utf-8') return Buffer.from(new TextDecoder(encoding).decode(head));
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? head.subarray(3) : head;
}

const formatIds = (): string[] => Object.keys(LOG_FORMATS);

/** The format of an id. @throws unknown-id */
function formatById(id: string): LogFormat {
  const found = Object.values(LOG_FORMATS).find((format) => format.id === id);
  if (found === undefined) throw diagError('unknown-id', { kind: 'log format', id, known: formatIds() });
  return found;
}

/** The decompressed head of a file, as {@link formatOf} takes it. @throws file-… */
export async function readHead(path: string): Promise<Buffer> {
  const { head, all } = await peekStream(readChunks(path), HEAD_BYTES);
  // A walk opens many files: the rest of this one is not wanted.
  for await (const _ of all) break;
  if (!isGzip(head)) return Buffer.from(head);
  const whole = async function* (): AsyncGenerator<Uint8Array> {
    yield head;
  };
  const inner = await peekStream(
    gunzipChunks(whole(), path, () => {}),
    HEAD_BYTES,
  );
  return Buffer.from(inner.head);
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/**
 * Reads a file of any format, gzip or not.
 *
 * @param path `-` for standard input
 * @throws file-…, format-unknown, format-unsupported, log-is-lfs-pointer, limit-exceeded; unknown-id for a format
 */
export async function readRawLog(path: string, options: ReadLogOptions = {}): Promise<RawLog> {
  if (path === '-') return readRawStream(options.stdin ?? readChunks(path), STDIN_NAME, options);
  const before = await sizeOfPath(path);
  const raw = await readRawStream(readChunks(path), path, options);
  const grownBytes = (await sizeOfPath(path)) - before;
  return grownBytes > 0 ? { ...raw, grownBytes } : raw;
}

/** As {@link readRawLog}, from bytes that come from anywhere; a chunk need live only until the next one is asked for. */
export async function readRawStream(
  chunks: AsyncIterable<Uint8Array>,
  shown: string,
  options: ReadLogOptions = {},
): Promise<RawLog> {
  const hash = createHash('sha256');
  const errors: ErrorRecord[] = [];
  let whole = true;
  const file = await peekStream(hashed(chunks, hash), HEAD_BYTES);
  if (file.head.length === 0) throw diagError('file-empty', { path: shown }, { path: shown });
  const gzip = isGzip(file.head);
  const { head: start, all } = gzip
    ? await peekStream(
        gunzipChunks(file.all, shown, (error) => {
          whole = false;
          errors.push(error.toRecord());
        }),
        HEAD_BYTES,
      )
    : file;
  const head = Buffer.from(start);
  if (head.length === 0 && errors.length > 0)
    throw diagError(
      'gzip-damaged',
      { path: shown, bytes: 0, reason: 'nothing could be decompressed' },
      { path: shown },
    );
  if (options.format === undefined) refuse(head, shown);
  const format =
    options.format !== undefined
      ? formatById(options.format)
      : options.pattern !== undefined
        ? LOG_FORMATS.stdout
        : (formatOf(head, shown) ?? (isText(head) ? LOG_FORMATS.stdout : undefined));
  const unknown = (): Error =>
    diagError(
      'format-unknown',
      { path: shown, tried: Object.values(LOG_FORMATS).map((one) => one.tried) },
      { path: shown },
    );
  if (format === undefined) {
    for await (const _ of all) break;
    throw unknown();
  }
  const content = await format.read(format.text ? toUtf8(all, encodingOf(head)) : all, shown, {
    roles: options.roles ?? new Map(),
    ...(options.pattern === undefined ? {} : { pattern: options.pattern }),
  });
  // Text was read in the hope that its first record comes late (a listing of the source may stand before it).
  if (
    format === LOG_FORMATS.stdout &&
    options.format === undefined &&
    content.kept === 0 &&
    errors.length === 0
  )
    throw unknown();
  return {
    ...content,
    path: shown,
    format: format.id,
    errors: [...errors, ...content.errors],
    sha256: whole ? hash.digest('hex') : null,
  };
}

/** Throws for what is recognised and not read. */
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
 * @throws as {@link readRawLog}
 */
export async function readLogFile(path: string, options: ReadLogOptions = {}): Promise<LogInput> {
  const raw = await readRawLog(path, options);
  return finishLog(raw, options);
}

/** Turns what was read into the runs that everything else works on. */
export async function finishLog(raw: RawLog, options: ReadLogOptions = {}): Promise<LogInput> {
  const { path, runs, ...rest } = raw;
  const sidecars =
    options.sidecars === false || path === STDIN_NAME
      ? { hyperparameters: new Map(), notes: [] }
      : await readSidecars(dirname(path));
  const id = options.id ?? path;
  return {
    kind: 'log',
    path,
    ...rest,
    runs: runs.map((run, k) =>
      finishRun(
        runs.length === 1 ? id : `${id}#${run.name ?? k + 1}`,
        [{ path, run }],
        raw.format,
        options.roles ?? new Map(),
        sidecars.hyperparameters,
        sidecars.notes,
      ),
    ),
  };
}
