/** `matrix STUDY --queue` with a real Redis: workers, the coordinator and Redis are killed, and no cell is lost or counted twice. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { startWorker } from '../../src/experiment/study/queue.ts';
import { cli } from '../support/cli.ts';
import { hasRedis, Redis } from '../support/redis.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-queue-'));
/** Each cell takes several times as long as two looks for results: something is killed among them on a fast machine too. */
const STUDY = join(folder, 'study.yaml');
const CELLS = 16;
writeFileSync(
  STUDY,
  `version: 1
data: { stream: { seed: 1, tasks: 2 }, train: 230400, test: 512 }
models: { small: { shared: { type: shared-bottom, units: [32, 32], activation: relu } } }
rules: [none, "global-norm:0.1", "global-norm:1", "clippy:paper"]
learningRates: [0.1, 0.5]
seeds: 2
batch: 64
`,
);
const children: ChildProcess[] = [];
let redis: Redis | undefined;
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await redis?.kill();
  rmSync(folder, { recursive: true, force: true });
});

function start(...args: string[]): { child: ChildProcess; out: () => string; ended: Promise<unknown> } {
  const child = spawn(process.execPath, ['bin/run.js', 'matrix', ...args], { cwd: projectRoot });
  children.push(child);
  let out = '';
  child.stdout!.on('data', (bytes: Buffer) => {
    out += bytes;
  });
  child.stderr!.on('data', (bytes: Buffer) => process.stderr.write(bytes));
  return { child, out: () => out, ended: once(child, 'close') };
}

it.skipIf(!hasRedis)('a worker, the coordinator and Redis are killed in the middle', async () => {
  redis = await Redis.start();
  const state = join(folder, 'state.jsonl');
  const done = (): number =>
    existsSync(state) ? readFileSync(state, 'utf8').split('\n').slice(1, -1).length : 0;
  const until = async (cells: number): Promise<void> => {
    while (done() < cells) await sleep(10);
    // Else nothing would be killed in the middle.
    expect(done()).toBeLessThan(CELLS - 1);
  };
  const coordinator = [STUDY, '--queue', redis.url, '--resume', state, '--json'];
  const worker = ['worker', '--queue', redis.url, '--workers', '1'];
  const first = start(...coordinator);
  const lost = start(...worker);
  await until(1);
  // It has a cell in work, which nobody else knows of until its lock ends.
  lost.child.kill('SIGKILL');
  await lost.ended;
  // What the lost one had sent may still be on its way: the second cell after it is of a worker that is there.
  const sent = done();
  const second = start(...worker);
  await until(sent + 2);
  first.child.kill('SIGKILL');
  await first.ended;
  const last = start(...coordinator);
  await until(done() + 1);
  // Empty when it comes back: everything that was in it is forgotten.
  await redis.kill();
  await sleep(500);
  await redis.start();
  const [code] = (await last.ended) as [number];
  expect(code).toBe(0);
  expect(JSON.parse(last.out()).cells).toHaveLength(CELLS);
  const whole = await cli(['matrix', STUDY, '--workers', '1', '--json']);
  expect(last.out()).toBe(whole.out);
  second.child.kill('SIGTERM');
  expect(await second.ended).toEqual([143, null]);
});

it.skipIf(!hasRedis)(
  'without --resume the coordinator makes a file and goes on with it; a second one is refused',
  async () => {
    const own = await Redis.start();
    const cwd = mkdtempSync(join(folder, 'own-'));
    const run = join(projectRoot, 'bin/run.js');
    const args = [run, 'matrix', STUDY, '--queue', own.url, '--json'];
    const first = spawn(process.execPath, args, { cwd });
    children.push(first);
    let [out, err] = ['', ''];
    first.stdout.on('data', (bytes: Buffer) => (out += bytes));
    first.stderr.on('data', (bytes: Buffer) => (err += bytes));
    const ended = once(first, 'close');
    while (!/results are kept in \S+/.test(err)) await sleep(20);
    const file = /results are kept in (\S+\.results\.jsonl)/.exec(err)![1]!;
    while (!existsSync(join(cwd, file))) await sleep(20);
    const second = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
    expect([second.status, JSON.parse(second.stdout).error.id]).toEqual([3, 'file-held']);
    const worker = start('worker', '--queue', own.url, '--workers', '1');
    expect(await ended).toEqual([0, null]);
    const [header, ...lines] = readFileSync(join(cwd, file), 'utf8').trimEnd().split('\n');
    expect(Object.keys(JSON.parse(header!))).toEqual(['study']);
    expect(lines).toHaveLength(CELLS);
    expect(existsSync(join(cwd, `${file}.lock`))).toBe(false);
    worker.child.kill('SIGTERM');
    await worker.ended;
    // The same command again finds its own results, and trains nothing: no worker is there.
    const again = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
    expect([again.status, again.stdout]).toEqual([0, out]);
    await own.kill();
  },
);

it.skipIf(!hasRedis)('a worker that is to stop does not wait for ever for a Redis that is gone', async () => {
  const gone = await Redis.start();
  const remarks: string[] = [];
  const worker = await startWorker({
    url: gone.url,
    version: 'test',
    threads: 1,
    // Ten seconds of its clock are a tenth of one.
    now: () => 100 * performance.now(),
    sleep: (milliseconds) => sleep(milliseconds),
    remark: async (text) => {
      remarks.push(text);
    },
  });
  await gone.kill();
  while (remarks.length === 0) await sleep(20);
  await worker.stop();
  expect(remarks[0]).toMatch(/Redis is away/);
  expect(remarks.at(-1)).toMatch(/Redis is still away: .* trained again by others/);
});

it('without the packages it says what to install, and does nothing', () => {
  // The program with all its packages but these two.
  const bare = join(folder, 'bare');
  mkdirSync(join(bare, 'node_modules'), { recursive: true });
  for (const name of ['bin', 'dist', 'package.json', 'oclif.manifest.json'])
    cpSync(join(projectRoot, name), join(bare, name), { recursive: true });
  for (const name of readdirSync(join(projectRoot, 'node_modules')))
    if (name !== 'bullmq' && name !== 'ioredis')
      symlinkSync(join(projectRoot, 'node_modules', name), join(bare, 'node_modules', name));
  const state = join(folder, 'none.jsonl');
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(bare, 'bin/run.js'), 'matrix', ...args], { encoding: 'utf8' });
  const url = 'redis://127.0.0.1:1';
  for (const args of [
    [STUDY, '--queue', url, '--resume', state],
    ['worker', '--queue', url],
  ]) {
    const { status, stdout, stderr } = run(...args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain('error[queue-packages]');
    expect(stderr).toContain('npm install bullmq@6 ioredis');
  }
  // Nothing else needs them.
  expect(run(STUDY.replace('study.yaml', 'nowhere.yaml')).status).toBe(3);
});
