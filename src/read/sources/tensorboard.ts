/**
 * A running TensorBoard by the interface of its scalars page: `tensorboard://HOST:PORT[/PATH]`, `tensorboard+https://…`, and the URL of
 * the page itself (`http://HOST:6006/#timeseries`). TensorBoard keeps a sample of long series; the event files have all points.
 */
import { isJsonObject } from '../../model/json.ts';
import { withoutEndSlashes } from '../../model/url.ts';
import { type Api, askJson, basic, bytesOf, formError, partOf } from './api.ts';
import { send, textOf } from './http-client.ts';
import { netrcOf } from './netrc.ts';
import { checkEntryCount, lies } from './ranged.ts';
import { jsonLines, type Points } from './rows.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

const CREDENTIALS =
  'write user and password of this host into ~/.netrc: TensorBoard itself asks for none, a proxy before it does';
/** Whether a URL is the page of a TensorBoard: it names its tab in the fragment. */
export const isTensorboardPage = (url: URL): boolean => /^#(timeseries|scalars)\b/.test(url.hash);

/** The points that the server has of a series. @throws source-answer */
function pointsOf(text: string, shown: string): Points {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw lies(shown, 'its answer is not JSON');
  }
  if (!Array.isArray(parsed)) throw lies(shown, 'a series of its answer is not a list');
  return parsed.map((point: unknown) => {
    const [, step, value] = Array.isArray(point) ? (point as unknown[]) : [];
    // Values that are no numbers are text in its JSON.
    if (typeof step !== 'number' || (typeof value !== 'number' && typeof value !== 'string'))
      throw lies(shown, 'a point of its answer has no step or no value');
    return [step, value];
  });
}

export function tensorboardSource(text: string, options: SourceOptions): Source {
  const url = new URL(
    text.replace(/^tensorboard(\+https)?:\/\//i, (_, secure) =>
      secure === undefined ? 'http://' : 'https://',
    ),
  );
  if (url.hostname === '')
    throw formError('tensorboard://', 'a TensorBoard URL', 'write tensorboard://HOST:6006/');
  const base = withoutEndSlashes(`${url.origin}${url.pathname}`);
  const shown = `tensorboard${url.protocol === 'https:' ? '+https' : ''}://${url.host}${withoutEndSlashes(url.pathname)}`;
  const api: Api = {
    shown,
    credentials: CREDENTIALS,
    secret: async () => {
      const login =
        url.username === ''
          ? await netrcOf(url.hostname, options.env)
          : { login: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
      return login === undefined ? {} : basic(login.login, login.password);
    },
  };
  const runs = new Map<string, { readonly run: string; readonly tags: readonly string[] }>();
  const list: Source['list'] = async () => {
    const tags = await askJson(api, new URL(`${base}/data/plugin/scalars/tags`), options);
    runs.clear();
    for (const [run, own] of Object.entries(tags)) {
      if (!isJsonObject(own)) throw lies(shown, `the tags of ${run.slice(0, 100)} are not an object`);
      if (Object.keys(own).length > 0)
        runs.set(`${run === '.' ? '' : `${run.split('/').map(partOf).join('/')}/`}scalars.jsonl`, {
          run,
          tags: Object.keys(own),
        });
    }
    checkEntryCount(runs.size, { shown, what: 'runs', hint: 'start a TensorBoard for one folder' });
    if (runs.size === 0) throw lies(shown, 'it has no scalars');
    const entries = [...runs.keys()].map(
      (name): RemoteEntry => ({ name, bytes: null, modified: null, version: null }),
    );
    return { isFolder: true, entries };
  };
  const historyOf = async (name: string): Promise<string> => {
    const { run, tags } = runs.get(name)!;
    const series = new Map<string, Points>();
    for (const tag of tags) {
      const address = new URL(`${base}/data/plugin/scalars/scalars`);
      address.search = new URLSearchParams({ run, tag }).toString();
      const answer = await send({ url: address, secret: api.secret! }, options);
      if (answer.status !== 200) {
        answer.body.destroy();
        throw lies(shown, `it answers with status ${answer.status} for ${tag.slice(0, 100)}`);
      }
      series.set(tag, pointsOf(await textOf(answer, shown), shown));
    }
    return jsonLines(series);
  };
  return {
    shown,
    list,
    open: async function* ({ name }, start) {
      yield* bytesOf(await historyOf(name), start);
    },
    again: async (entry) => entry,
  };
}
