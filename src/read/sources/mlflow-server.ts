/**
 * An MLflow tracking server by its REST interface: `mlflow://runs/RUN_ID` and `mlflow://experiments/ID` of MLFLOW_TRACKING_URI, and the
 * URLs of its pages. A metric becomes the file that MLflow's file store would have: a line `timestamp value step` a point.
 */
import { isJsonObject } from '../../model/json.ts';
import { withoutEndSlashes, withoutSecrets } from '../../model/url.ts';
import { type Api, askJson, basic, bytesOf, formError, listIn, partOf } from './api.ts';
import { netrcOf } from './netrc.ts';
import { checkEntryCount, lies } from './ranged.ts';
import { type RemoteEntry, type Source, type SourceOptions, VERDICT_TAG } from './source.ts';

const CREDENTIALS =
  'set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or write the host into ~/.netrc';
const FORMS =
  'write mlflow://runs/RUN_ID or mlflow://experiments/ID and set MLFLOW_TRACKING_URI, or name the page of a run (http://HOST/#/experiments/1/runs/RUN_ID)';
const PAGE = 1000;
/** SQL stores cannot hold infinities: MLflow writes the largest double in their place. */
const MOST = Number.MAX_VALUE;

interface Place {
  readonly base: string;
  readonly shown: string;
  readonly kind: 'runs' | 'experiments';
  readonly id: string;
}

/** Whether a URL is a page of MLflow's interface: its place is in the fragment. */
export const isMlflowPage = (url: URL): boolean => /^#\/experiments\/\d+/.test(url.hash);

function placeOf(text: string, env: SourceOptions['env']): Place {
  const [, kind, id] = /^mlflow:\/\/(runs|experiments)\/([^/?#]+)\/?$/.exec(text) ?? [];
  if (kind !== undefined) {
    const shown = `mlflow://${kind}/${id}`;
    const base = withoutEndSlashes(env.MLFLOW_TRACKING_URI ?? '');
    if (!/^https?:\/\//.test(base))
      throw formError(shown, 'an MLflow URL without MLFLOW_TRACKING_URI', FORMS);
    return { base, shown, kind: kind as Place['kind'], id: decodeURIComponent(id!) };
  }
  if (!/^https?:/i.test(text)) throw formError(withoutSecrets(text), 'an MLflow URL', FORMS);
  const url = new URL(text);
  const [, experiment, run] = /^#\/experiments\/(\d+)(?:\/runs\/([\w-]+))?/.exec(url.hash) ?? [];
  const base = withoutEndSlashes(`${url.origin}${url.pathname}`);
  return run === undefined
    ? { base, shown: `${base}/experiments/${experiment}`, kind: 'experiments', id: experiment! }
    : { base, shown: `${base}/experiments/${experiment}/runs/${run}`, kind: 'runs', id: run };
}

const secretOf =
  (base: string, env: SourceOptions['env']): NonNullable<Api['secret']> =>
  async () => {
    if (env.MLFLOW_TRACKING_TOKEN) return { authorization: `Bearer ${env.MLFLOW_TRACKING_TOKEN}` };
    if (env.MLFLOW_TRACKING_USERNAME)
      return basic(env.MLFLOW_TRACKING_USERNAME, env.MLFLOW_TRACKING_PASSWORD ?? '');
    const known = await netrcOf(new URL(base).hostname, env);
    return known === undefined ? {} : basic(known.login, known.password);
  };

/** A value as the file store writes it. The REST interface has NaN and infinities as text. */
function valueText(value: unknown): string {
  const number = Number(value);
  if (Number.isNaN(number)) return 'nan';
  if (Math.abs(number) >= MOST) return number > 0 ? 'inf' : '-inf';
  return String(number);
}

interface Metric {
  readonly run: string;
  /** Undefined of a parameter, whose value is known. */
  readonly key: string | undefined;
  readonly value: string;
}

export function mlflowSource(text: string, options: SourceOptions): Source {
  const { base: given, shown, kind, id } = placeOf(text, options.env);
  const login = new URL(given);
  const secret: NonNullable<Api['secret']> =
    login.username === ''
      ? secretOf(given, options.env)
      : async () => basic(decodeURIComponent(login.username), decodeURIComponent(login.password));
  login.username = '';
  login.password = '';
  const base = withoutEndSlashes(login.href);
  const api: Api = { shown, secret, credentials: CREDENTIALS };
  const address = (name: string, query: Record<string, string> = {}): URL => {
    const url = new URL(`${base}/api/2.0/mlflow/${name}`);
    url.search = new URLSearchParams(query).toString();
    return url;
  };
  const metrics = new Map<string, Metric>();

  const runsOf = async (): Promise<readonly unknown[]> => {
    if (kind === 'runs') return [(await askJson(api, address('runs/get', { run_id: id }), options)).run];
    const runs: unknown[] = [];
    let token: string | undefined;
    do {
      const page = await askJson(api, address('runs/search'), options, {
        experiment_ids: [id],
        max_results: PAGE,
        ...(token === undefined ? {} : { page_token: token }),
      });
      runs.push(...listIn(page, 'runs', shown));
      token = typeof page.next_page_token === 'string' ? page.next_page_token : undefined;
      checkEntryCount(runs.length, { shown, what: 'runs', hint: 'name one run' });
    } while (token);
    return runs;
  };

  /** The files of a run: `RUN/metrics/KEY` and `RUN/params/KEY`; of a single run without its folder. */
  const entriesOf = (run: unknown): RemoteEntry[] => {
    const { info, data = {} } = (isJsonObject(run) ? run : {}) as { info?: unknown; data?: unknown };
    if (!isJsonObject(info) || typeof info.run_id !== 'string' || !isJsonObject(data))
      throw lies(shown, 'a run of its answer has no run_id');
    const named = typeof info.run_name === 'string' ? `${partOf(info.run_name)}-` : '';
    const folder = kind === 'runs' ? '' : `${named}${info.run_id.slice(0, 8)}/`;
    const entry = (store: 'metrics' | 'params', one: unknown): RemoteEntry[] => {
      if (!isJsonObject(one) || typeof one.key !== 'string')
        throw lies(shown, `one of its ${store} has no key`);
      // Load of the machine, which MLflow can log with the training.
      if (store === 'metrics' && one.key.startsWith('system/')) return [];
      const name = `${folder}${store}/${one.key.split('/').map(partOf).join('/')}`;
      metrics.set(name, {
        run: info.run_id as string,
        key: store === 'metrics' ? one.key : undefined,
        value: String(one.value ?? ''),
      });
      const version = store === 'metrics' ? `${one.timestamp} ${one.step} ${one.value}` : String(one.value);
      return [{ name, bytes: null, modified: null, version }];
    };
    return [
      ...listIn(data, 'metrics', shown).flatMap((one) => entry('metrics', one)),
      ...listIn(data, 'params', shown).flatMap((one) => entry('params', one)),
    ];
  };

  const historyOf = async (run: string, key: string): Promise<string> => {
    const lines: string[] = [];
    let token: string | undefined;
    do {
      const query = {
        run_id: run,
        metric_key: key,
        max_results: '25000',
        ...(token === undefined ? {} : { page_token: token }),
      };
      const page = await askJson(api, address('metrics/get-history', query), options);
      for (const point of listIn(page, 'metrics', shown)) {
        if (!isJsonObject(point)) throw lies(shown, `a point of ${key} is not an object`);
        lines.push(`${Number(point.timestamp)} ${valueText(point.value)} ${Number(point.step ?? 0)}\n`);
      }
      token = typeof page.next_page_token === 'string' ? page.next_page_token : undefined;
    } while (token);
    return lines.join('');
  };

  const list: Source['list'] = async () => {
    const entries = (await runsOf()).flatMap(entriesOf);
    checkEntryCount(entries.length, { shown, what: 'metrics', hint: 'name one run' });
    if (entries.length === 0) throw lies(shown, 'it has no metrics');
    return { isFolder: true, entries };
  };
  return {
    shown,
    list,
    open: async function* ({ name }, start) {
      const { run, key, value } = metrics.get(name)!;
      yield* bytesOf(key === undefined ? value : await historyOf(run, key), start);
    },
    again: async (entry) => (await list()).entries.find(({ name }) => name === entry.name) ?? entry,
    tag: async ({ name }, verdict) => {
      const { run } = metrics.get(name)!;
      await askJson(api, address('runs/set-tag'), options, { run_id: run, key: VERDICT_TAG, value: verdict });
    },
  };
}
