/** `clippy-diag mcp`, asked by the real client of the protocol's SDK, in memory. */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allowedBy } from '../../src/app/mcp/allowed.ts';
import { makeServer, type ServerOptions } from '../../src/app/mcp/server.ts';
import { SCHEMA_VERSION } from '../../src/model/report.ts';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('mcp');
const world = newFolder();
const runs = join(world, 'runs');
const calm = (k: number): string =>
  Array.from({ length: 600 }, (_, i) =>
    JSON.stringify({ step: i, loss: 0.5 + 2 * Math.exp(-i / 60) + 0.01 * Math.sin((i + k) * 12.9898) }),
  ).join('\n');
mkdirSync(runs);
cpSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(runs, 'lost.jsonl'));
cpSync(join(projectRoot, 'fixtures/captures/nan'), join(world, 'capture'), { recursive: true });
writeFileSync(join(runs, 'good.jsonl'), calm(0));
writeFileSync(join(world, 'secret.jsonl'), calm(1));
symlinkSync(join(world, 'secret.jsonl'), join(runs, 'link.jsonl'));
mkdirSync(join(world, 'inside'));
cpSync(join(runs, 'good.jsonl'), join(world, 'inside/good.jsonl'));
symlinkSync(world, join(world, 'inside/up'));

interface Answer {
  readonly isError?: boolean;
  readonly content: readonly { readonly type: string; readonly text?: string; readonly uri?: string }[];
}

/** A client of a server that may read these folders and URLs. */
async function connect(allow: readonly string[], more: Partial<ServerOptions> = {}) {
  const server = makeServer({
    allowed: await allowedBy(allow),
    offline: null,
    env: { HOME: world },
    toolVersion: '0.0.0',
    now: () => new Date('2026-01-01T00:00:00Z'),
    sleep: async () => {},
    ...more,
  });
  const client = new Client({ name: 'test', version: '1' });
  const [a, b] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(a), client.connect(b)]);
  const call = async (name: string, input: Record<string, unknown>) => {
    const answer = (await client.callTool({ name, arguments: input })) as Answer;
    const text = answer.content.find(({ type }) => type === 'text')?.text ?? '';
    const uri = answer.content.find(({ type }) => type === 'resource_link')?.uri;
    return { answer, text, uri, isError: answer.isError === true };
  };
  return { client, server, call };
}
const size = (answer: Answer): number => Buffer.byteLength(JSON.stringify(answer));

it('names its tools, with schemas, and says that they only read', async () => {
  const { client } = await connect([runs]);
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toEqual([
    'analyze',
    'gate',
    'compare',
    'audit',
    'inspect',
    'explain',
  ]);
  for (const { inputSchema, annotations, description } of tools) {
    expect(inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
    expect(annotations).toMatchObject({ readOnlyHint: true, destructiveHint: false });
    expect(description!.length).toBeGreaterThan(50);
  }
});

describe('answers', () => {
  it('analyze: the brief of the command line, and the whole report as a resource', async () => {
    const { call, client } = await connect([runs]);
    const path = join(runs, 'lost.jsonl');
    const { answer, text, uri } = await call('analyze', { paths: [path] });
    expect(text).toBe((await cli(['analyze', path, '--brief', '--no-config'])).out);
    expect(text).toMatch(/^DIVERGED at step 400/);
    expect(size(answer)).toBeLessThanOrEqual(2048);
    const { contents } = await client.readResource({ uri: uri! });
    expect(JSON.parse((contents[0] as { text: string }).text)).toMatchObject({
      schemaVersion: SCHEMA_VERSION,
      verdict: { class: 'full-divergence', onsetStep: 400 },
    });
    expect((await client.listResources()).resources.map((one) => one.uri)).toContain(uri);
  });

  it('analyze of the healthy twin says that it is healthy', async () => {
    const { call } = await connect([runs]);
    expect((await call('analyze', { paths: [join(runs, 'good.jsonl')] })).text).toMatch(/^HEALTHY/);
  });

  it('gate: passed, failed', async () => {
    const { call } = await connect([runs]);
    const lost = await call('gate', { paths: [join(runs, 'lost.jsonl')] });
    expect(lost.text).toMatch(/^Gate: failed \(exit code 1\): .*full-divergence/m);
    const good = await call('gate', { paths: [join(runs, 'good.jsonl')], rules: ['last(loss) <= 0.6'] });
    expect(good.text).toMatch(/^Gate: passed \(exit code 0\)$/m);
    const strict = await call('gate', { paths: [join(runs, 'good.jsonl')], rules: ['last(loss) <= 0.1'] });
    expect(strict.text).toMatch(/^Gate: failed \(exit code 1\): last\(loss\) <= 0\.1$/m);
  });

  it('compare, audit, inspect and explain, each in two kilobytes', async () => {
    const { call, client } = await connect([world]);
    const [lost, good] = [join(runs, 'lost.jsonl'), join(runs, 'good.jsonl')];
    const asked = {
      compare: [{ a: [lost], b: [good] }, /APART/],
      audit: [{ capture: join(world, 'capture') }, /capture: /],
      inspect: [{ paths: [runs] }, /loss/],
      explain: [{ topic: 'full-divergence' }, /# full-divergence/],
    } as const;
    for (const [name, [input, words]] of Object.entries(asked)) {
      const { answer, text, uri, isError } = await call(name, input);
      expect([name, isError]).toEqual([name, false]);
      expect(text).toMatch(words);
      expect([name, size(answer) <= 2048]).toEqual([name, true]);
      const { contents } = await client.readResource({ uri: uri! });
      expect((contents[0] as { text: string }).text.length).toBeGreaterThan(200);
    }
  });

  it('what is wrong with the input is said in words, and a wrong tool is an error of the protocol', async () => {
    const { call, client } = await connect([runs]);
    for (const input of [{}, { paths: [] }, { paths: 'x' }, { paths: ['x'], more: 1 }]) {
      const { isError, text } = await call('analyze', input);
      expect([isError, text]).toEqual([true, expect.stringMatching(/paths|more/)]);
    }
    const missing = await call('analyze', { paths: [join(runs, 'none.jsonl')] });
    expect([missing.isError, missing.text]).toEqual([true, expect.stringContaining('error[file-missing]')]);
    await expect(client.callTool({ name: 'delete', arguments: {} })).rejects.toThrow('there is no tool');
    await expect(client.readResource({ uri: 'clippy-diag://report/99' })).rejects.toThrow(
      'there is no resource',
    );
    await expect(client.readResource({ uri: 'file:///etc/passwd' })).rejects.toThrow('there is no resource');
  });
});

describe('what may not be read', () => {
  it.each(['/etc/passwd', 'C:\\Windows\\win.ini', '-', '../../../etc/hosts'])('%s', async (path) => {
    const { call } = await connect([runs]);
    for (const name of ['analyze', 'gate', 'inspect']) {
      const { isError, text } = await call(name, { paths: [path] });
      expect([isError, text]).toEqual([true, expect.stringContaining('path-not-allowed')]);
    }
  });

  it('a path outside, by its name, through ".." and through a link', async () => {
    const { call } = await connect([runs]);
    for (const path of [
      join(world, 'secret.jsonl'),
      `${runs}/../secret.jsonl`,
      join(runs, 'link.jsonl'),
      world,
    ]) {
      const { isError, text } = await call('analyze', { paths: [path] });
      expect([path, isError, text]).toEqual([path, true, expect.stringContaining('path-not-allowed')]);
    }
  });

  it('files outside to which links in an allowed folder lead', async () => {
    const inside = join(world, 'inside');
    const { call } = await connect([inside]);
    const { text, uri } = await call('analyze', { paths: [inside] });
    expect(text).toMatch(/^HEALTHY/);
    expect(text).toMatch(/path-not-allowed|outside of what this server may read/);
    expect(uri).toBeDefined();
    expect(JSON.stringify(await call('inspect', { paths: [inside] }))).not.toContain('secret.jsonl');
  });

  it('a folder whose name only begins like an allowed one', async () => {
    mkdirSync(`${runs}-private`, { recursive: true });
    writeFileSync(`${runs}-private/log.jsonl`, calm(2));
    const { call } = await connect([runs]);
    expect((await call('analyze', { paths: [`${runs}-private/log.jsonl`] })).isError).toBe(true);
  });
});

describe('URLs', () => {
  let server: FaultyServer;
  beforeAll(async () => {
    server = await FaultyServer.start();
    server.files.set('/runs/log.jsonl', { body: Buffer.from(calm(3)) });
  });
  afterAll(() => server.stop());

  it('that were not allowed, and the machine’s own network where they were: nothing is sent', async () => {
    const url = `${server.url}/runs/log.jsonl`;
    const none = await connect([runs]);
    expect((await none.call('analyze', { paths: [url] })).text).toContain('path-not-allowed');
    const some = await connect([
      `${server.url}/runs`,
      'http://169.254.169.254/',
      'http://localhost/',
      's3://bucket/a',
    ]);
    for (const path of [url, 'http://169.254.169.254/latest/meta-data', `http://localhost:${server.port}/x`])
      expect((await some.call('analyze', { paths: [path] })).text).toMatch(/source-refused|path-not-allowed/);
    for (const path of [
      `${server.url}/runs/../other`,
      `${server.url}/runs-2/x`,
      `${server.url}/runs/..%2fother`,
      's3://bucket/a/../b',
      's3://bucket/ab',
      's3://bucket',
    ])
      expect([path, (await some.call('analyze', { paths: [path] })).text]).toEqual([
        path,
        expect.stringContaining('path-not-allowed'),
      ]);
    expect(server.requests).toEqual([]);
  });

  it('offline', async () => {
    const { call } = await connect(['https://host.example/'], { offline: '--offline' });
    expect((await call('analyze', { paths: ['https://host.example/a?token=s3cret'] })).text).toMatch(
      /source-offline/,
    );
    expect((await call('analyze', { paths: ['https://host.example/a?token=s3cret'] })).text).not.toContain(
      's3cret',
    );
  });
});

it('tells progress, and a call that is cancelled ends at once while the server goes on', async () => {
  const { client } = await connect([world]);
  const told: string[] = [];
  await client.callTool({ name: 'analyze', arguments: { paths: [join(world, 'capture')] } }, undefined, {
    onprogress: ({ message }) => told.push(message ?? ''),
  });
  // A replay says where it is thousands of times; the clock of this server stands still.
  expect(told).toHaveLength(1);
  const cancel = new AbortController();
  const pending = client.callTool(
    { name: 'analyze', arguments: { paths: [join(world, 'capture')] } },
    undefined,
    {
      signal: cancel.signal,
    },
  );
  cancel.abort('enough');
  await expect(pending).rejects.toThrow('enough');
  expect((await client.callTool({ name: 'explain', arguments: { topic: 'gate' } })).isError).toBeUndefined();
});

describe('over streams', () => {
  const message = (id: number, method: string, params: object = {}): string =>
    `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`;
  const hello = message(1, 'initialize', {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 't', version: '1' },
  });

  it('answers what was asked before standard input ended, then ends with 0', async () => {
    const { code, out } = await cli(['mcp', '--allow', runs], {
      input: `${hello}not json\n${message(2, 'tools/call', { name: 'analyze', arguments: { paths: [join(runs, 'lost.jsonl')] } })}`,
    });
    expect(code).toBe(0);
    const answers = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(answers.map(({ id }) => id)).toEqual([1, 2]);
    expect(answers[0].result.serverInfo.name).toBe('clippy-diag');
    expect(answers[1].result.content[0].text).toMatch(/^DIVERGED at step 400/);
  });

  it('refuses --allow of what is not there', async () => {
    expect(await cli(['mcp', '--allow', 'nowhere'])).toMatchObject({ code: 2 });
  });
});
