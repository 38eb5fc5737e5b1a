/** Byte ranges over HTTP: what an answer says of an object, and bytes of it, resumed after interruptions and checked. */
import { DiagError, diagError } from '../../model/errors.ts';
import { type HttpAnswer, type HttpRequest, Interrupted, pause, send } from './http-client.ts';
import type { RemoteEntry, SourceOptions } from './source.ts';

/** A request for an object, and what to say where it is refused. */
export interface ObjectRequest extends HttpRequest {
  readonly shown: string;
  /** What to set where the server asks for credentials. */
  readonly credentials: string;
}

/** `bytes 0-99/1000`, `bytes * /1000` (without the blank), as numbers; total is null where it is `*`. */
function contentRange(
  text: string | undefined,
): { start: number; end: number; total: number | null } | undefined {
  const match = /^bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15}|\*)$/i.exec(text ?? '');
  if (match === null) return undefined;
  const [, first, last, total] = match;
  return {
    start: Number(first ?? 0),
    end: last === undefined ? 0 : Number(last) + 1,
    total: total === '*' ? null : Number(total),
  };
}

const lengthOf = ({ headers }: HttpAnswer): number | null => {
  const text = headers['content-length'];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null;
};

/** What identifies the content of an answer. A weak ETag does not promise equal bytes. */
const versionOf = ({ headers: { etag } }: HttpAnswer): string | null =>
  etag === undefined || etag.startsWith('W/') ? null : etag;

const modifiedOf = ({ headers }: HttpAnswer): number | null => {
  const time = Date.parse(headers['last-modified'] ?? '');
  return Number.isNaN(time) ? null : time;
};

/** The error of an answer that contradicts itself or the protocol. */
export const lies = (shown: string, problem: string): DiagError =>
  diagError('source-answer', { url: shown, problem }, { path: shown });

const changed = (shown: string): DiagError => diagError('source-changed', { url: shown }, { path: shown });

/** Entries that a listing may have; each page of one has a thousand. */
const MOST_ENTRIES = 20_000;

/**
 * Ends a listing that goes on and on.
 *
 * @throws limit-exceeded
 */
export function checkEntryCount(
  found: number,
  { shown, what, hint }: { readonly shown: string; readonly what: string; readonly hint: string },
): void {
  if (found > MOST_ENTRIES)
    throw diagError(
      'limit-exceeded',
      { what: `the number of ${what} below ${shown}`, found, limit: MOST_ENTRIES, hint },
      { path: shown },
    );
}

/** The error of a status that is no success. */
export function statusError(
  status: number,
  { shown, credentials }: Pick<ObjectRequest, 'shown' | 'credentials'>,
): DiagError {
  const where = { path: shown };
  if (status === 401 || status === 403)
    return diagError('source-denied', { url: shown, status, credentials }, where);
  if (status === 404 || status === 410) return diagError('source-missing', { url: shown, status }, where);
  return diagError(
    'source-unreachable',
    { url: shown, reason: `the server answers with status ${status}` },
    where,
  );
}

/**
 * What the server says of an object, by a request for its first byte: that is answered where HEAD is refused (signed URLs).
 *
 * @throws source-missing, source-denied, source-unreachable, source-refused, source-answer
 */
export async function probe(request: ObjectRequest, options: SourceOptions): Promise<RemoteEntry> {
  const answer = await send({ ...request, headers: { ...request.headers, range: 'bytes=0-0' } }, options);
  answer.body.destroy();
  const { status } = answer;
  const about = { name: '', modified: modifiedOf(answer), version: versionOf(answer) };
  const range = contentRange(answer.headers['content-range']);
  if (status === 206) {
    if (range === undefined || range.start !== 0 || range.end !== 1)
      throw lies(request.shown, 'it answers with another range than the first byte');
    return { ...about, bytes: range.total };
  }
  // An empty object has no first byte.
  if (status === 416 && range?.total === 0) return { ...about, bytes: 0 };
  if (status === 200) return { ...about, bytes: lengthOf(answer) };
  throw statusError(status, request);
}

/**
 * The part of an answer that was asked for.
 *
 * @returns how many bytes of its body come before the part: a server without ranges sends all
 */
function skippedBytes(
  answer: HttpAnswer,
  { shown, ...request }: ObjectRequest,
  entry: RemoteEntry,
  at: number,
): number {
  const version = versionOf(answer);
  if (entry.version !== null && version !== null && version !== entry.version) throw changed(shown);
  if (answer.status === 206) {
    const range = contentRange(answer.headers['content-range']);
    if (range === undefined) throw lies(shown, 'a partial answer does not say which part it is');
    if (range.start !== at) throw lies(shown, `it answers from byte ${range.start} instead of ${at}`);
    if (entry.bytes !== null && range.total !== null && range.total !== entry.bytes) throw changed(shown);
    return 0;
  }
  if (answer.status === 200) {
    const length = lengthOf(answer);
    if (length !== null && entry.bytes !== null && length !== entry.bytes) throw changed(shown);
    return at;
  }
  if (answer.status === 416) throw changed(shown);
  throw statusError(answer.status, { shown, ...request });
}

/** Whether the end of a body differs from a connection that broke off: Node raises an error for these two. */
const isDelimited = ({ headers }: HttpAnswer): boolean =>
  headers['content-length'] !== undefined || headers['transfer-encoding'] === 'chunked';

/** The bytes of one answer, from byte `at` up to `end`. @throws Interrupted, or what Node throws, where it ends early */
async function* oneTransfer(
  request: ObjectRequest,
  entry: RemoteEntry,
  at: number,
  end: number | null,
  options: SourceOptions,
): AsyncGenerator<Uint8Array> {
  const range = `bytes=${at}-${end === null ? '' : end - 1}`;
  const ranged = end === null && at === 0 ? {} : { range };
  const answer = await send({ ...request, headers: { ...request.headers, ...ranged } }, options);
  try {
    let skip = skippedBytes(answer, request, entry, at);
    let left = end === null ? Number.POSITIVE_INFINITY : end - at;
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      const piece = part.subarray(Math.min(skip, part.length));
      skip -= part.length - piece.length;
      const wanted = piece.length <= left ? piece : piece.subarray(0, left);
      left -= wanted.length;
      if (wanted.length > 0) yield wanted;
      if (left === 0) return;
    }
    if (end !== null) throw new Interrupted('the answer ended early');
    // Without a length, a body that is whole looks like one that was cut.
    if (!isDelimited(answer))
      throw lies(
        request.shown,
        'it does not say how long its answer is, so nobody can say whether it is whole',
      );
  } finally {
    answer.body.destroy();
  }
}

/** Interruptions of one range, however much arrives between them. */
const MOST_INTERRUPTIONS = 200;

/**
 * Bytes [start, end) of an object, resumed where a connection breaks off.
 *
 * @param end null for all bytes, whose number the server did not say
 * @throws source-incomplete where it breaks off again and again, source-changed where the object is another one,
 *   source-answer where the server sends other bytes than it was asked for
 */
export async function* readRange(
  request: ObjectRequest,
  entry: RemoteEntry,
  start: number,
  end: number | null,
  options: SourceOptions,
): AsyncGenerator<Uint8Array> {
  const { retries = 5 } = options;
  let at = start;
  let failures = 0;
  for (let interruptions = 0; end === null || at < end; interruptions++) {
    const from = at;
    try {
      for await (const piece of oneTransfer(request, entry, at, end, options)) {
        at += piece.length;
        yield piece;
      }
      return;
    } catch (error) {
      if (error instanceof DiagError || options.signal?.aborted === true) throw error;
      failures = at > from ? 0 : failures + 1;
      if (failures > retries || interruptions >= MOST_INTERRUPTIONS) {
        const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
        const where = { path: request.shown };
        throw diagError('source-incomplete', { url: request.shown, got: at, reason }, where, error);
      }
      await pause(failures, options);
    }
  }
}
