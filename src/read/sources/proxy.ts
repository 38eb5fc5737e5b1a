/** Proxies that the environment names, as curl and Python's clients take them: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, small letters first. */
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type Socket } from 'node:net';
import { diagError } from '../../model/errors.ts';
import type { SourceOptions } from './source.ts';

type Env = SourceOptions['env'];

export interface ProxyServer {
  /** The variable that named it. */
  readonly variable: string;
  /** Where it is; without user and password. */
  readonly at: Pick<RequestOptions, 'hostname' | 'port'>;
  readonly isTls: boolean;
  /** Its headers: user and password, where it has them. */
  readonly login: Readonly<Record<string, string>>;
  /** For messages. */
  readonly shown: string;
}

/** What went wrong at a proxy. It is not asked again. */
const proxyError = (url: string, variable: string, problem: string): Error =>
  diagError('source-proxy', { url, variable, problem }, { path: url });

export const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '');
export const portOf = ({ port, protocol }: URL): string => port || (protocol === 'https:' ? '443' : '80');

const family = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 4 ? 'ipv4' : 'ipv6');

/** Whether an address lies in a network that is written as `10.0.0.0/8`. */
function isWithin(address: string, network: string): boolean {
  const [base = '', bits = ''] = network.split('/');
  if (isIP(address) === 0 || isIP(base) !== isIP(address) || !/^\d{1,3}$/.test(bits)) return false;
  if (Number(bits) > (isIP(base) === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(base, Number(bits), family(base));
  return list.check(address, family(address));
}

/** This machine itself, which a proxy cannot reach. */
const isOwn = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || isWithin(host, '127.0.0.0/8');

/** Whether an entry of NO_PROXY names a host: itself or one below it (`example.org`, `.example.org`, `*.example.org`), a network, and a port. */
function names(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isWithin(host, entry);
  const [, own = entry, only] = /^(.*?):(\d+)$/.exec(isIP(entry) === 6 ? '' : entry) ?? [];
  if (only !== undefined && only !== port) return false;
  const name = own.replace(/^\[|\]$/g, '').replace(/^\*?\./, '');
  return name !== '' && (host === name || (isIP(host) === 0 && host.endsWith(`.${name}`)));
}

/**
 * The proxy that a request goes to; undefined where it goes to the host itself.
 *
 * @param shown the URL for messages
 * @throws source-proxy where the variable names none that is supported
 */
export function proxyOf(url: URL, shown: string, env: Env): ProxyServer | undefined {
  const scheme = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  // A server that starts programs by CGI hands a request's header `Proxy` over as HTTP_PROXY.
  const isHeader = (name: string): boolean => name === 'HTTP_PROXY' && env.REQUEST_METHOD !== undefined;
  const variable = [scheme, scheme.toUpperCase(), 'all_proxy', 'ALL_PROXY'].find(
    (name) => env[name] && !isHeader(name),
  );
  const host = hostOf(url);
  if (variable === undefined || isOwn(host)) return undefined;
  const past = (env.no_proxy || env.NO_PROXY || '').toLowerCase().split(/[\s,]+/);
  if (past.some((entry) => names(entry, host, portOf(url)))) return undefined;
  return readProxy(env[variable]!.trim(), variable, shown);
}

/** A value as `http://USER:PASSWORD@HOST:PORT`; its scheme may be left out. It may be a secret, and is in no message. */
function readProxy(value: string, variable: string, shown: string): ProxyServer {
  let url: URL;
  try {
    url = new URL(/^[a-z][\w+.-]*:\/\//i.test(value) ? value : `http://${value}`);
  } catch {
    throw proxyError(shown, variable, 'is not a URL');
  }
  const { protocol, username, password } = url;
  if (protocol !== 'http:' && protocol !== 'https:')
    throw proxyError(shown, variable, `is one of ${protocol}//, and only http:// and https:// are supported`);
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return {
    variable,
    at: { hostname: hostOf(url), port: portOf(url) },
    isTls: protocol === 'https:',
    login: login === ':' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` },
    shown: `${protocol}//${url.host}`,
  };
}

/** What asks a proxy. */
export const requestOf = ({ isTls }: ProxyServer): typeof httpRequest => (isTls ? httpsRequest : httpRequest);

/** The error of a proxy that wants user and password. */
export const asksForLogin = ({ variable, shown: proxy }: ProxyServer, shown: string): Error =>
  proxyError(shown, variable, `asks for user and password (${proxy}, status 407)`);

/**
 * A connection through a proxy.
 *
 * @param to host and port
 * @param passing makes the error of what may pass, from its reason
 * @throws source-proxy where it refuses
 */
export function tunnel(
  proxy: ProxyServer,
  to: string,
  shown: string,
  { idle, signal }: Pick<SourceOptions, 'idle' | 'signal'>,
  passing: (reason: string) => Error,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const asked = requestOf(proxy)({
      ...proxy.at,
      method: 'CONNECT',
      path: to,
      headers: { host: to, 'user-agent': 'clippy-diag', ...proxy.login },
      agent: false,
      ...(idle === undefined ? {} : { timeout: idle }),
      ...(signal === undefined ? {} : { signal }),
    });
    asked.on('connect', ({ statusCode = 0 }, socket: Socket) => {
      if (statusCode >= 200 && statusCode < 300) return resolve(socket);
      socket.destroy();
      if (statusCode === 407) return reject(asksForLogin(proxy, shown));
      if (statusCode === 429 || statusCode >= 500)
        return reject(passing(`the proxy ${proxy.shown} answers with status ${statusCode}`));
      const problem = `does not connect to ${to} (${proxy.shown}, status ${statusCode})`;
      return reject(proxyError(shown, proxy.variable, problem));
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.on('error', (error: NodeJS.ErrnoException) =>
      reject(signal?.aborted === true ? error : passing(unansweredBy(proxy, error))),
    );
    asked.end();
  });
}

/** The reason of a proxy that cannot be reached. */
export const unansweredBy = (
  { shown, variable }: Pick<ProxyServer, 'shown' | 'variable'>,
  { code, message }: NodeJS.ErrnoException,
): string => `the proxy ${shown} of ${variable} does not answer (${code ?? message})`;
