/** `http://` and `https://`: one file by its URL. There is no folder: a page of links is a document of strangers, and is not followed. */
import { type HeadersFor, shownUrl } from './http-client.ts';
import { netrcOf } from './netrc.ts';
import { type ObjectRequest, probe, readRange } from './ranged.ts';
import type { Source, SourceOptions } from './source.ts';

/** The header of a user and a password, from the URL itself or from the user's netrc; none where neither has them. */
const basicLogin =
  ({ username, password, hostname }: URL, env: SourceOptions['env']): HeadersFor =>
  async () => {
    const login =
      username === '' && password === ''
        ? await netrcOf(hostname, env)
        : { login: decodeURIComponent(username), password: decodeURIComponent(password) };
    return login === undefined
      ? {}
      : { authorization: `Basic ${Buffer.from(`${login.login}:${login.password}`).toString('base64')}` };
  };

export function httpSource(given: URL, options: SourceOptions): Source {
  const shown = shownUrl(given);
  const url = new URL(given);
  url.username = '';
  url.password = '';
  url.hash = '';
  const request: ObjectRequest = {
    url,
    shown,
    secret: basicLogin(given, options.env),
    credentials: 'write user and password of this host into ~/.netrc, or use a signed URL',
  };
  return {
    shown,
    list: async () => ({ isFolder: false, entries: [await probe(request, options)] }),
    open: (entry, start, end) => readRange(request, entry, start, end, options),
    again: () => probe(request, options),
  };
}
