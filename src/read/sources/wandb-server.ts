/**
 * Weights & Biases by its GraphQL interface: `wandb://ENTITY/PROJECT[/RUN]` and URLs of its pages. The history is read in full, page by
 * page as the client's `scan_history` does, not the sample that its charts show.
 */
import { isJsonObject } from '../../model/json.ts';
import { withoutEndSlashes, withoutSecrets } from '../../model/url.ts';
import { type Api, askJson, basic, formError, listIn, partOf } from './api.ts';
import { netrcOf } from './netrc.ts';
import { checkEntryCount, lies } from './ranged.ts';
import { type RemoteEntry, type Source, type SourceOptions, VERDICT_TAG } from './source.ts';

const SERVICE = 'https://api.wandb.ai';
const CREDENTIALS =
  'set WANDB_API_KEY, or run `wandb login`, which writes ~/.netrc; WANDB_BASE_URL names a server of your own';
const FORMS = 'write wandb://ENTITY/PROJECT/RUN_ID or wandb://ENTITY/PROJECT, or name the page of the run';
/** Steps of a page of a history: the server gives all of them where it is asked for no more than there are. */
const PAGE = 1000;

const RUN = 'name displayName heartbeatAt historyKeys';
const ONE = `query Run($entity: String!, $project: String!, $run: String!) { project(name: $project, entityName: $entity) { run(name: $run) { ${RUN} } } }`;
const ALL = `query Runs($entity: String!, $project: String!, $cursor: String) { project(name: $project, entityName: $entity) { runs(first: 100, after: $cursor) { edges { node { ${RUN} } } pageInfo { endCursor hasNextPage } } } }`;
const HISTORY =
  'query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!) { project(name: $project, entityName: $entity) { run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) } } }';

const TAGS =
  'query RunTags($entity: String!, $project: String!, $run: String!) { project(name: $project, entityName: $entity) { run(name: $run) { id tags } } }';
/** Replaces all tags of a run: the interface has no other way. */
const SET_TAGS =
  'mutation UpsertBucket($id: String!, $tags: [String!]) { upsertBucket(input: { id: $id, tags: $tags }) { bucket { id } } }';

/** The server's address: of a page of wandb.ai, or the one that the user set. */
const baseOf = (env: SourceOptions['env']): string => withoutEndSlashes(env.WANDB_BASE_URL || SERVICE);

/** Whether a URL is a page of W&B, or of the user's own server. */
export const isWandbPage = (url: URL, env: SourceOptions['env']): boolean =>
  /^(www\.)?wandb\.ai$/i.test(url.hostname) ||
  (Boolean(env.WANDB_BASE_URL) && url.origin === new URL(baseOf(env)).origin);

interface Place {
  readonly entity: string;
  readonly project: string;
  readonly run: string | undefined;
}

function placeOf(text: string): Place {
  const path = text.replace(/^[a-z+]+:\/\//i, '').replace(/[?#].*$/s, '');
  const words = path
    .split('/')
    .filter((word) => word !== '')
    .map(decodeURIComponent);
  // Of a page the first word is the host.
  const [entity, project, third, fourth] = text.startsWith('wandb:') ? words : words.slice(1);
  const run = third === 'runs' ? fourth : text.startsWith('wandb:') ? third : undefined;
  if (entity === undefined || project === undefined)
    throw formError(withoutSecrets(text), 'a W&B URL', FORMS);
  return { entity, project, run };
}

interface RunFacts {
  readonly id: string;
  readonly lastStep: number;
}

export function wandbSource(text: string, options: SourceOptions): Source {
  const { entity, project, run: only } = placeOf(text);
  const base = baseOf(options.env);
  const shown = `wandb://${entity}/${project}${only === undefined ? '' : `/${only}`}`;
  const api: Api = {
    shown,
    credentials: CREDENTIALS,
    secret: async () => {
      const key = options.env.WANDB_API_KEY || (await netrcOf(new URL(base).hostname, options.env))?.password;
      return key === undefined || key === '' ? {} : basic('api', key);
    },
  };
  type Answer = Readonly<Record<string, unknown>>;
  const send = async (query: string, variables: Record<string, unknown>): Promise<Answer> => {
    const answer = await askJson(api, new URL(`${base}/graphql`), options, { query, variables });
    const [error] = listIn(answer, 'errors', shown);
    if (isJsonObject(error)) throw lies(shown, `it answers: ${String(error.message).slice(0, 200)}`);
    return isJsonObject(answer.data) ? answer.data : {};
  };
  const ask = async (query: string, variables: Record<string, unknown>): Promise<Answer> => {
    const { project: found } = await send(query, { entity, project, ...variables });
    if (!isJsonObject(found)) throw lies(shown, 'it knows no such project, or the key may not see it');
    return found;
  };
  const facts = new Map<string, RunFacts>();
  const entryOf = (node: unknown): RemoteEntry => {
    if (!isJsonObject(node) || typeof node.name !== 'string')
      throw lies(shown, 'it knows no such run, or the key may not see it');
    const { lastStep } = isJsonObject(node.historyKeys) ? node.historyKeys : {};
    const named =
      typeof node.displayName === 'string' && node.displayName !== '' ? `${partOf(node.displayName)}-` : '';
    const name = `${named}${partOf(node.name)}/history.jsonl`;
    facts.set(name, { id: node.name, lastStep: typeof lastStep === 'number' ? lastStep : -1 });
    return { name, bytes: null, modified: null, version: `${lastStep} ${String(node.heartbeatAt)}` };
  };
  const list: Source['list'] = async () => {
    if (only !== undefined)
      return { isFolder: true, entries: [entryOf((await ask(ONE, { run: only })).run)] };
    const entries: RemoteEntry[] = [];
    for (let cursor: unknown = null; cursor !== undefined; ) {
      const { runs } = await ask(ALL, { cursor });
      if (!isJsonObject(runs)) throw lies(shown, 'its answer has no runs');
      for (const edge of listIn(runs, 'edges', shown))
        entries.push(entryOf(isJsonObject(edge) ? edge.node : undefined));
      checkEntryCount(entries.length, { shown, what: 'runs', hint: 'name one run' });
      const page = isJsonObject(runs.pageInfo) ? runs.pageInfo : {};
      cursor = page.hasNextPage === true && typeof page.endCursor === 'string' ? page.endCursor : undefined;
    }
    if (entries.length === 0) throw lies(shown, 'the project has no runs');
    return { isFolder: true, entries };
  };
  return {
    shown,
    list,
    open: async function* ({ name }) {
      const { id, lastStep } = facts.get(name)!;
      for (let from = 0; from <= lastStep; from += PAGE) {
        const { run } = await ask(HISTORY, { run: id, minStep: from, maxStep: from + PAGE, pageSize: PAGE });
        const rows = listIn(isJsonObject(run) ? run : {}, 'history', shown);
        if (rows.some((row) => typeof row !== 'string'))
          throw lies(shown, 'a row of its history is not text');
        if (rows.length > 0) yield Buffer.from(`${rows.join('\n')}\n`);
      }
    },
    again: async (entry) => (await list()).entries.find(({ name }) => name === entry.name) ?? entry,
    tag: async ({ name }, verdict) => {
      const { run } = await ask(TAGS, { run: facts.get(name)!.id });
      if (!isJsonObject(run) || typeof run.id !== 'string')
        throw lies(shown, 'it knows no such run any more');
      const own = `${VERDICT_TAG}:`;
      const others = listIn(run, 'tags', shown).filter((tag) => !String(tag).startsWith(own));
      await send(SET_TAGS, { id: run.id, tags: [...others, own + verdict] });
    },
  };
}
