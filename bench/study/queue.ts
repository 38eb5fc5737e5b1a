/**
 * What a queue carries: npx tsx bench/study/queue.ts [workers] [cells]. Workers of their own processes, one thread each, and a
 * Redis of its own, all on this machine, on a study of small cells; Redis counts its commands, bytes and memory itself.
 *
 * Prints what docs/scale.md reckons with, and ends with 1 where a cell is missing or there twice. `npm run build` comes first.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const workers = Number(process.argv[2] ?? 20);
const cells = Number(process.argv[3] ?? 2000);
const PORT = 16_400 + (process.pid % 1000);
const url = `redis://127.0.0.1:${PORT}`;
const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-queue-'));
const file = (name: string): string => join(folder, name);

// Cells of twenty steps of 16 rows: nearly nothing to train, so that what is measured is the queue.
writeFileSync(
  file('study.yaml'),
  `version: 1
data: { stream: { seed: 1, tasks: 2 }, train: 320, test: 64 }
models: { small: { shared: { type: shared-bottom, units: [8], activation: relu } } }
rules: [none, "clippy:paper"]
learningRates: [0.1, 0.5]
seeds: ${cells / 4}
batch: 16
`,
);

const redis = spawn('redis-server', ['--port', String(PORT), '--save', '', '--appendonly', 'no'], {
  stdio: 'ignore',
});
const run = (...args: string[]) =>
  spawn(process.execPath, [join(root, 'bin/run.js'), 'matrix', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
const { Redis } = (await import('ioredis' as string)) as {
  Redis: new (url: string) => { info(section: string): Promise<string>; disconnect(): void };
};
const client = new Redis(url);
const infoOf = async (section: string, name: string): Promise<number> =>
  Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(await client.info(section))?.[1]);

const team = Array.from({ length: workers }, () => run('worker', '--queue', url, '--workers', '1'));
// All are there before the clock starts.
while ((await infoOf('clients', 'blocked_clients')) < workers) await sleep(100);
const before = {
  commands: await infoOf('stats', 'total_commands_processed'),
  input: await infoOf('stats', 'total_net_input_bytes'),
  output: await infoOf('stats', 'total_net_output_bytes'),
};
const start = Date.now();
const coordinator = run(
  file('study.yaml'),
  '--queue',
  url,
  '--resume',
  file('state.jsonl'),
  '--report',
  `json:${file('study.json')}`,
);
let memory = 0;
const watching = setInterval(async () => {
  memory = Math.max(memory, await infoOf('memory', 'used_memory').catch(() => 0));
}, 250);
const [code] = (await once(coordinator, 'exit')) as [number];
const seconds = (Date.now() - start) / 1000;
clearInterval(watching);
const commands = (await infoOf('stats', 'total_commands_processed')) - before.commands;
const input = (await infoOf('stats', 'total_net_input_bytes')) - before.input;
const output = (await infoOf('stats', 'total_net_output_bytes')) - before.output;
const processor = Number(/^used_cpu_user:(\S+)/m.exec(await client.info('cpu'))?.[1]);
for (const child of team) child.kill('SIGTERM');
await Promise.all(team.map((child) => once(child, 'exit')));
client.disconnect();
redis.kill();

const document = JSON.parse(readFileSync(file('study.json'), 'utf8')) as { cells: object[] };
const different = new Set(document.cells.map((cell) => JSON.stringify(cell))).size;
const each = (total: number): string => (total / cells).toFixed(1);
console.log(`${workers} workers, ${cells} cells, ${different} different results, exit code ${code}`);
console.log(`${seconds.toFixed(1)} s, ${(cells / seconds).toFixed(0)} cells/s`);
console.log(
  `Redis, each cell: ${each(commands)} commands, ${each(input)} bytes in, ${each(output)} bytes out`,
);
console.log(
  `Redis: ${((1000 * processor) / cells).toFixed(2)} ms of processor time a cell, at most ${(memory / 2 ** 20).toFixed(1)} MiB`,
);
console.log(`results: ${each(statSync(file('study.json')).size)} bytes a cell`);
rmSync(folder, { recursive: true, force: true });
process.exitCode = code === 0 && different === cells && document.cells.length === cells ? 0 : 1;
