/** Inputs behind http(s) URLs, from a server on loopback that cuts, stalls, lies and redirects. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openFile } from '../../src/read/bytes/source.ts';
import { isPublicAddress } from '../../src/read/sources/addresses.ts';
import { mountSources } from '../../src/read/sources/mount.ts';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('sources-http');
const home = newFolder();
// Other tests make temporary folders at the same time.
process.env.TMPDIR = newFolder();
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));
const quick = { idle: 300, backoff: 1, retries: 3 };
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
beforeEach(() => {
  server.files.clear();
  server.redirects.clear();
  server.handler = undefined;
  server.misbehave({});
  other.files.clear();
  other.misbehave({});
  server.files.set('/runs/log.jsonl', { body: log, etag: '"a1"', modified: new Date('2026-01-01') });
});

const env = { HOME: home, NETRC: join(home, '.netrc') };
const url = (): string => `${server.url}/runs/log.jsonl`;

/** The bytes behind a URL, as a reader gets them. */
async function bytesOf(path: string, more: object = {}): Promise<Buffer> {
  const mounted = await mountSources([path], { env, ...quick, ...more });
  try {
    const source = await openFile(mounted.paths[0]!);
    try {
      return Buffer.from(await source.slice(0, source.byteLength));
    } finally {
      await source.close();
    }
  } catch (error) {
    throw mounted.shown(error);
  } finally {
    await mounted.close();
  }
}
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: { code?: unknown; message: string }) => error.code ?? error.message,
  );
const left = (): string[] => readdirSync(tmpdir()).filter((name) => /^clippy-diag-\w{6}$/.test(name));

describe('a good server', () => {
  it('analyze, gate, inspect and compare say of a URL what they say of the file, and name the URL', async () => {
    const before = left();
    const page = await cli(['analyze', url(), '--no-config'], { env });
    expect(page.out).toMatch(/DIVERGED at step 400/);
    const report = JSON.parse((await cli(['analyze', url(), '--json', '--no-config'], { env })).out);
    expect(report.inputs[0].path).toBe(url());
    expect(report.runs[0].paths).toEqual([url()]);
    expect(JSON.stringify(report)).not.toContain(tmpdir());
    const gate = await cli(['gate', url(), '--no-config', '--rule', 'full-divergence'], { env });
    expect([gate.code, gate.out]).toEqual([1, expect.stringContaining('FAIL')]);
    const inspected = JSON.parse((await cli(['inspect', url(), '--json'], { env })).out);
    expect(inspected.inputs[0]).toMatchObject({ path: url(), kept: 600 });
    const compared = await cli(['compare', url(), url(), '--json'], { env });
    expect(compared.code).toBe(0);
    expect(compared.out).not.toContain(tmpdir());
    // Nothing stays on the disk.
    expect(left()).toEqual(before);
  });

  it('a URL alone means analyze', async () => {
    expect((await cli([url()], { env })).out).toMatch(/DIVERGED at step 400/);
  });

  it('fetches of a large file only the blocks that are read', async () => {
    const body = Buffer.alloc(4 * 2 ** 20);
    for (let i = 0; i < body.length; i++) body[i] = (i * 2654435761) >>> 13;
    server.files.set('/model.bin', { body, etag: '"m"' });
    const mounted = await mountSources([`${server.url}/model.bin`], {
      env,
      ...quick,
      whole: 1024,
      block: 65536,
    });
    const source = await openFile(mounted.paths[0]!);
    expect(source.byteLength).toBe(body.length);
    expect(
      Buffer.from(await source.slice(1_000_000, 1_000_100)).equals(body.subarray(1_000_000, 1_000_100)),
    ).toBe(true);
    const into = new Uint8Array(70_000);
    await source.fill!(into, 3_000_000);
    expect(Buffer.from(into).equals(body.subarray(3_000_000, 3_070_000))).toBe(true);
    expect(mounted.fetched()).toBeLessThanOrEqual(3 * 65536);
    const asked = server.requests.length;
    await source.slice(1_000_000, 1_000_100);
    expect(server.requests.length).toBe(asked);
    await source.close();
    await mounted.close();
  });

  it('reads an empty file, and a file of which only the end says how long it is', async () => {
    server.files.set('/empty', { body: Buffer.alloc(0) });
    expect(await bytesOf(`${server.url}/empty`)).toHaveLength(0);
    server.handler = (_, response) => {
      response.writeHead(200);
      response.write(log.subarray(0, 1000));
      response.end(log.subarray(1000));
      return true;
    };
    expect((await bytesOf(`${server.url}/chunked`)).equals(log)).toBe(true);
  });
});

describe('a bad line', () => {
  it('resumes where the connection breaks off, and asks only for the rest', async () => {
    server.misbehave({ cutAfter: 10_000 });
    expect((await bytesOf(url())).equals(log)).toBe(true);
    const ranges = server.requests.map(({ headers }) => headers.range);
    expect(ranges.filter((range) => range?.startsWith('bytes=0-') === true)).toHaveLength(2);
    expect(ranges.length).toBeGreaterThan(2);
  });

  it('resumes from a server without ranges by passing over what it has', async () => {
    server.misbehave({ noRanges: true, cutAfter: log.length - 5000, cuts: 2 });
    expect((await bytesOf(url())).equals(log)).toBe(true);
  });

  it('repeats after statuses that pass, waits as long as it is told, and gives up after some', async () => {
    server.misbehave({ status: { code: 503, times: 3 } });
    expect((await bytesOf(url())).equals(log)).toBe(true);
    server.misbehave({ status: { code: 429, times: 1, retryAfter: '0.2' } });
    const started = Date.now();
    await bytesOf(url());
    expect(Date.now() - started).toBeGreaterThanOrEqual(190);
    server.misbehave({ status: { code: 503, times: 99 } });
    expect(await codeOf(bytesOf(url()))).toBe('source-unreachable');
  });

  it('says of a file that ends too early again and again how far it was read: never a verdict', async () => {
    server.misbehave({ cutAfter: 0 });
    expect(await codeOf(bytesOf(url()))).toBe('source-incomplete');
    for (const command of ['analyze', 'gate', 'inspect', 'compare']) {
      server.misbehave({ status: { code: 404, times: 99 } });
      const args = command === 'compare' ? [url(), url()] : [url()];
      const { code, err, out } = await cli([command, ...args], { env });
      expect([command, code]).toEqual([command, 3]);
      expect(err).toContain('source-missing');
      expect(out).not.toContain('healthy');
    }
  });

  it('gives up a server that stalls', async () => {
    server.misbehave({ stall: true });
    expect(await codeOf(bytesOf(url(), { idle: 60, retries: 1 }))).toBe('source-incomplete');
  });

  it('says that nobody listens', async () => {
    const gone = await FaultyServer.start();
    const at = `${gone.url}/log.jsonl`;
    await gone.stop();
    expect(await codeOf(bytesOf(at))).toBe('source-unreachable');
  });
});

describe('a server that lies', () => {
  it('answers with other bytes than it was asked for', async () => {
    server.misbehave({ shiftBy: 7 });
    expect(await codeOf(bytesOf(url()))).toBe('source-answer');
  });

  it('sends neither a length nor chunks: a cut would look like the end', async () => {
    server.misbehave({ noLength: true, noRanges: true });
    expect(await codeOf(bytesOf(url()))).toBe('source-answer');
  });

  it('serves another file than the one that was begun', async () => {
    server.handler = () => {
      server.files.get('/runs/log.jsonl')!.etag = server.requests.length > 1 ? '"b2"' : '"a1"';
      return false;
    };
    expect(await codeOf(bytesOf(url()))).toBe('source-changed');
  });
});

it('a gate does not pass over a log that grew while it was judged', async () => {
  const calm = Array.from({ length: 600 }, (_, i) =>
    JSON.stringify({ step: i, loss: 0.5 + 2 * Math.exp(-i / 60) + 0.01 * Math.sin(i * 12.9898) }),
  ).join('\n');
  server.files.set('/calm.jsonl', { body: Buffer.from(`${calm}\n`), etag: '"c"' });
  const args = ['gate', `${server.url}/calm.jsonl`, '--no-config', '--rule', 'full-divergence'];
  expect(await cli(args, { env })).toMatchObject({ code: 0 });
  server.misbehave({ growAfter: 2 });
  const grown = await cli(args, { env });
  expect(grown.code).toBe(4);
  expect(grown.out).toContain('input-still-written');
});

describe('redirects', () => {
  beforeEach(() => {
    other.files.set('/there.jsonl', { body: log });
    server.redirects.set('/moved', `${other.url}/there.jsonl`);
  });
  const withLogin = (to: string): string => to.replace('//', '//ada:s3cret@');

  it('are followed, without the credentials of the first host', async () => {
    expect((await bytesOf(withLogin(`${server.url}/moved`))).equals(log)).toBe(true);
    expect(server.requests.every(({ headers }) => headers.authorization?.startsWith('Basic ') === true)).toBe(
      true,
    );
    expect(other.requests.length).toBeGreaterThan(0);
    expect(other.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it('keep them on the same host', async () => {
    server.redirects.set('/near', '/runs/log.jsonl');
    await bytesOf(withLogin(`${server.url}/near`));
    const last = server.requests.at(-1)!;
    expect([last.url, last.headers.authorization === undefined]).toEqual(['/runs/log.jsonl', false]);
  });

  it('in circles, to files and to nowhere are refused', async () => {
    server.redirects.set('/a', '/a');
    expect(await codeOf(bytesOf(`${server.url}/a`))).toBe('source-refused');
    for (const to of ['file:///etc/passwd', 'ftp://h/x', 'gopher://h', 'http://']) {
      server.redirects.set('/b', to);
      expect(await codeOf(bytesOf(`${server.url}/b`))).toBe('source-refused');
    }
  });
});

describe('secrets', () => {
  it('of the URL, of its query and of netrc are in no output', async () => {
    writeFileSync(join(home, '.netrc'), 'machine 127.0.0.1\n  login ada\n  password netrc-s3cret\n');
    const named = `${url().replace('//', '//user:url-s3cret@')}?X-Amz-Signature=query-s3cret#x`;
    const secret = /s3cret/;
    for (const path of [named, `${url()}?token=query-s3cret`, `${server.url}/no?sig=query-s3cret`]) {
      for (const args of [
        ['analyze', path],
        ['analyze', path, '--json'],
        ['gate', path],
        ['inspect', path, '--json'],
      ]) {
        const { out, err } = await cli(args, { env });
        expect(out).not.toMatch(secret);
        expect(err).not.toMatch(secret);
      }
    }
    const { out, err } = await cli(['analyze', named, '--offline'], { env });
    expect(out + err).not.toMatch(secret);
    // The netrc was used, by a server that asks for it.
    expect(
      server.requests.some(
        ({ headers }) =>
          headers.authorization === `Basic ${Buffer.from('ada:netrc-s3cret').toString('base64')}`,
      ),
    ).toBe(true);
  });
});

describe('offline', () => {
  it.each([
    ['the flag', ['--offline'], {}],
    ['the environment', [], { CLIPPY_DIAG_OFFLINE: '1' }],
  ])('%s: nothing is sent, code 2', async (_, flags, more) => {
    const { code, err } = await cli(['analyze', url(), ...flags], { env: { ...env, ...more } });
    expect([code, err]).toEqual([2, expect.stringContaining('source-offline')]);
    expect(server.requests).toEqual([]);
  });

  it('the configuration: nothing is sent, and a file is read all the same', async () => {
    const cwd = newFolder();
    writeFileSync(join(cwd, '.clippy-diag.yaml'), 'version: 2\nextends: recommended\noffline: true\n');
    writeFileSync(join(cwd, 'log.jsonl'), log);
    for (const command of ['analyze', 'gate', 'inspect', 'audit']) {
      expect(await cli([command, url()], { env, cwd })).toMatchObject({ code: 2 });
      expect(server.requests).toEqual([]);
    }
    expect((await cli(['analyze', 'log.jsonl', '--offline'], { cwd })).code).toBe(0);
  });
});

it.each([
  ['abfs://box/log.jsonl', /Azure.*az:\/\//s],
  ['ftp://h/x', /download it first/],
  ['gopher://h/x', /gopher/],
])('%s is refused by its name, with what to do instead', async (path, words) => {
  const { code, err } = await cli(['analyze', path], { env });
  expect(code).toBe(3);
  expect(err).toMatch(/source-unsupported/);
  expect(err).toMatch(words);
  expect(err).not.toMatch(/does not exist/);
});

it('a command that takes local paths alone says so of a URL', async () => {
  const { code, err } = await cli(['strip-batches', `${url()}?s3cret`], { env });
  expect([code, err]).toEqual([2, expect.stringContaining('is not changed')]);
  expect(err).not.toContain('s3cret');
});

it('a path of Windows is no URL', async () => {
  const { err } = await cli(['analyze', 'C:\\run\\log.jsonl'], { env });
  expect(err).toContain('file-missing');
});

describe('addresses of the machine and of its own networks', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    'not-an-address',
  ])('%s is one', (address) => expect(isPublicAddress(address)).toBe(false));
  it.each(['1.1.1.1', '172.32.0.1', '2606:4700::1111', '::ffff:1.1.1.1'])('%s is none', (address) =>
    expect(isPublicAddress(address)).toBe(true),
  );

  it('are refused where asked for, by name, by number, and after a redirect', async () => {
    for (const at of [
      url(),
      url().replace('127.0.0.1', 'localhost'),
      url().replace('127.0.0.1', '[::1]'),
      url().replace('127.0.0.1', '2130706433'),
    ])
      expect(await codeOf(bytesOf(at, { publicOnly: true }))).toBe('source-refused');
    expect(server.requests).toEqual([]);
  });
});

it('a folder of the server’s is not followed: only named files are read', async () => {
  server.files.set('/runs/', { body: Buffer.from(`<a href="${other.url}/there.jsonl">there</a>`) });
  const { code } = await cli(['analyze', `${server.url}/runs/`], { env });
  expect(code).not.toBe(0);
  expect(other.requests).toEqual([]);
  expect(existsSync(join(home, 'there.jsonl'))).toBe(false);
});
