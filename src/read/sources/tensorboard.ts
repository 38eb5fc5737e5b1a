/**
 * A running TensorBoard by the interface of its scalars page: `tensorboard://HOST:PORT[/PATH]`, `tensorboard+https://…`, and the URL of
 * the page itself (`http://HOST:6006/#timeseries`). TensorBoard keeps a sample of long series; the event files have all points. Which
 * series are a sample is said next to their points, as hyperparameters of the run.
 */
import { counted } from '../../model/format-number.ts';
import { isJsonObject } from '../../model/json.ts';
import { sampledKey } from '../../model/sampled.ts';
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

/** Points that TensorBoard keeps of a series where nobody set another number. */
const KEPT = 1000;

/** How many points the server keeps of a series. Before 2.0, and behind some proxies, it does not say: then the usual number. */
async function keptBy(api: Api, base: string, options: SourceOptions): Promise<number> {
  const answer = await send(
    { url: new URL(`${base}/data/environment`), secret: api.secret! },
    { ...options, retries: 0 },
  );
  if (answer.status !== 200) {
    answer.body.destroy();
    return KEPT;
  }
  const kept = keptIn(await textOf(answer, api.shown));
  return kept === 0 ? Number.POSITIVE_INFINITY : (kept ?? KEPT);
}

/** The number of `--samples_per_plugin scalars=NUMBER`, 0 for all; undefined where it was not given. */
function keptIn(environment: string): number | undefined {
  let at: unknown;
  try {
    at = JSON.parse(environment);
  } catch {
    return undefined;
  }
  for (const name of ['debug', 'flags', 'samples_per_plugin', 'scalars'])
    at = isJsonObject(at) ? at[name] : undefined;
  return typeof at === 'number' && at >= 0 ? at : undefined;
}

/** What a series is a sample of, in words: chance leaves no even distances. Null where it has all points, or as good as all. */
function sampleOf(points: Points, kept: number): string | null {
  const [first, last] = [points[0]?.[0], points.at(-1)?.[0]];
  if (points.length < Math.max(3, kept) || first === undefined || last === undefined) return null;
  const distance = points[1]![0] - first;
  if (points.every(([step], k) => k === 0 || step - points[k - 1]![0] === distance)) return null;
  return `${counted(points.length, 'point')} of steps ${first} to ${last}`;
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
  /** What was asked for last: a run has two files of one answer. */
  let known: History | undefined;
  let kept: number | undefined;
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
    known = undefined;
    kept = undefined;
    const entries = [...runs.keys()]
      .flatMap((name) => [name, name.replace(/scalars\.jsonl$/, SAMPLED)])
      .map((name): RemoteEntry => ({ name, bytes: null, modified: null, version: null }));
    return { isFolder: true, entries };
  };
  const historyOf = async (name: string): Promise<History> => {
    if (known?.name === name) return known;
    const { run, tags } = runs.get(name)!;
    kept ??= await keptBy(api, base, options).catch(() => KEPT);
    const series = new Map<string, Points>();
    const sampled: Record<string, string> = {};
    for (const tag of tags) {
      const address = new URL(`${base}/data/plugin/scalars/scalars`);
      address.search = new URLSearchParams({ run, tag }).toString();
      const answer = await send({ url: address, secret: api.secret! }, options);
      if (answer.status !== 200) {
        answer.body.destroy();
        throw lies(shown, `it answers with status ${answer.status} for ${tag.slice(0, 100)}`);
      }
      const points = pointsOf(await textOf(answer, shown), shown);
      series.set(tag, points);
      const sample = sampleOf(points, kept);
      if (sample !== null) sampled[sampledKey(tag)] = sample;
    }
    known = { name, points: jsonLines(series), sampled: JSON.stringify(sampled) };
    return known;
  };
  return {
    shown,
    list,
    open: async function* ({ name }, start) {
      const run = name.replace(/hparams\.json$/, 'scalars.jsonl');
      const { points, sampled } = await historyOf(run);
      yield* bytesOf(run === name ? points : sampled, start);
    },
    again: async (entry) => entry,
  };
}

/** The file next to the points of a run that says which are a sample. */
const SAMPLED = 'hparams.json';

interface History {
  readonly name: string;
  readonly points: string;
  readonly sampled: string;
}
