/**
 * Requests over HTTP and HTTPS by Node's own modules: unlike `fetch` they can pin the address that was checked, and never
 * decompress a body whose byte ranges are counted.
 */
import { lookup as lookupHost } from 'node:dns';
import {
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { DiagError, diagError } from '../../model/errors.ts';
import { isPublicAddress } from './addresses.ts';
import {
  asksForLogin,
  hostOf,
  type ProxyServer,
  portOf,
  proxyOf,
  requestOf,
  tunnel,
  unansweredBy,
} from './proxy.ts';
import type { SourceOptions } from './source.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body; whoever does not read it to its end destroys it. */
  readonly body: IncomingMessage;
}

/** Headers of one request to one URL, with those that are not secret; signed ones depend on all of them. */
export type HeadersFor = (
  url: URL,
  headers: Readonly<Record<string, string>>,
) => Promise<Readonly<Record<string, string>>>;

export interface HttpRequest {
  readonly url: URL;
  /** Sent by POST; without one the request is a GET. */
  readonly body?: string;
  /** Sent to every host. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent only to the origin (scheme, host and port) of `url`, never to one that it redirects to. */
  readonly secret?: HeadersFor;
}

const MOST_REDIRECTS = 8;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Answers after which the same request may succeed. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** A server may ask for a longer pause than this, and gets this. */
const LONGEST_PAUSE = 60_000;

/** A connection that ended before its answer; the request may be repeated. */
export class Interrupted extends Error {}

/** The URL as it may be shown: without credentials, query and fragment. */
export const shownUrl = (url: URL): string => `${url.protocol}//${url.host}${url.pathname}`;

/** Refuses a host that resolves to an address of the machine's own network, and connects to the address that was checked. */
const publicLookup: LookupFunction = (host, options, done) => {
  lookupHost(host, { ...options, all: true }, (error, found) => {
    if (error !== null) return done(error, '', 0);
    const bad = found.find(({ address }) => !isPublicAddress(address));
    if (bad !== undefined) return done(new Error(OWN_NETWORK), '', 0);
    if (options.all === true) return done(null, found as never);
    return done(null, found[0]!.address, found[0]!.family);
  });
};
const OWN_NETWORK = 'it is an address of the machine’s own network';

/** The first address of a host, checked. */
const publicAddress = (host: string): Promise<string> =>
  new Promise((resolve, reject) =>
    publicLookup(host, {}, (error, address) => (error === null ? resolve(String(address)) : reject(error))),
  );

/** Which function sends a request, and with what: to the host itself, or by a proxy. */
interface Route {
  readonly send: typeof httpRequest;
  readonly options: RequestOptions;
  /** The proxy that answers in the place of the host; undefined where it only connects. */
  readonly proxy?: ProxyServer;
}

async function routeOf(url: URL, options: SourceOptions): Promise<Route> {
  const { publicOnly = false, env } = options;
  const isTls = url.protocol === 'https:';
  const send = isTls ? httpsRequest : httpRequest;
  const proxy = proxyOf(url, shownUrl(url), env);
  const about = { hostname: hostOf(url), port: portOf(url), path: `${url.pathname}${url.search}` };
  // A connection of its own: an idle one that the server closed would cost a repetition.
  if (proxy === undefined)
    return { send, options: { ...about, agent: false, ...(publicOnly ? { lookup: publicLookup } : {}) } };
  if (!isTls && !publicOnly) {
    const path = `${url.origin}${url.pathname}${url.search}`;
    const headers = { host: url.host, ...proxy.login };
    return { send: requestOf(proxy), options: { ...proxy.at, path, headers, agent: false }, proxy };
  }
  const { hostname: host, port } = about;
  // The proxy would look the name up anew: it gets the address that was checked.
  const to = publicOnly && isIP(host) === 0 ? await publicAddress(host) : host;
  const passing = (reason: string): Error => new Interrupted(reason);
  const place = `${isIP(to) === 6 ? `[${to}]` : to}:${port}`;
  const socket = await tunnel(proxy, place, shownUrl(url), options, passing);
  const name = isIP(host) === 0 ? { servername: host } : { host };
  const createConnection = (): Socket =>
    isTls ? tlsConnect({ socket, ALPNProtocols: ['http/1.1'], ...name }) : socket;
  return { send, options: { ...about, createConnection } };
}

async function once(
  { url, body }: Pick<HttpRequest, 'url' | 'body'>,
  headers: Readonly<Record<string, string>>,
  options: SourceOptions,
): Promise<HttpAnswer> {
  const { idle = 30_000, publicOnly = false, signal } = options;
  const shown = shownUrl(url);
  const ownNetwork = (): Error => diagError('source-refused', { url: shown, reason: OWN_NETWORK });
  const host = hostOf(url);
  if (publicOnly && isIP(host) !== 0 && !isPublicAddress(host)) throw ownNetwork();
  const failed = (error: NodeJS.ErrnoException, proxy?: ProxyServer): Error => {
    if (error.message === OWN_NETWORK) return ownNetwork();
    if (signal?.aborted === true || error instanceof DiagError) return error;
    if (error instanceof Interrupted) return error;
    return new Interrupted(proxy === undefined ? (error.code ?? error.message) : unansweredBy(proxy, error));
  };
  const route = await routeOf(url, { ...options, idle }).catch((error: NodeJS.ErrnoException) => {
    throw failed(error);
  });
  const { proxy } = route;
  return new Promise((resolve, reject) => {
    const sent = route.send(
      {
        ...route.options,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          host: url.host,
          'accept-encoding': 'identity',
          'user-agent': 'clippy-diag',
          ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
          ...headers,
          ...(route.options.headers as Record<string, string> | undefined),
        },
        timeout: idle,
        ...(signal === undefined ? {} : { signal }),
      },
      (answer) => {
        const { statusCode: status = 0, headers: answered } = answer;
        if (proxy === undefined || status !== 407)
          return resolve({ status, headers: answered, body: answer });
        answer.destroy();
        return reject(asksForLogin(proxy, shown));
      },
    );
    sent.on('timeout', () => sent.destroy(new Interrupted(`no byte for ${idle / 1000} s`)));
    sent.on('error', (error: NodeJS.ErrnoException) => reject(failed(error, proxy)));
    sent.end(body);
  });
}

/** Where an answer sends the client, checked. @throws source-refused */
function redirected(from: URL, to: string): URL {
  const refuse = (reason: string): never => {
    throw diagError('source-refused', { url: shownUrl(from), reason });
  };
  let url: URL;
  try {
    url = new URL(to, from);
  } catch {
    return refuse('it redirects to something that is not a URL');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    return refuse(`it redirects to ${url.protocol}//, which is neither http nor https`);
  if (from.protocol === 'https:' && url.protocol === 'http:')
    return refuse(`it redirects from https to http (${url.host})`);
  url.username = '';
  url.password = '';
  return url;
}

/** One request with its redirects; headers that are secret go to the first origin alone. A POST is not redirected. */
async function follow(
  { url, body, headers = {}, secret }: HttpRequest,
  options: SourceOptions,
): Promise<HttpAnswer> {
  if (body !== undefined)
    return once({ url, body }, { ...headers, ...(await secret?.(url, headers)) }, options);
  let at = url;
  for (let hops = 0; hops <= MOST_REDIRECTS; hops++) {
    const own = at.origin === url.origin && secret !== undefined ? await secret(at, headers) : {};
    const answer = await once({ url: at }, { ...headers, ...own }, options);
    const { location } = answer.headers;
    if (!REDIRECTS.has(answer.status) || location === undefined) return answer;
    answer.body.destroy();
    at = redirected(at, location);
  }
  throw diagError('source-refused', {
    url: shownUrl(url),
    reason: `it redirects more than ${MOST_REDIRECTS} times`,
  });
}

/** One request by POST, which is not repeated and follows no redirect. @throws what Node throws, without the address */
export const post = (
  { headers = {}, ...request }: Omit<HttpRequest, 'secret'>,
  options: SourceOptions,
): Promise<HttpAnswer> => once(request, headers, options);

/** Milliseconds to wait before a repetition. */
function pauseBefore(attempt: number, backoff: number, retryAfter: string | undefined): number {
  const asked = 1000 * Number(retryAfter ?? Number.NaN);
  const own = backoff * 2 ** attempt;
  return Math.min(LONGEST_PAUSE, Number.isFinite(asked) && asked > own ? asked : own);
}

/** Waits before repetition number `attempt`, counted from 0. */
export const pause = (
  attempt: number,
  { backoff = 500, signal }: SourceOptions,
  retryAfter?: string,
): Promise<void> =>
  wait(pauseBefore(attempt, backoff, retryAfter), undefined, signal === undefined ? {} : { signal });

/**
 * Sends a request, repeats it after interruptions and after answers that say "later", and follows redirects.
 *
 * @returns the answer whatever its status, with its body unread
 * @throws source-unreachable, source-refused
 */
export async function send(request: HttpRequest, options: SourceOptions): Promise<HttpAnswer> {
  const { retries = 5 } = options;
  for (let attempt = 0; ; attempt++)
    try {
      const answer = await follow(request, options);
      if (!PASSING.has(answer.status) || attempt >= retries) return answer;
      answer.body.destroy();
      await pause(attempt, options, answer.headers['retry-after']);
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      if (attempt >= retries)
        throw diagError(
          'source-unreachable',
          { url: shownUrl(request.url), reason: error.message },
          { path: shownUrl(request.url) },
          error,
        );
      await pause(attempt, options);
    }
}

/** The largest answer that is read as one text: a listing. */
const MOST_TEXT = 64 * 2 ** 20;

/** The whole body as text. @throws source-answer where it is too long, source-incomplete where it was cut */
export async function textOf({ body }: HttpAnswer, shown: string): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of body) {
      bytes += (part as Buffer).length;
      if (bytes > MOST_TEXT)
        throw diagError('source-answer', { url: shown, problem: 'a listing of more than 64 MiB' });
      parts.push(part as Buffer);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'source-answer') throw error;
    throw diagError(
      'source-incomplete',
      { url: shown, got: bytes, reason: (error as Error).message },
      { path: shown },
      error,
    );
  }
  return Buffer.concat(parts).toString('utf8');
}
