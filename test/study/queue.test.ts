/** The queue of a study: what is refused before the long work starts, and what goes over it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStudy } from '../../src/experiment/study/open-study.ts';
import { jobFrom, joinChunks, queueRunner, startWorker } from '../../src/experiment/study/queue.ts';
import { shownUrl } from '../../src/experiment/study/redis.ts';
import { setupFromBytes, setupToBytes } from '../../src/experiment/study/setup-bytes.ts';
import { createTrainer } from '../../src/experiment/study/train-cell.ts';
import { cli } from '../support/cli.ts';
import { hasRedis, Redis } from '../support/redis.ts';

const STUDY = 'fixtures/studies/stream/study.yaml';
const EXACT = 'fixtures/studies/exact/study.yaml';
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-queue-'));
const state = join(folder, 'state.jsonl');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('the setup that a worker gets trains the same cell, bit for bit', async () => {
  const { setup } = await openStudy(EXACT);
  const key = { model: 'exact', rule: 'none', label: 'none', learningRate: 0.3, seed: 0 };
  const sent = await setupFromBytes(await setupToBytes(setup));
  expect(sent).toEqual(setup);
  expect(createTrainer(sent).cell(key)).toEqual(createTrainer(setup).cell(key));
  // Shared by the threads of a worker.
  expect(sent.rows.features[0]!.buffer).toBeInstanceOf(SharedArrayBuffer);
  const bytes = await setupToBytes(setup);
  await expect(setupFromBytes(bytes.subarray(0, bytes.length - 100))).rejects.toThrow();
});

it('a job is a cell of a study, or it is not run', () => {
  const study = 'ab'.repeat(32);
  const cell = { model: 'small', rule: 'none', label: 'global-norm:1', learningRate: 0.1, seed: 0 };
  expect(jobFrom({ study, cell })).toEqual({ study, cell });
  // Members that no cell has are left behind.
  expect(jobFrom({ study, cell: { ...cell, more: 1 }, other: 2 })).toEqual({ study, cell });
  const others: unknown[] = [
    ...[null, 7, 'text', [], {}, { study }, { cell }, { study, cell: null }, { study, cell: 7 }],
    ...['x', `${study}0`, '../../etc', 1].map((name) => ({ study: name, cell })),
    ...[
      { label: 'no-such-rule' },
      { label: undefined },
      { label: 'x'.repeat(2000) },
      { label: '__proto__' },
      { model: 3 },
      { learningRate: 0 },
      { learningRate: '0.1' },
      { learningRate: Number.NaN },
      { seed: -1 },
      { seed: 0.5 },
      { seed: null },
    ].map((change) => ({ study, cell: { ...cell, ...change } })),
  ];
  for (const data of others) expect(jobFrom(data), JSON.stringify(data)).toBeNull();
});

it('a setup is put together from all of its chunks, of which there are not millions', () => {
  const chunks = { 0: Buffer.from('a'), 1: Buffer.from('b') };
  expect(joinChunks(2, chunks).toString()).toBe('ab');
  for (const count of [0, -1, 0.5, Number.NaN, 3, 4e7, 2 ** 53])
    expect(() => joinChunks(count, chunks)).toThrow();
});

it('the password of a URL is never shown', () => {
  expect(shownUrl('redis://me:secret@host:6379/2')).toBe('redis://me:***@host:6379/2');
});

describe('refused before the long work', () => {
  const run = (url: string, ...more: string[]) => cli(['matrix', STUDY, '--queue', url, ...more]);

  it('flags that have no use beside it', async () => {
    expect((await run('redis://x', '--workers', '2', '--resume', state)).err).toContain(
      '--workers has no use with --queue',
    );
    expect((await run('redis://x', '--shard', '1/2', '--resume', state)).err).toContain('--shard has no use');
    const other = await run('http://me:secret@x', '--resume', state);
    expect([other.code, other.err]).toEqual([2, expect.stringContaining('error[usage]')]);
    expect(other.err).not.toContain('secret');
  });

  it.skipIf(!hasRedis)('a Redis that is away, of another password, or that throws keys away', async () => {
    const away = await run('redis://me:secret@127.0.0.1:1', '--resume', state);
    expect([away.code, away.out]).toEqual([3, '']);
    expect(away.err).toMatch(/error\[queue-unreachable\].*redis:\/\/me:\*\*\*@127\.0\.0\.1:1.*ECONNREFUSED/);
    const worker = await cli(['matrix', 'worker', '--queue', 'redis://127.0.0.1:1', '--json']);
    expect([worker.code, JSON.parse(worker.out).error.id]).toEqual([3, 'queue-unreachable']);
    const redis = await Redis.start('--requirepass', 'right');
    try {
      const at = (password: string) => `redis://:${password}@127.0.0.1:${redis.port}`;
      const wrong = await run(at('wrong'), '--resume', state);
      expect([wrong.code, wrong.err]).toEqual([3, expect.stringMatching(/queue-unreachable.*WRONGPASS/)]);
      await redis.kill();
      await redis.start('--maxmemory-policy', 'allkeys-lru');
      const evicts = await run(redis.url, '--resume', state);
      expect([evicts.code, evicts.err]).toEqual([3, expect.stringMatching(/queue-evicts.*allkeys-lru/)]);
    } finally {
      await redis.kill();
    }
  });
});

describe.skipIf(!hasRedis)('on a Redis', () => {
  let redis: Redis;
  beforeAll(async () => {
    redis = await Redis.start();
  });
  afterAll(() => redis.kill());

  it('what comes twice, is damaged or of no cell of the study is no result', async () => {
    const { setup, info } = await openStudy(STUDY);
    const load = (name: string) => import(name);
    const { Redis: Client } = await load('ioredis');
    const client = new Client(redis.url);
    const cells = [0.1, 0.5].map((learningRate) => ({
      model: 'small',
      rule: 'none',
      label: 'none',
      learningRate,
      seed: 0,
    }));
    const [one, two] = cells.map((cell) => JSON.stringify(createTrainer(setup).cell(cell)));
    const list = `clippy-diag:results:${info.key}`;
    const stranger = one!.replace('"seed":0', '"seed":7');
    for (const line of [one, 'damaged', '{}', stranger, one, two]) await client.rpush(list, line);
    const options = {
      url: redis.url,
      version: 'test',
      now: Date.now,
      sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
      remark: async () => {},
    };
    const runner = await queueRunner({ key: info.key, setup }, options);
    const taken: string[] = [];
    await runner.run(
      cells,
      async (cell) => {
        taken.push(JSON.stringify(cell));
      },
      () => true,
    );
    await runner.close();
    expect(taken).toEqual([one, two]);
    // Nothing of the study stays behind.
    expect(await client.exists(list, `clippy-diag:setup:${info.key}`)).toBe(0);
    client.disconnect();
  });

  it('jobs that are no cells kill no worker: it trains the cell that comes after them', async () => {
    const { setup, info } = await openStudy(STUDY);
    const load = (name: string) => import(name);
    const { Queue } = await load('bullmq');
    const { Redis: Client } = await load('ioredis');
    const connection = new Client(redis.url, { maxRetriesPerRequest: null });
    const io = {
      now: Date.now,
      sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
      remark: async () => {},
    };
    const hostile = new Queue('clippy-diag-hostile', { connection });
    const good = { model: 'small', rule: 'none', label: 'none', learningRate: 0.1, seed: 0 };
    for (const cell of [
      null,
      7,
      { ...good, label: 'no-such-rule' },
      { ...good, model: 'no-such-model' },
      undefined,
    ])
      await hostile.add('cell', { study: info.key, cell });
    await hostile.add('cell', null);
    const runner = await queueRunner({ key: info.key, setup }, { ...io, url: redis.url, version: 'hostile' });
    const worker = await startWorker({ ...io, url: redis.url, version: 'hostile', threads: 1 });
    try {
      const taken: string[] = [];
      const done = async (cell: unknown): Promise<void> => void taken.push(JSON.stringify(cell));
      await runner.run([good], done, () => true);
      expect(taken).toEqual([JSON.stringify(createTrainer(setup).cell(good))]);
      // The result is there before the worker has counted it.
      await expect.poll(() => worker.counts().trained).toBe(1);
      await expect.poll(() => hostile.getFailedCount()).toBeGreaterThanOrEqual(4);
    } finally {
      await worker.stop();
      await runner.close();
      await hostile.close();
      connection.disconnect();
    }
  }, 60_000);

  it('a cell that no worker can train is reported as crashed, and the others go on', async () => {
    const { setup, info } = await openStudy(STUDY);
    const load = (name: string) => import(name);
    const { Worker } = await load('bullmq');
    const { Redis: Client } = await load('ioredis');
    const connection = new Client(redis.url, { maxRetriesPerRequest: null });
    const worker = new Worker(
      'clippy-diag-test',
      async ({ data }: { data: { study: string; cell: { learningRate: number } } }) => {
        if (data.cell.learningRate === 0.5) throw new Error('out of luck');
        await connection.rpush(
          `clippy-diag:results:${data.study}`,
          JSON.stringify(createTrainer(setup).cell(data.cell as never)),
        );
      },
      { connection },
    );
    let clock = 0;
    const runner = await queueRunner(
      { key: info.key, setup },
      {
        url: redis.url,
        version: 'test',
        // Ten seconds with each look.
        now: () => (clock += 10_000),
        sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
        remark: async () => {},
      },
    );
    const key = { model: 'small', rule: 'none', label: 'none', seed: 0 };
    const found: Record<number, string> = {};
    await runner.run(
      [
        { ...key, learningRate: 0.1 },
        { ...key, learningRate: 0.5 },
      ],
      async ({ learningRate, verdict, error = '' }) => {
        found[learningRate] = `${verdict} ${error}`;
      },
      () => true,
    );
    expect(found[0.5]).toBe('crashed no worker could train it: out of luck');
    expect(found[0.1]).not.toContain('crashed');
    await runner.close();
    await worker.close();
    connection.disconnect();
  });
});
