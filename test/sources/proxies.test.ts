/** Proxies that the environment names: which one a request goes by, what it sees, and what is said where it refuses. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { postJson } from '../../src/app/notify/channel.ts';
import { DiagError } from '../../src/model/errors.ts';
import { send } from '../../src/read/sources/http-client.ts';
import { proxyOf } from '../../src/read/sources/proxy.ts';
import type { SourceOptions } from '../../src/read/sources/source.ts';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { type RunningProxy, startProxy } from '../support/proxy-server.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('proxies');
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));
/** Is in no output. */
const SECRET = 's3cret';
let server: FaultyServer;
let proxy: RunningProxy;
beforeAll(async () => {
  server = await FaultyServer.start();
  proxy = await startProxy({ hosts: new Map() });
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
});
const hosts = (): Map<string, number> =>
  new Map(
    ['runs.example:80', 'other.example:80', '93.184.216.34:80'].map((name) => [name, server.port] as const),
  );
beforeEach(() => {
  proxy.options = { hosts: hosts(), login: `user:${SECRET}` };
  proxy.asked.length = 0;
  server.redirects.clear();
  server.misbehave({});
  server.files.set('/log.jsonl', { body: log, etag: '"a"' });
});

const address = (login = `user:${SECRET}@`): string => `http://${login}127.0.0.1:${proxy.port}`;
/** Sends a request that is repeated once. */
async function ask(url: string, env: SourceOptions['env'], more: Partial<SourceOptions> = {}) {
  const answer = await send({ url: new URL(url) }, { env, backoff: 1, retries: 1, idle: 2000, ...more });
  answer.body.destroy();
  return answer.status;
}
async function errorOf(...about: Parameters<typeof ask>): Promise<DiagError> {
  try {
    throw new Error(`status ${await ask(...about)}`);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    expect(`${error.message} ${error.hint} ${JSON.stringify(error.toRecord())}`).not.toContain(SECRET);
    return error;
  }
}

describe('which proxy', () => {
  const chosen = (url: string, env: Record<string, string>): string | undefined =>
    proxyOf(new URL(url), url, env)?.shown;
  const all = { http_proxy: 'http://h:1', HTTPS_PROXY: 's:2', ALL_PROXY: 'https://a' };

  it.each([
    ['http://x.org/', all, 'http://h:1'],
    ['https://x.org/', all, 'http://s:2'],
    ['https://x.org/', { ALL_PROXY: 'https://a' }, 'https://a'],
    ['http://x.org/', { HTTP_PROXY: 'http://H', http_proxy: 'http://h' }, 'http://h'],
    ['http://x.org/', { HTTP_PROXY: 'http://H', http_proxy: '' }, 'http://h'],
    ['https://x.org/', { http_proxy: 'http://h' }, undefined],
    // What a CGI server made of a header.
    ['http://x.org/', { HTTP_PROXY: 'http://h', REQUEST_METHOD: 'GET' }, undefined],
    // This machine.
    ['http://localhost:6006/', all, undefined],
    ['http://127.0.0.5/', all, undefined],
    ['http://[::1]:80/', all, undefined],
  ])('of %s by %j is %s', (url, env, expected) => expect(chosen(url, env)).toBe(expected));

  it.each([
    ['*', 'http://x.org/', true],
    ['x.org', 'http://x.org/', true],
    ['x.org', 'http://a.x.org/', true],
    ['x.org', 'http://ax.org/', false],
    ['.x.org', 'http://x.org/', true],
    ['*.x.org', 'http://a.b.x.org/', true],
    ['y.org, X.ORG', 'http://x.org/', true],
    ['y.org x.org:8080', 'http://x.org:8080/', true],
    ['x.org:8080', 'http://x.org/', false],
    ['x.org:443', 'https://x.org/', true],
    ['10.0.0.0/8', 'http://10.2.3.4/', true],
    ['10.0.0.0/8', 'http://11.2.3.4/', false],
    ['10.2.3.4', 'http://10.2.3.4:99/', true],
    ['2.3.4', 'http://10.2.3.4/', false],
    ['fd00::/8', 'http://[fd00::1]/', true],
    ['fd00::1', 'http://[fd00::1]/', true],
    ['[fd00::1]:80', 'http://[fd00::1]/', true],
    ['10.0.0.0/99', 'http://10.0.0.0/', false],
    [',', 'http://x.org/', false],
  ])('NO_PROXY=%s for %s: goes past is %s', (past, url, expected) =>
    expect(chosen(url, { ALL_PROXY: 'p', NO_PROXY: past }) === undefined).toBe(expected),
  );
});

describe('a proxy', () => {
  it('passes on what is read over http, with user and password for it alone', async () => {
    const env = { HTTP_PROXY: address(), HOME: newFolder() };
    const { code, out, err } = await cli(['analyze', 'http://runs.example/log.jsonl', '--no-config'], {
      env,
    });
    expect([code, out]).toEqual([0, expect.stringMatching(/DIVERGED at step 400/)]);
    expect(out + err).not.toContain(SECRET);
    expect(proxy.asked).toContain('GET http://runs.example/log.jsonl');
    expect(server.requests[0]!.headers.host).toBe('runs.example');
    expect(JSON.stringify(server.requests)).not.toMatch(/proxy-authorization/);
  });

  it('gets alerts too', async () => {
    const env = { http_proxy: address() };
    server.files.set('/hook', { body: Buffer.from('ok') });
    expect(await postJson('http://runs.example/hook', { a: 1 }, env)).toBeUndefined();
    expect(proxy.asked).toEqual(['POST http://runs.example/hook']);
  });

  it('is not asked for a host in NO_PROXY', async () => {
    const env = { HTTP_PROXY: address(), NO_PROXY: 'runs.example' };
    expect((await errorOf('http://runs.example/log.jsonl', env)).code).toBe('source-unreachable');
    expect(proxy.asked).toEqual([]);
  });

  it('is asked for each host of a redirect, and credentials go to the first alone', async () => {
    server.redirects.set('/there', 'http://other.example/log.jsonl');
    const secret = async (): Promise<Record<string, string>> => ({ authorization: 'Basic own' });
    const url = new URL('http://runs.example/there');
    (await send({ url, secret }, { env: { HTTP_PROXY: address() } })).body.destroy();
    expect(proxy.asked).toEqual(['GET http://runs.example/there', 'GET http://other.example/log.jsonl']);
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Basic own', undefined]);
  });

  it('connects to an address that was checked where a stranger chose the URL, and to none of the own network', async () => {
    const env = { HTTP_PROXY: address(), HTTPS_PROXY: address() };
    expect(await ask('http://93.184.216.34/log.jsonl', env, { publicOnly: true })).toBe(200);
    expect(proxy.asked).toEqual(['CONNECT 93.184.216.34:80']);
    for (const url of ['http://10.0.0.1/', 'https://169.254.169.254/', 'http://[fd00::1]/'])
      expect((await errorOf(url, env, { publicOnly: true })).code).toBe('source-refused');
    expect(proxy.asked).toHaveLength(1);
  });
});

describe('a proxy that refuses', () => {
  const URLS = ['http://runs.example/log.jsonl', 'https://runs.example/log.jsonl'];
  const both = (value: string) => ({ HTTP_PROXY: value, HTTPS_PROXY: value });

  it.each(URLS)(
    '%s: without the right login it is asked once, and the error says what to set',
    async (url) => {
      for (const login of ['', `other:${SECRET}x@`]) {
        proxy.asked.length = 0;
        const { code, message, hint } = await errorOf(url, both(address(login)));
        expect([code, message]).toEqual(['source-proxy', expect.stringMatching(/user and password .*407/)]);
        expect(hint).toMatch(/^set HTTPS?_PROXY to http:\/\/USER:PASSWORD@HOST:PORT, .*NO_PROXY/);
        expect(proxy.asked).toHaveLength(1);
      }
    },
  );

  it.each(URLS)('%s: it is asked again where it is busy, or away', async (url) => {
    proxy.options = { hosts: hosts(), status: 503 };
    if (url.startsWith('https'))
      expect((await errorOf(url, both(address()))).message).toMatch(/proxy http:\/\/127.*status 503/);
    else expect(await ask(url, both(address()))).toBe(503);
    expect(proxy.asked).toHaveLength(2);
    const { code, message } = await errorOf(url, both(`http://user:${SECRET}@127.0.0.1:9`));
    expect([code, message]).toEqual([
      'source-unreachable',
      expect.stringMatching(
        /the proxy http:\/\/127\.0\.0\.1:9 of HTTPS?_PROXY does not answer \(ECONNREFUSED\)/,
      ),
    ]);
  });

  it('a host that it does not connect to is named, once', async () => {
    proxy.options = { hosts: hosts(), status: 403 };
    const { code, message } = await errorOf(URLS[1]!, both(address()));
    expect([code, message]).toEqual([
      'source-proxy',
      expect.stringMatching(/runs\.example:443 .*status 403/),
    ]);
    expect(proxy.asked).toHaveLength(1);
  });

  it.each([
    [`socks5://u:${SECRET}@h:1`, /socks5:\/\/.*only http/],
    [`http://u:${SECRET}@:x`, /is not a URL/],
  ])('what is none is refused', async (value, words) => {
    const { code, message } = await errorOf(URLS[0]!, both(value));
    expect([code, message]).toEqual(['source-proxy', expect.stringMatching(words)]);
  });
});

describe.skipIf(spawnSync('openssl', ['version']).status !== 0)('https', () => {
  it('goes through the proxy encrypted, and the certificate is that of the host', async () => {
    const folder = newFolder();
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const about = ['-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=runs.example'];
    const names = ['-addext', 'subjectAltName=DNS:runs.example,IP:93.184.216.34'];
    execFileSync('openssl', ['req', '-x509', ...about, ...names, '-keyout', key, '-out', cert], {
      stdio: 'ignore',
    });
    const own = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) =>
      response.writeHead(200, { 'content-length': log.length }).end(log),
    );
    await new Promise<void>((resolve) => own.listen(0, '127.0.0.1', resolve));
    const { port } = own.address() as AddressInfo;
    const reached = ['runs.example:443', '93.184.216.34:443', 'wrong.example:443'];
    proxy.options = { hosts: new Map(reached.map((name) => [name, port])), login: `user:${SECRET}` };
    const env = { ...process.env, HTTPS_PROXY: address(), NODE_EXTRA_CA_CERTS: cert };
    const analyze = (host: string) =>
      promisify(execFile)(
        process.execPath,
        [join(projectRoot, 'bin/run.js'), 'analyze', `https://${host}/log.jsonl`, '--no-config'],
        { env },
      ).catch((error: { stderr: string }) => ({ stdout: '', stderr: error.stderr }));
    try {
      for (const host of ['runs.example', '93.184.216.34'])
        expect((await analyze(host)).stdout).toMatch(/DIVERGED at step 400/);
      expect(new Set(proxy.asked)).toEqual(new Set(reached.slice(0, 2).map((name) => `CONNECT ${name}`)));
      expect((await analyze('wrong.example')).stderr).toMatch(/ALTNAME/);
    } finally {
      own.close();
    }
  }, 300_000);
});
