/**
 * What every source over HTTP does, one table: it comes again after what passes and gives up after some, says what to set where it is
 * refused, keeps credentials from other hosts, asks nothing offline, and never takes a broken answer for a log.
 */
import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { sourceOf } from '../../src/read/sources/registry.ts';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('every-source');
let server: FaultyServer;
let other: FaultyServer;
beforeAll(async () => {
  server = await FaultyServer.start();
  other = await FaultyServer.start();
});
afterAll(async () => {
  await server.stop();
  await other.stop();
});
afterEach(() => {
  server.handler = undefined;
  server.misbehave({});
  other.misbehave({});
});

interface Case {
  /** The URL, of a server at `url`. */
  path(url: string): string;
  /** With a credential that has `s3cret` in it where one is sent. */
  env(url: string): Record<string, string>;
  /** What the user is told to set. */
  readonly hint: RegExp;
  /** Emulators of Google get no token. */
  readonly isAnonymous?: boolean;
  /** Its requests are not redirected. */
  readonly posts?: boolean;
}

const withLogin = (url: string): string => url.replace('//', '//user:s3cret@');
const CASES: Record<string, Case> = {
  https: { path: (url) => `${withLogin(url)}/log.jsonl`, env: () => ({}), hint: /netrc/ },
  hf: {
    path: () => 'hf://user/repo',
    env: (url) => ({ HF_ENDPOINT: url, HF_TOKEN: 's3cret' }),
    hint: /HF_TOKEN/,
  },
  s3: {
    path: () => 's3://bucket/key',
    env: (url) => ({
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'k',
      AWS_SESSION_TOKEN: 's3cret',
    }),
    hint: /AWS_ACCESS_KEY_ID/,
  },
  gs: {
    path: () => 'gs://bucket/key',
    env: (url) => ({ STORAGE_EMULATOR_HOST: url, CLOUDSDK_AUTH_ACCESS_TOKEN: 's3cret' }),
    hint: /GOOGLE_APPLICATION_CREDENTIALS/,
    isAnonymous: true,
  },
  az: {
    path: () => 'az://box/key',
    env: (url) => ({
      AZURE_STORAGE_CONNECTION_STRING: `AccountName=a;AccountKey=${Buffer.from('s3cret').toString('base64')};BlobEndpoint=${url}`,
    }),
    hint: /AZURE_STORAGE_ACCOUNT/,
  },
  wandb: {
    path: () => 'wandb://team/project/run',
    env: (url) => ({ WANDB_BASE_URL: url, WANDB_API_KEY: 's3cret' }),
    hint: /WANDB_API_KEY/,
    posts: true,
  },
  mlflow: {
    path: () => 'mlflow://runs/1',
    env: (url) => ({ MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_TOKEN: 's3cret' }),
    hint: /MLFLOW_TRACKING_TOKEN/,
  },
  tensorboard: {
    path: (url) => url.replace('http://', 'tensorboard://'),
    env: () => ({}),
    hint: /netrc/,
    isAnonymous: true,
  },
};
const table = Object.entries(CASES);

/** Lists and reads to the end; the error that ends it. */
async function failureOf(
  { path, env }: Case,
  url = server.url,
  more: Record<string, string> = {},
): Promise<DiagError | undefined> {
  const options = { env: { HOME: newFolder(), ...env(url), ...more }, backoff: 1, retries: 2, idle: 500 };
  try {
    const source = sourceOf(path(url), options);
    for (const entry of (await source.list()).entries) for await (const _ of source.open(entry, 0, null));
  } catch (error) {
    if (error instanceof DiagError) return error;
    throw error;
  }
  return undefined;
}

/** Every request gets this answer. */
const always = (answer: (response: ServerResponse) => void): void => {
  server.handler = (_, response) => {
    answer(response);
    return true;
  };
};
const textOf = ({ message, hint }: DiagError): string => `${message}\n${hint ?? ''}`;

it('is of every scheme that is read', () => {
  const known = (() => {
    try {
      sourceOf('none://x', { env: {} });
    } catch (error) {
      return (error as DiagError).hint!;
    }
    return '';
  })();
  const schemes = /known are ([^;]+);/.exec(known)![1]!.split(', ');
  // ssh is no server of HTTP: test/sources/real-servers.long.test.ts.
  const others = ['http', 'ssh', 'tensorboard+https'];
  expect(schemes.filter((scheme) => !others.includes(scheme)).sort()).toEqual(Object.keys(CASES).sort());
});

describe.each(table)('%s', (_, one) => {
  it('comes again after an answer that passes and after a connection that ends, and gives up', async () => {
    for (const answer of [
      (response: ServerResponse) => response.writeHead(503).end(),
      (response: ServerResponse) => response.writeHead(429, { 'retry-after': '0' }).end(),
      (response: ServerResponse) => response.destroy(),
    ]) {
      server.misbehave({});
      always(answer);
      expect((await failureOf(one))?.code).toBe('source-unreachable');
      expect(server.requests).toHaveLength(3);
    }
  });

  it.each([401, 403])('says what to set where it is refused by %d, and asks once', async (status) => {
    always((response) => response.writeHead(status).end());
    const error = (await failureOf(one))!;
    expect([error.code, textOf(error)]).toEqual(['source-denied', expect.stringMatching(one.hint)]);
    expect(textOf(error)).not.toContain('s3cret');
    expect(server.requests.length).toBe(1);
  });

  it('asks by the proxy of the environment, and says what to set where that refuses', async () => {
    always((response) => response.writeHead(407).end());
    const HTTP_PROXY = server.url.replace('//', '//user:s3cret@');
    const error = (await failureOf(one, 'http://runs.example', { HTTP_PROXY }))!;
    expect([error.code, textOf(error)]).toEqual(['source-proxy', expect.stringMatching(/HTTP_PROXY.*407/)]);
    expect(textOf(error)).not.toContain('s3cret');
    expect(server.requests).toHaveLength(1);
    expect(server.requests[0]!.url).toMatch(/^http:\/\/runs\.example\//);
  });

  it('says what is missing', async () => {
    always((response) => response.writeHead(404).end());
    expect((await failureOf(one))?.code).toBe('source-missing');
  });

  it('takes no page, no cut and no silence for an answer', async () => {
    for (const answer of [
      (response: ServerResponse) => response.writeHead(200, { 'content-length': '100' }).write('{"a":'),
      (response: ServerResponse) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    ]) {
      always(answer);
      const error = await failureOf(one);
      expect(error?.code).toMatch(/^source-/);
    }
  });

  it('sends its credentials to its own server alone', async () => {
    always((response) => response.writeHead(302, { location: `${other.url}/there` }).end());
    await failureOf(one);
    const own = JSON.stringify(server.requests.map(({ headers }) => headers));
    const login = /"authorization"|"x-amz-security-token"|"x-ms-date"/;
    expect(login.test(own)).toBe(one.isAnonymous !== true);
    expect(other.requests.length > 0).toBe(one.posts !== true);
    expect(JSON.stringify(other.requests)).not.toMatch(login);
    expect(JSON.stringify(other.requests)).not.toContain('s3cret');
  });

  it('asks nothing offline, and the error has exit code 2', async () => {
    const { code, err } = await cli(['analyze', one.path(server.url), '--offline', '--no-config'], {
      env: { HOME: newFolder(), ...one.env(server.url) },
    });
    expect([code, err]).toEqual([2, expect.stringContaining('source-offline')]);
    expect(err).not.toContain('s3cret');
    expect(server.requests).toEqual([]);
  });
});
