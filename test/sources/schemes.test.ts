/** Sources that need no server to be wrong, and W&B by a look-alike on loopback that answers as its GraphQL interface does. */

import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
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
