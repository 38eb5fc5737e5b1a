/** `--tag`: the verdict on a run of W&B or MLflow is written to the server, only where it was asked for. Both by look-alikes on loopback. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT, type ExitCode } from '../../src/model/errors.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('tags');
const KEY = 's3cret-key';

let server: Server;
let url = '';
/** Losses of every run, which grow in a test; from step 300 on they are far above where `bad`. */
let points = 0;
let bad = true;
/** The status of every answer to what writes. */
let writing = 200;
let wandbTags: string[] = [];
/** What was written: the run, and its tags or tag. */
let written: unknown[] = [];

const losses = () =>
  Array.from({ length: points }, (_, step) => ({
    step,
    loss: (bad && step >= 300 ? 80 : 0.5) + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898),
  }));

type Body = Readonly<Record<string, unknown>>;

function wandb({ query, variables }: { query: string; variables: Body }): [number, unknown] {
  if (query.startsWith('mutation')) {
    if (writing !== 200) return [writing, {}];
    written.push(variables);
    wandbTags = variables.tags as string[];
    return [200, { data: { upsertBucket: { bucket: { id: variables.id } } } }];
  }
  const rows = losses().filter(
    ({ step }) => step >= Number(variables.minStep) && step < Number(variables.maxStep),
  );
  const run = query.startsWith('query HistoryPage')
    ? { history: rows.map(({ step, loss }) => JSON.stringify({ _step: step, loss })) }
    : query.startsWith('query RunTags')
      ? { id: 'UnVuOjE=', tags: wandbTags }
      : {
          name: 'r1',
          displayName: 'brave',
          heartbeatAt: String(points),
          historyKeys: { lastStep: points - 1 },
        };
  return [200, { data: { project: { run } } }];
}

function mlflow(name: string, query: URLSearchParams, body: Body): [number, unknown] {
  const history = losses().map(({ step, loss }) => ({
    key: 'loss',
    value: loss,
    timestamp: 1_700_000_000_000 + step,
    step,
  }));
  const run = (id: string) => ({
    info: { run_id: id, run_name: `name-${id}` },
    data: { metrics: history.slice(-1), tags: [], params: [{ key: 'lr', value: '0.1' }] },
  });
  if (name === 'runs/get') return [200, { run: run(query.get('run_id')!) }];
  if (name === 'runs/search') return [200, { runs: [run('aaaa'), run('bbbb')] }];
  if (name === 'metrics/get-history') return [200, { metrics: history }];
  if (writing === 200) written.push(body);
  return [writing, {}];
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  let text = '';
  request.on('data', (part) => {
    text += part;
  });
  request.on('end', () => {
    const { pathname, searchParams } = new URL(request.url!, url);
    const body = text === '' ? {} : JSON.parse(text);
    const [status, found] =
      pathname === '/graphql'
        ? wandb(body)
        : mlflow(pathname.replace('/api/2.0/mlflow/', ''), searchParams, body);
    response.writeHead(status).end(JSON.stringify(found));
  });
}

beforeEach(async () => {
  [points, bad, writing, wandbTags, written] = [600, true, 200, ['mine', 'clippy-diag:healthy'], []];
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  server.close();
});

const environment = () => ({
  HOME: newFolder(),
  WANDB_BASE_URL: url,
  WANDB_API_KEY: KEY,
  MLFLOW_TRACKING_URI: url,
  MLFLOW_TRACKING_TOKEN: KEY,
});
const gate = (path: string, ...more: string[]) =>
  cli(['gate', path, '--no-config', '--rule', 'full-divergence', ...more], { env: environment() });

const tagOf = (run: string, value: string) => ({ run_id: run, key: 'clippy-diag', value });

it('of a run of W&B: the tags of others stay, an older verdict goes', async () => {
  const { code, out, err } = await gate('wandb://team/project/r1', '--tag');
  expect([code, err]).toEqual([1, expect.any(String)]);
  expect(written).toEqual([{ id: 'UnVuOjE=', tags: ['mine', 'clippy-diag:full-divergence'] }]);
  bad = false;
  expect((await gate('wandb://team/project/r1', '--tag')).code).toBe(0);
  expect(wandbTags).toEqual(['mine', 'clippy-diag:healthy']);
  expect(out + err).not.toContain(KEY);
});

it('of a run of MLflow, and of each run of an experiment', async () => {
  const one = await gate('mlflow://runs/aaaa', '--tag');
  expect([one.code, one.err]).toEqual([1, '']);
  expect(written).toEqual([tagOf('aaaa', 'full-divergence')]);
  written = [];
  expect((await gate('mlflow://experiments/1', '--tag')).code).toBe(1);
  expect(written).toEqual([tagOf('aaaa', 'full-divergence'), tagOf('bbbb', 'full-divergence')]);
});

it.each(['wandb://team/project/r1', 'mlflow://runs/aaaa'])('%s: nothing is written unasked', async (path) => {
  const env = environment();
  await cli(['analyze', path, '--no-config'], { env });
  await gate(path);
  await cli(['watch', path, '--no-config', '--interval', '1', '--idle-exit', '1'], { env });
  expect(written).toEqual([]);
  expect(wandbTags).toEqual(['mine', 'clippy-diag:healthy']);
});

it.each([
  ['wandb://team/project/r1', /WANDB_API_KEY/],
  ['mlflow://runs/aaaa', /MLFLOW_TRACKING_TOKEN/],
])('%s: a key that may not write is said after the verdict, with what to set', async (path, hint) => {
  writing = 403;
  const { code, out, err } = await gate(path, '--tag');
  expect([code, written]).toEqual([3, []]);
  expect(out).toContain('full-divergence');
  expect(err).toMatch(/source-denied/);
  expect(err).toMatch(hint);
});

it('a path that has no tags is a mistake, and nothing is sent offline', async () => {
  for (const path of ['log.jsonl', 'https://host.invalid/log.jsonl']) {
    const { code, err } = await cli(['watch', path, '--tag', '--no-config'], { env: environment() });
    expect([path, code, err]).toEqual([path, 2, expect.stringContaining('wandb://')]);
  }
  expect(await gate('log.jsonl', '--tag')).toMatchObject({
    code: 2,
    err: expect.stringContaining('mlflow://'),
  });
  expect(await gate('mlflow://runs/aaaa', '--tag', '--offline')).toMatchObject({
    code: 2,
    err: expect.stringContaining('source-offline'),
  });
  expect(written).toEqual([]);
});

/** Watches through moments, each called between two looks. */
async function watched(path: string, moments: readonly (() => void)[]) {
  const waiting = [...moments];
  let now = Date.parse('2026-01-01T00:00:00Z');
  let end: ((code: ExitCode) => void) | undefined;
  return cli(['watch', path, '--no-config', '--tag', '--state', `${newFolder()}/state.json`], {
    env: environment(),
    io: {
      now: () => now,
      async sleep(milliseconds) {
        now += milliseconds;
        const moment = waiting.shift();
        if (moment === undefined) end!(EXIT.terminated);
        else moment();
      },
      onEnd(listener) {
        end = listener;
        return () => {};
      },
    },
  });
}

it.each(['wandb://team/project/r1', 'mlflow://runs/aaaa'])(
  'watch %s: once for each class, also after a refusal of the server',
  async (path) => {
    points = 250;
    const { err } = await watched(path, [
      () => (points = 260),
      () => ([points, writing] = [600, 503]),
      () => (points = 610),
      () => (writing = 200),
      () => (points = 620),
    ]);
    const values = written.map((one) => {
      const { value, tags } = one as { value?: string; tags?: string[] };
      return value ?? tags!.at(-1)!.replace('clippy-diag:', '');
    });
    expect(values).toEqual(['healthy', 'full-divergence']);
    expect(err.match(/asked again at each look/g)).toHaveLength(1);
    expect(err).toContain('is tagged again');
    expect(err).not.toContain(KEY);
  },
  30_000,
);
