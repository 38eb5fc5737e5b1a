/** Sources that need no server to be wrong, and W&B by a look-alike on loopback that answers as its GraphQL interface does. */

import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { sourceOf } from '../../src/read/sources/registry.ts';
import { jsonLines } from '../../src/read/sources/rows.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('schemes');
const analyze = (path: string, env: Record<string, string>, more: readonly string[] = []) =>
  cli(['analyze', path, '--json', '--no-config', ...more], { env: { HOME: newFolder(), ...env } });

let server: Server | undefined;
afterEach(() => {
  server?.close();
  server = undefined;
});

const rows = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => {
    const { step, loss } = JSON.parse(line) as { step: number; loss: number };
    return JSON.stringify({ _step: step * 4, loss });
  });
const KEY = 's3cret-key-of-wandb';

/** A look-alike of W&B's server: one project, the key above, pages of runs of one each. */
async function startWandb() {
  const asked: { query: string; variables: Record<string, unknown> }[] = [];
  server = createServer((request, response) => {
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      if (request.headers.authorization !== `Basic ${Buffer.from(`api:${KEY}`).toString('base64')}`) {
        response.writeHead(401).end('{}');
        return;
      }
      const body = JSON.parse(text) as (typeof asked)[number];
      asked.push(body);
      const { run, minStep, maxStep, cursor, project } = body.variables;
      const node = (name: string) => ({
        name,
        displayName: `brave-${name}`,
        heartbeatAt: 't',
        historyKeys: { lastStep: 599 * 4 },
      });
      const within = rows.filter((row) => {
        const { _step } = JSON.parse(row) as { _step: number };
        return _step >= Number(minStep) && _step < Number(maxStep);
      });
      const found = body.query.startsWith('query HistoryPage')
        ? { run: { history: within } }
        : run !== undefined
          ? { run: run === 'r1' ? node('r1') : null }
          : {
              runs: {
                edges: [{ node: node(cursor === null ? 'r1' : 'r2') }],
                pageInfo: { endCursor: 'c', hasNextPage: cursor === null },
              },
            };
      response.end(JSON.stringify({ data: { project: project === 'none' ? null : found } }));
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe('W&B', () => {
  it('a run and a project, with the whole history, by scheme and by page', async () => {
    const { url, asked } = await startWandb();
    const env = { WANDB_BASE_URL: url, WANDB_API_KEY: KEY };
    for (const [path, runs] of [
      ['wandb://team/project/r1', 1],
      ['wandb://team/project', 2],
      [`${url}/team/project/runs/r1`, 1],
    ] as const) {
      const { code, out, err } = await analyze(path, env);
      expect([path, code, err]).toEqual([path, 0, expect.any(String)]);
      const report = JSON.parse(out);
      expect(report.runs).toHaveLength(runs);
      expect(report.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 1600 });
      expect(report.runs[0].series[0].points).toBe(600);
      expect(out + err).not.toContain(KEY);
    }
    // 2,400 steps are three pages of a thousand.
    expect(asked.slice(0, 4).map(({ variables }) => variables.minStep)).toEqual([undefined, 0, 1000, 2000]);
  });

  it('a wrong key, a run and a project that are not there are said, with what to set', async () => {
    const { url } = await startWandb();
    const env = { WANDB_BASE_URL: url, WANDB_API_KEY: KEY };
    expect(await analyze('wandb://team/project/r1', { WANDB_BASE_URL: url })).toMatchObject({
      code: 3,
      err: expect.stringMatching(/source-denied.*WANDB_API_KEY/s),
    });
    for (const path of ['wandb://team/project/other', 'wandb://team/none'])
      expect(await analyze(path, env)).toMatchObject({
        code: 3,
        err: expect.stringContaining('the key may not see it'),
      });
  });
});

it.each([
  ['gs://', /gs:\/\/BUCKET/],
  ['az://a b/x', /az:\/\/CONTAINER/],
  ['wandb://team', /wandb:\/\/ENTITY\/PROJECT/],
  ['mlflow://host/1', /MLFLOW_TRACKING_URI/],
  ['ssh://-oProxyCommand=x/log', /ssh:\/\/USER@HOST/],
  ['ssh://-lroot@host/log', /ssh:\/\/USER@HOST/],
  ['ssh://host', /ssh:\/\/USER@HOST/],
  ['sftp://host/log', /ssh:\/\/HOST/],
])('%s is refused with how it is written', async (path, words) => {
  expect(await analyze(path, {})).toMatchObject({ code: 3, err: expect.stringMatching(words) });
});

it.each(['gs://b/x', 'az://box/x', 'wandb://a/b', 'mlflow://runs/1', 'tensorboard://h', 'ssh://h/x'])(
  '%s is not asked for offline',
  async (path) => {
    expect(await analyze(path, {}, ['--offline'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('source-offline'),
    });
  },
);

it('ssh is refused for URLs that a stranger may choose', () => {
  expect(() => sourceOf('ssh://host/log', { env: {}, publicOnly: true })).toThrow(/every network/);
});

it('rows of one step are one line, a step that comes again is another', () => {
  const lines = jsonLines(
    new Map([
      [
        'a',
        [
          [0, 1],
          [1, 'NaN'],
          [1, 3],
        ],
      ],
      ['b', [[1, 4]]],
    ]),
  );
  expect(
    lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { step: 0, a: 1 },
    { step: 1, a: 'NaN' },
    { step: 1, a: 3, b: 4 },
  ]);
});

describe('TensorBoard', () => {
  /** A look-alike with a run of a long and a short series. */
  async function startTensorboard(environment: string | null, points: readonly number[]): Promise<string> {
    server = createServer((request, response) => {
      const url = new URL(request.url!, 'http://h');
      const value = (step: number) => [0, step, 0.5 + 2 * Math.exp(-step / 200) + 0.01 * Math.sin(step)];
      if (url.pathname.endsWith('/tags')) response.end('{"run":{"train/loss":{},"val/loss":{}}}');
      else if (!url.pathname.endsWith('/scalars')) {
        if (environment === null) response.writeHead(404);
        response.end(environment ?? '');
      } else {
        const isLong = url.searchParams.get('tag') === 'train/loss';
        response.end(JSON.stringify((isLong ? points : [0, 999, 1999, 2999]).map(value)));
      }
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    return `tensorboard://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const all = Array.from({ length: 3000 }, (_, k) => k);
  const uneven = (count: number): number[] => all.slice(0, count).map((k) => 2 * k + (k % 3 === 0 ? 1 : 0));
  const flags = (scalars: number): string =>
    JSON.stringify({ debug: { flags: { samples_per_plugin: { images: 3, scalars } } } });

  it.each([
    ['a thousand uneven points of a server that does not say how many it keeps', null, uneven(1000), true],
    ['so many as the server says that it keeps', flags(300), uneven(300), true],
    ['fewer than the server keeps', flags(400), uneven(300), false],
    ['evenly spaced points, of which none is missing', null, all.slice(0, 1000), false],
    ['more uneven points, of a server that keeps all', flags(0), uneven(2000), false],
    ['an answer that is no environment', '[]', uneven(1000), true],
  ])('%s', async (_, environment, points, isSample) => {
    const url = await startTensorboard(environment, points);
    const { out } = await analyze(url, {});
    const { verdict, hyperparameters } = (JSON.parse(out) as Report).runs[0]!;
    expect(verdict.class).toBe(isSample ? 'inconclusive' : 'healthy');
    expect(verdict.provenBy!.judged.holds).toBe(!isSample);
    const said = `${points.length === 1000 ? '1,000' : points.length} points of steps ${points[0]} to ${points.at(-1)}`;
    expect(hyperparameters).toEqual(isSample ? { 'train/loss: sampled by the server': said } : {});
  });
});
