/** The Hugging Face Hub, by a look-alike on loopback that HF_ENDPOINT names: listing by pages, redirects to another host, tokens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const home = scratchFolders('sources-hub')();
const state = readFileSync(join(projectRoot, 'fixtures/formats/hf-trainer-state/input.json'));
const TOKEN = 'hf_s3cret';
let hub: FaultyServer;
let storage: FaultyServer;
beforeAll(async () => {
  hub = await FaultyServer.start();
  storage = await FaultyServer.start();
});
afterAll(async () => {
  await hub.stop();
  await storage.stop();
});

/** Files of the one repository, by revision. */
const files: Record<string, Record<string, Buffer>> = {
  main: {
    'README.md': Buffer.from('# a model'),
    'checkpoint-500/trainer_state.json': state,
    'notes/run.txt': Buffer.from('nothing'),
  },
  v2: { 'trainer_state.json': state },
};

beforeEach(() => {
  hub.misbehave({});
  storage.misbehave({});
  storage.files.clear();
  hub.handler = (request, response) => {
    const url = new URL(request.url!, hub.url);
    const json = (status: number, value: unknown, more: object = {}): true => {
      response.writeHead(status, { 'content-type': 'application/json', ...more }).end(JSON.stringify(value));
      return true;
    };
    const [, kind, view, revision, path = ''] =
      /^\/(api\/models\/ada\/net|ada\/net|api\/datasets\/ada\/net|datasets\/ada\/net)\/(tree|resolve)\/([^/]+)(?:\/(.*))?$/.exec(
        decodeURIComponent(url.pathname),
      ) ?? [];
    if (kind === undefined) return json(404, { error: 'Repository not found' });
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return json(401, { error: 'gated' });
    const there = files[revision!];
    if (there === undefined) return json(404, { error: 'Revision not found' });
    if (view === 'resolve') {
      const body = there[path];
      if (body === undefined) return json(404, { error: 'Entry not found' });
      storage.files.set(`/lfs/${path}`, { body, etag: '"x"' });
      response.writeHead(302, { location: `${storage.url}/lfs/${path}?Signature=s3cret` }).end();
      return true;
    }
    const below = Object.entries(there).filter(([name]) => path === '' || name.startsWith(`${path}/`));
    if (below.length === 0) return json(404, { error: 'Entry not found' });
    // One entry a page.
    const page = Number(url.searchParams.get('cursor') ?? 0);
    const [name, body] = below[page]!;
    const next =
      page + 1 < below.length
        ? { link: `<${hub.url}${url.pathname}?recursive=true&cursor=${page + 1}>; rel="next"` }
        : {};
    return json(
      200,
      [
        { type: 'directory', path: 'checkpoint-500' },
        { type: 'file', path: name, size: body.length },
      ],
      next,
    );
  };
});

const env = () => ({ HOME: home, HF_HOME: home, HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN });
const analyze = async (path: string, more: Record<string, string> = {}) =>
  cli(['analyze', path, '--json', '--no-config'], { env: { ...env(), ...more } });

describe('a repository', () => {
  it.each([
    ['hf://ada/net', 'hf://ada/net/checkpoint-500/trainer_state.json'],
    ['hf://ada/net/checkpoint-500', 'hf://ada/net/checkpoint-500/trainer_state.json'],
    ['hf://ada/net/checkpoint-500/trainer_state.json', 'hf://ada/net/checkpoint-500/trainer_state.json'],
    ['hf://ada/net@v2/trainer_state.json', 'hf://ada/net@v2/trainer_state.json'],
    ['hf://datasets/ada/net/checkpoint-500', 'hf://datasets/ada/net/checkpoint-500/trainer_state.json'],
  ])('%s', async (path, shown) => {
    const { code, out, err } = await analyze(path);
    expect(code, err).toBe(0);
    const report = JSON.parse(out);
    expect(report.inputs[0]).toMatchObject({ path: shown, format: 'hf-trainer-state' });
    const local = JSON.parse(
      (await cli(['analyze', 'fixtures/formats/hf-trainer-state/input.json', '--json', '--no-config'])).out,
    );
    expect(report.runs[0].verdict.class).toBe(local.runs[0].verdict.class);
    expect(report.inputs[0].sha256).toBe(local.inputs[0].sha256);
  });

  it.each(['blob', 'resolve', 'raw'])('the URL of a page of a file (%s)', async (view) => {
    const { code, out } = await analyze(`${hub.url}/ada/net/${view}/main/checkpoint-500/trainer_state.json`);
    expect(code).toBe(0);
    expect(JSON.parse(out).inputs[0].path).toBe('hf://ada/net/checkpoint-500/trainer_state.json');
  });

  it('opens what a walk opens, and nothing that it passes over by name', async () => {
    await analyze('hf://ada/net');
    const fetched = storage.requests.map(({ url }) => url.replace(/\?.*/, ''));
    expect(fetched).toContain('/lfs/checkpoint-500/trainer_state.json');
    expect(fetched).not.toContain('/lfs/README.md');
  });
});

describe('the token', () => {
  it('goes to the Hub and not to where it redirects, and is in no output', async () => {
    const { out, err } = await analyze('hf://ada/net/checkpoint-500/trainer_state.json');
    expect(hub.requests.every(({ headers }) => headers.authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(storage.requests.length).toBeGreaterThan(0);
    expect(storage.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(out + err).not.toMatch(/s3cret/);
  });

  it('where it is missing, the error says what to set', async () => {
    const { code, err } = await analyze('hf://ada/net', { HF_TOKEN: '' });
    expect(code).toBe(3);
    expect(err).toMatch(/source-denied.*HF_TOKEN/s);
  });
});

describe('what is not there', () => {
  it.each([
    ['hf://ada/none', /source-missing/],
    ['hf://ada/net@v9/trainer_state.json', /source-missing/],
    ['hf://ada/net/none.json', /source-missing/],
    ['hf://ada', /hf:\/\/USER\/REPO/],
  ])('%s', async (path, words) => {
    const { code, err } = await analyze(path);
    expect([code, err]).toEqual([3, expect.stringMatching(words)]);
  });

  it('a listing that names files outside of its folder is refused', async () => {
    for (const name of ['../../evil.json', '/etc/passwd', 'a/../../b', 'a\\..\\b', 'C:evil']) {
      hub.handler = (_, response) => {
        response.writeHead(200).end(
          JSON.stringify([
            { type: 'file', path: name, size: 3 },
            { type: 'file', path: 'x', size: 3 },
          ]),
        );
        return true;
      };
      const { code, err } = await analyze('hf://ada/net');
      expect([name, code, err]).toEqual([name, 3, expect.stringContaining('source-answer')]);
    }
  });

  it('a listing that goes on at another host is refused', async () => {
    hub.handler = (_, response) => {
      response.writeHead(200, { link: `<${storage.url}/more>; rel="next"` }).end('[]');
      return true;
    };
    const { err } = await analyze('hf://ada/net');
    expect(err).toContain('source-refused');
    expect(storage.requests).toEqual([]);
  });
});
