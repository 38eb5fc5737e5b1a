/**
 * No planted secret is in any output: terminal, JSON, HTML, SARIF, JUnit, Markdown, metrics, alerts, state files, errors; and no
 * request carries one to another host.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { cli } from '../support/cli.ts';
import type { FaultyServer } from '../support/http-server.ts';
import { startS3 } from '../support/s3-lookalike.ts';
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
  const server = createServer((request, response) => {
    asked.push({ host, text: JSON.stringify([request.url, request.headers]) });
    const { pathname } = new URL(request.url!, 'http://h');
    if (request.method === 'POST') response.end('{}');
    else if (pathname === '/denied') response.writeHead(403).end();
    else if (pathname === '/elsewhere')
      response.writeHead(302, { location: `${urlOf(other)}/log.jsonl` }).end();
    else response.writeHead(200, { 'content-length': log.length }).end(log);
  });
  // As a proxy it connects to nobody.
  server.on('connect', (request, socket) => {
    asked.push({ host, text: JSON.stringify([request.url, request.headers]) });
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  return server;
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
  OTEL_EXPORTER_OTLP_METRICS_HEADERS: `api-key=${PLANTED}-otlp-metrics`,
});

const inBase64 = (text: string): string => Buffer.from(text).toString('base64');

/** The same services at their own addresses, asked by a proxy that connects to none, with credentials in files and other variables. */
function behindProxy(): Record<string, string> {
  const HOME = newFolder();
  const put = (name: string, text: string): void => {
    mkdirSync(dirname(join(HOME, name)), { recursive: true });
    writeFileSync(join(HOME, name), text);
  };
  const proxy = urlOf(own).replace('http://', `http://u:${PLANTED}-proxy@`);
  put(
    '.netrc',
    `machine api.wandb.ai login user password ${PLANTED}-netrc\nmachine data.example login user password ${PLANTED}-netrc\n`,
  );
  put('.cache/huggingface/token', `${PLANTED}-hf-file`);
  put(
    '.aws/credentials',
    `[default]\naws_access_key_id = ${PLANTED}-id\naws_secret_access_key = ${PLANTED}-aws-file\n`,
  );
  put(
    '.config/gcloud/application_default_credentials.json',
    JSON.stringify({
      type: 'authorized_user',
      client_id: 'id',
      client_secret: `${PLANTED}-client`,
      refresh_token: `${PLANTED}-refresh`,
    }),
  );
  put('broken.json', `{"type": "service_account", "private_key": "${PLANTED}-cut`);
  return {
    HOME,
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    AZURE_STORAGE_ACCOUNT: 'account',
    AZURE_STORAGE_KEY: inBase64(`${PLANTED}-azure`),
    MLFLOW_TRACKING_URI: 'http://mlflow.example',
    MLFLOW_TRACKING_USERNAME: 'user',
    MLFLOW_TRACKING_PASSWORD: `${PLANTED}-mlflow-password`,
  };
}

/** Where the secrets of a user may lie. */
const WAYS: Record<string, () => Record<string, string>> = {
  'in the environment': environment,
  'in files, behind a proxy': behindProxy,
  'in other variables, behind another proxy': () => {
    const {
      HTTP_PROXY: proxy,
      HOME,
      AZURE_STORAGE_KEY: _,
      MLFLOW_TRACKING_PASSWORD: __,
      ...rest
    } = behindProxy();
    return {
      ...rest,
      HOME: HOME!,
      ALL_PROXY: proxy!,
      AZURE_STORAGE_SAS_TOKEN: `sv=1&sig=${PLANTED}-sas`,
      GOOGLE_OAUTH_ACCESS_TOKEN: `${PLANTED}-google`,
      MLFLOW_TRACKING_TOKEN: `${PLANTED}-mlflow-token`,
    };
  },
  'in a file that is cut': () => {
    const env = behindProxy();
    return { ...env, GOOGLE_APPLICATION_CREDENTIALS: join(env.HOME!, 'broken.json') };
  },
};

/** In base64 it may begin at any of three places; the characters that what lies around it has no part in. */
const ENCODED = [0, 1, 2].map((before) =>
  inBase64('-'.repeat(before) + PLANTED).slice(
    Math.ceil((8 * before) / 6),
    Math.floor((8 * (before + PLANTED.length)) / 6),
  ),
);

/** Whether a text holds a secret, as it is or in base64. */
const saysSecret = (text: string): boolean => [PLANTED, ...ENCODED].some((one) => text.includes(one));

it.each(['', 'u', 'us', 'user:'])('a secret after "%s" is seen in base64 too', (before) => {
  expect(saysSecret(inBase64(`${before}${PLANTED}-basic`))).toBe(true);
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
  const formats = Object.keys(REPORT_FORMATS).flatMap((name) => ['--report', `${name}:report.${name}`]);
  for (const more of [[], ['--json'], ['--brief'], ['--verbose']]) {
    const result = await cli(['analyze', withSecret('/log.jsonl'), ...more, ...formats], {
      cwd: folder,
      env: environment(),
    });
    expect(result.code, result.err).toBe(0);
    const all = result.out + result.err + textsIn(folder);
    expect(all).toContain('/log.jsonl');
    expect(saysSecret(all)).toBe(false);
  }
  // The test could not fail if nothing was sent.
  expect(asked.some(({ text }) => text.includes(`${PLANTED}-query`))).toBe(true);
});

it.each(Object.entries(WAYS))('errors of every source name none that is %s', async (_, envOf) => {
  const env = envOf();
  const paths = [
    withSecret('/denied'),
    withSecret('/elsewhere'),
    `http://u:${PLANTED}@data.example/denied?${PLANTED}`,
    'https://data.example/log.jsonl',
    's3://bucket/denied',
    'hf://user/repo/denied',
    'gs://bucket/denied',
    'az://container/denied',
    'wandb://team/project/run',
    'mlflow://runs/1',
    'tensorboard://data.example:6006',
    `ssh://u:${PLANTED}@host/x`,
    `unknown://u:${PLANTED}@host/x?${PLANTED}`,
  ].filter((path) => env.HTTPS_PROXY !== undefined || !path.includes('data.example'));
  const before = asked.length;
  for (const path of paths)
    for (const more of [[], ['--json']]) {
      const result = await cli(['analyze', path, '--no-config', ...more], { env });
      expect([path, saysSecret(result.out + result.err)]).toEqual([path, false]);
    }
  expect(asked.slice(before).some(({ text }) => saysSecret(text))).toBe(true);
});

/** Names of hosts, and the address of a service of a pod's own. */
const NO_SECRETS = [
  'NO_PROXY',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
];

it('knows every variable that may hold a secret', () => {
  const planted = new Set([NO_SECRETS, ...Object.values(WAYS).map((envOf) => Object.keys(envOf()))].flat());
  const files = ['src/read/sources', 'src/app/notify'].map((name) => textsIn(join(projectRoot, name)));
  const names = files.flatMap((text) => [
    ...text.matchAll(/\b(?:[A-Z]+_)+(?:KEY|TOKEN|PASSWORD|HEADERS|PROXY|CREDENTIALS|STRING|URL|URI)\b/g),
  ]);
  expect([...new Set(names.map(([name]) => name))].filter((name) => !planted.has(name))).toEqual([]);
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
  expect(saysSecret(out + err + textsIn(folder))).toBe(false);
});

describe('every command', () => {
  const incident = join(projectRoot, 'fixtures/incident');
  let bucket: FaultyServer;
  beforeAll(async () => {
    const names = readdirSync(incident, { recursive: true, encoding: 'utf8' });
    const files = names.filter((name) => statSync(join(incident, name)).isFile());
    const objects = new Map(files.map((name) => [`run/${name}`, readFileSync(join(incident, name))]));
    objects.set('train.log', Buffer.from('step 1 loss 2.5\nstep 2 loss 1.5\nstep 3 loss 1.25\n'));
    bucket = await startS3({ name: 'bucket', objects, secret: null, region: 'us-east-1' });
  });
  afterAll(() => bucket.stop());

  const COMMANDS: Record<string, readonly string[]> = {
    analyze: ['RUN/log.jsonl'],
    audit: ['RUN/capture'],
    baseline: ['update', 'RUN/log.jsonl', '--file', 'baseline.json', '--no-config', '--allow-outside'],
    bisect: ['--good', 'RUN', '--bad', 'RUN', '--', 'true'],
    chart: ['RUN/log.jsonl'],
    compare: ['RUN/log.jsonl', 'RUN/log.jsonl'],
    completion: ['bash'],
    curvature: ['RUN/capture'],
    donate: ['RUN', '--json'],
    explain: ['nan'],
    gate: ['RUN/log.jsonl'],
    init: ['github'],
    inspect: ['RUN'],
    matrix: ['RUN/capture', '--seeds', '1', '--steps', '2', '--rule', 'none', '--json'],
    mcp: ['--allow', 'RUN'],
    preflight: ['RUN/capture', '--rate', '0.02'],
    replay: ['RUN/capture', '--json'],
    report: ['RUN/log.jsonl'],
    resume: ['RUN'],
    'strip-batches': ['RUN/capture'],
    teach: ['train.log'],
    watch: ['RUN/log.jsonl', '--idle-exit', '2'],
    who: ['5', 'RUN'],
  };

  it('is one of these', () => {
    const known = readdirSync(join(projectRoot, 'src/app/commands')).map((name) => name.replace(/\.ts$/, ''));
    expect([...new Set(known)].sort()).toEqual(Object.keys(COMMANDS).sort());
  });

  const MCP = ['initialize', 'tools/list'].map((method, id) => {
    const clientInfo = { name: 'test', version: '1' };
    const params = id === 0 ? { protocolVersion: '2025-06-18', capabilities: {}, clientInfo } : ({} as const);
    return `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`;
  });

  it.each(Object.keys(COMMANDS))(
    '%s says no secret, of a URL and of files here, and sends none away',
    async (name) => {
      const before = asked.length;
      for (const root of ['s3://bucket', 'here']) {
        const cwd = newFolder();
        cpSync(incident, join(cwd, 'here/run'), { recursive: true });
        writeFileSync(join(cwd, 'here/train.log'), 'step 1 loss 2.5\nstep 2 loss 1.5\n');
        const words = COMMANDS[name]!.map((word) =>
          word.startsWith('RUN')
            ? word.replace('RUN', `${root}/run`)
            : word === 'train.log'
              ? `${root}/${word}`
              : word,
        );
        const env = { ...environment(), AWS_ENDPOINT_URL: bucket.url, AWS_REGION: 'us-east-1' };
        bucket.misbehave({});
        const { out, err } = await cli([name, ...words], { cwd, env, input: MCP.join('') });
        expect(out + err).not.toBe('');
        expect(saysSecret(out + err + textsIn(cwd))).toBe(false);
        expect(bucket.requests.filter(({ method }) => !/^(?:GET|HEAD)$/.test(method))).toEqual([]);
        if (root === 'here') expect(bucket.requests).toEqual([]);
      }
      expect(asked.length).toBe(before);
    },
  );
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
