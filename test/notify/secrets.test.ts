/**
 * No planted secret is in any output: terminal, JSON, HTML, SARIF, JUnit, Markdown, metrics, alerts, state files, errors; and no
 * request carries one to another host.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('secrets');
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));
/** Each secret has this in it, also where it is encoded for a URL. */
const PLANTED = 'pl4nted';
const asked: { host: string; text: string }[] = [];
let own: Server;
let other: Server;
const urlOf = (server: Server, name = '127.0.0.1'): string =>
  `http://${name}:${(server.address() as AddressInfo).port}`;

/** Serves the log at /log.jsonl, refuses /denied, redirects /elsewhere to the other host, and takes what is posted. */
function serve(host: string): Server {
  return createServer((request, response) => {
    asked.push({ host, text: JSON.stringify([request.url, request.headers]) });
    const { pathname } = new URL(request.url!, 'http://h');
    if (request.method === 'POST') response.end('{}');
    else if (pathname === '/denied') response.writeHead(403).end();
    else if (pathname === '/elsewhere')
      response.writeHead(302, { location: `${urlOf(other)}/log.jsonl` }).end();
    else response.writeHead(200, { 'content-length': log.length }).end(log);
  });
}
beforeAll(async () => {
  own = serve('own');
  other = serve('other');
  for (const server of [own, other])
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  own.close();
  other.close();
});

/** Every secret that a user of ours can have, with addresses of this test's server. */
const environment = () => ({
  HOME: newFolder(),
  AWS_ACCESS_KEY_ID: `${PLANTED}-aws-id`,
  AWS_SECRET_ACCESS_KEY: `${PLANTED}-aws`,
  AWS_SESSION_TOKEN: `${PLANTED}-session`,
  AWS_ENDPOINT_URL: urlOf(own),
  HF_TOKEN: `${PLANTED}-hf`,
  // Of another origin: pages of the endpoint are read as the Hub's.
  HF_ENDPOINT: urlOf(own, 'localhost'),
  WANDB_API_KEY: `${PLANTED}-wandb`,
  WANDB_BASE_URL: `${urlOf(other)}`,
  MLFLOW_TRACKING_URI: urlOf(own).replace('http://', `http://user:${PLANTED}-mlflow@`),
  AZURE_STORAGE_CONNECTION_STRING: `AccountName=a;AccountKey=${Buffer.from('x').toString('base64')};SharedAccessSignature=sig=${PLANTED}-sas;BlobEndpoint=${urlOf(own)}`,
  CLOUDSDK_AUTH_ACCESS_TOKEN: `${PLANTED}-google`,
  STORAGE_EMULATOR_HOST: urlOf(own),
  CLIPPY_DIAG_SLACK_URL: `${urlOf(own)}/${PLANTED}-slack`,
  CLIPPY_DIAG_WEBHOOK_URL: urlOf(own).replace('http://', `http://u:${PLANTED}-hook@`),
  CLIPPY_DIAG_PAGERDUTY_KEY: `${PLANTED}-pagerduty`,
  CLIPPY_DIAG_PAGERDUTY_URL: urlOf(own),
  OTEL_EXPORTER_OTLP_ENDPOINT: urlOf(own),
  OTEL_EXPORTER_OTLP_HEADERS: `api-key=${PLANTED}-otlp`,
});

/** All files below a folder, as one text. */
function textsIn(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => `${path}\n${readFileSync(path, 'utf8')}`)
    .join('\n');
}

const withSecret = (path: string): string =>
  `${urlOf(own).replace('http://', `http://user:${PLANTED}-basic@`)}${path}?token=${PLANTED}-query#${PLANTED}-fragment`;

it('a report in every format on a URL with user, password and token names none of them', async () => {
  const folder = newFolder();
  const formats = ['html', 'json', 'sarif', 'junit', 'markdown'].flatMap((name) => [
    '--report',
    `${name}:report.${name}`,
  ]);
  for (const more of [[], ['--json'], ['--brief'], ['--verbose']]) {
    const result = await cli(['analyze', withSecret('/log.jsonl'), ...more, ...formats], {
      cwd: folder,
      env: environment(),
    });
    expect(result.code, result.err).toBe(0);
    const all = result.out + result.err + textsIn(folder);
    expect(all).toContain('/log.jsonl');
    expect(all).not.toContain(PLANTED);
  }
  // The test could not fail if nothing was sent.
  expect(asked.some(({ text }) => text.includes(`${PLANTED}-query`))).toBe(true);
});

it('errors of every source name none', async () => {
  const env = environment();
  const paths = [
    withSecret('/denied'),
    withSecret('/elsewhere'),
    's3://bucket/denied',
    'hf://user/repo/denied',
    'gs://bucket/denied',
    'az://container/denied',
    'wandb://team/project/run',
    'mlflow://runs/1',
    `ssh://u:${PLANTED}@host/x`,
    `unknown://u:${PLANTED}@host/x?${PLANTED}`,
  ];
  for (const path of paths)
    for (const more of [[], ['--json']]) {
      const result = await cli(['analyze', path, '--no-config', ...more], { env });
      expect([path, (result.out + result.err).includes(PLANTED)]).toEqual([path, false]);
    }
});

it('a watch with all channels and metrics writes none to the screen, the state and the metrics', async () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'log.jsonl'), log);
  const channels = ['slack', 'webhook', 'pagerduty'].flatMap((name) => ['--notify', name]);
  const metrics = ['--metrics', 'runs.prom', '--metrics', 'otlp'];
  const args = ['watch', 'log.jsonl', ...channels, ...metrics, '--idle-exit', '2', '--no-config', '--json'];
  const before = asked.length;
  const { out, err, code } = await cli(args, { cwd: folder, env: environment() });
  expect(code, err).toBe(0);
  expect(asked.length - before).toBeGreaterThanOrEqual(4);
  expect(out + err + textsIn(folder)).not.toContain(PLANTED);
});

it('another host gets no credentials of a URL that redirects to it, only W&B its own key', () => {
  const got = asked.filter(({ host }) => host === 'other').map(({ text }) => text);
  expect(got.length).toBeGreaterThan(0);
  for (const text of got) expect(text).not.toContain(PLANTED);
  const logins = got.flatMap((text) => /"authorization":"Basic ([^"]+)"/.exec(text)?.[1] ?? []);
  expect(new Set(logins.map((one) => Buffer.from(one, 'base64').toString()))).toEqual(
    new Set([`api:${PLANTED}-wandb`]),
  );
});

it('nothing is sent for a path of this machine', async () => {
  const before = asked.length;
  const folder = newFolder();
  writeFileSync(join(folder, 'log.jsonl'), log);
  await cli(['analyze', 'log.jsonl'], { cwd: folder, env: environment() });
  await cli(['watch', 'log.jsonl', '--idle-exit', '2'], { cwd: folder, env: environment() });
  expect(asked).toHaveLength(before);
});
