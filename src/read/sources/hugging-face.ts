/**
 * The Hugging Face Hub: `hf://user/repo[@revision][/path]`, `hf://datasets/…`, and URLs of its pages. HF_ENDPOINT names another
 * server of the same kind; the token of HF_TOKEN, or of `hf auth login`, goes to that server alone.
 */

import { join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { withoutEndSlashes } from '../../model/url.ts';
import { readUserFile } from '../bytes/source.ts';
import { type HeadersFor, type HttpAnswer, send, textOf } from './http-client.ts';
import { homeOf } from './netrc.ts';
import { checkEntryCount, lies, type ObjectRequest, probe, readRange, statusError } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

const HUB = 'https://huggingface.co';
const CREDENTIALS =
  'set HF_TOKEN to a token that may read this repository (gated ones ask for your consent on their page)';
const KINDS = ['models', 'datasets', 'spaces'] as const;

interface Place {
  readonly kind: (typeof KINDS)[number];
  readonly repository: string;
  readonly revision: string;
  readonly path: string;
}

const endpointOf = ({ HF_ENDPOINT }: SourceOptions['env']): string => withoutEndSlashes(HF_ENDPOINT || HUB);

/** Whether a URL is one of the Hub's pages. */
export const isHubUrl = (url: URL, env: SourceOptions['env']): boolean =>
  url.origin === HUB || url.origin === new URL(endpointOf(env)).origin;

const notUnderstood = (shown: string): Error =>
  diagError(
    'source-unsupported',
    {
      url: shown,
      what: 'this form of a Hub URL',
      instead: 'write hf://USER/REPO/PATH, hf://USER/REPO@REVISION/PATH or hf://datasets/USER/REPO/PATH',
    },
    { path: shown },
  );

/** The kind of a repository, and the words after it. */
function kindOfWords(words: readonly string[]): { kind: Place['kind']; rest: readonly string[] } {
  const [first] = words;
  return first === 'datasets' || first === 'spaces' || first === 'models'
    ? { kind: first, rest: words.slice(1) }
    : { kind: 'models', rest: words };
}

/** The place that `hf://…` names. */
function placeOfHf(text: string): Place {
  const { kind, rest } = kindOfWords(
    text
      .slice('hf://'.length)
      .split('/')
      .filter((word) => word !== ''),
  );
  const [user, named, ...path] = rest.map(decodeURIComponent);
  if (user === undefined || named === undefined) throw notUnderstood(text);
  const at = named.indexOf('@');
  const [name, revision] = at < 0 ? [named, 'main'] : [named.slice(0, at), named.slice(at + 1)];
  return { kind, repository: `${user}/${name}`, revision, path: path.join('/') };
}

/** The place that the URL of a page or of a file names. */
function placeOfPage(url: URL): Place {
  const { kind, rest } = kindOfWords(url.pathname.split('/').filter((word) => word !== ''));
  const [user, name, view, revision = 'main', ...path] = rest.map(decodeURIComponent);
  if (
    user === undefined ||
    name === undefined ||
    (view !== undefined && !/^(tree|blob|resolve|raw)$/.test(view))
  )
    throw notUnderstood(`${url.origin}${url.pathname}`);
  return { kind, repository: `${user}/${name}`, revision, path: path.join('/') };
}

const encoded = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

async function tokenOf(env: SourceOptions['env']): Promise<string | undefined> {
  if (env.HF_TOKEN) return env.HF_TOKEN;
  const folder = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homeOf(env), '.cache'), 'huggingface');
  return (await readUserFile(env.HF_TOKEN_PATH ?? join(folder, 'token')))?.trim();
}

/** The next page of a listing, which must be of the same server. */
function nextPage({ headers: { link } }: HttpAnswer, from: URL, shown: string): URL | null {
  const [, next] =
    /<([^<>]{1,4000})>;\s*rel="next"/.exec(Array.isArray(link) ? link.join(',') : (link ?? '')) ?? [];
  if (next === undefined) return null;
  const url = new URL(next, from);
  if (url.origin !== from.origin)
    throw diagError(
      'source-refused',
      { url: shown, reason: 'its listing goes on at another host' },
      { path: shown },
    );
  return url;
}

export function hubSource(text: string, options: SourceOptions): Source {
  const endpoint = endpointOf(options.env);
  const { kind, repository, revision, path } = text.startsWith('hf://')
    ? placeOfHf(text)
    : placeOfPage(new URL(text));
  const prefix = kind === 'models' ? '' : `${kind}/`;
  const at = revision === 'main' ? '' : `@${revision}`;
  const shown = `hf://${prefix}${repository}${at}${path === '' ? '' : `/${path}`}`;
  const secret: HeadersFor = async () => {
    const token = await tokenOf(options.env);
    return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` };
  };
  const object = (name: string): ObjectRequest => {
    const whole = [path, name].filter((part) => part !== '').join('/');
    return {
      url: new URL(
        `${endpoint}/${prefix}${encoded(repository)}/resolve/${encodeURIComponent(revision)}/${encoded(whole)}`,
      ),
      shown: name === '' ? shown : `${shown}/${name}`,
      secret,
      credentials: CREDENTIALS,
    };
  };
  /** Undefined where the path is no folder. */
  const listFolder = async (): Promise<RemoteEntry[] | undefined> => {
    const entries: RemoteEntry[] = [];
    const api = `${endpoint}/api/${kind}/${encoded(repository)}/tree/${encodeURIComponent(revision)}`;
    let page: URL | null = new URL(`${api}${path === '' ? '' : `/${encoded(path)}`}?recursive=true`);
    while (page !== null) {
      const answer = await send({ url: page, secret }, options);
      if (answer.status === 404 && path !== '') {
        answer.body.destroy();
        return undefined;
      }
      if (answer.status !== 200) {
        answer.body.destroy();
        throw statusError(answer.status, { shown, credentials: CREDENTIALS });
      }
      page = nextPage(answer, page, shown);
      entries.push(...entriesOf(await textOf(answer, shown), path, shown));
      checkEntryCount(entries.length, { shown, what: 'files', hint: 'name a folder further down' });
    }
    return entries;
  };
  return {
    shown,
    list: async () => {
      const entries = await listFolder();
      // A path that is a file is listed as a folder of itself alone, or not at all.
      return entries === undefined || (entries.length === 1 && entries[0]!.name === '')
        ? { isFolder: false, entries: [await probe(object(''), options)] }
        : { isFolder: true, entries };
    },
    open: (entry, start, end) => readRange(object(entry.name), entry, start, end, options),
    again: async (entry) => ({ ...(await probe(object(entry.name), options)), name: entry.name }),
  };
}

/** The files of a page of a listing. @throws source-answer */
function entriesOf(text: string, folder: string, shown: string): RemoteEntry[] {
  const wrong = (problem: string) => lies(shown, problem);
  let listed: unknown;
  try {
    listed = JSON.parse(text);
  } catch {
    throw wrong('its listing is not JSON');
  }
  if (!Array.isArray(listed)) throw wrong('its listing is not a list');
  return listed.flatMap((one: unknown) => {
    if (!isJsonObject(one) || typeof one.path !== 'string')
      throw wrong('an entry of its listing has no path');
    if (one.type !== 'file') return [];
    const bytes = typeof one.size === 'number' ? one.size : null;
    const name = folder === '' ? one.path : one.path === folder ? '' : one.path.slice(folder.length + 1);
    return [{ name, bytes, modified: null, version: null }];
  });
}
