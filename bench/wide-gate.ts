/**
 * A gate on a log of 50,000 series (a norm of each layer, 20 steps): processor time, as CSV, as JSON lines, and as events with
 * all tags of a step in one and with one in each. It ends with 1 where one takes 5 s or more.
 * `npm run build && npx tsx bench/wide-gate.ts [series] [steps]`
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventOf } from '../test/support/training-logs.ts';

const [series = 50_000, steps = 20] = process.argv.slice(2).map(Number);
const LIMIT = 5;

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-wide-'));
const names = ['step', 'loss', ...Array.from({ length: series }, (_, k) => `layer${k}/grad_norm`)];
const rows = Array.from({ length: steps }, (_, step) =>
  names.map((_, k) => (k === 0 ? step : k === 1 ? 1 + 1 / (step + 1) : ((k * 7 + step) % 13) / 13 + 0.5)),
);
const EVENTS = 'events.out.tfevents.1700000000.host';
const valuesOf = (row: readonly number[]): [string, number][] =>
  row.slice(1).map((value, k) => [names[k + 1]!, value]);
const logs: [string, string, () => Buffer][] = [
  ['CSV', 'wide.csv', () => Buffer.from([names, ...rows].map((row) => `${row.join(',')}\n`).join(''))],
  [
    'JSON lines',
    'wide.jsonl',
    () =>
      Buffer.from(
        rows
          .map((row) => `${JSON.stringify(Object.fromEntries(row.map((value, k) => [names[k], value])))}\n`)
          .join(''),
      ),
  ],
  [
    'events, one a step',
    `steps/${EVENTS}`,
    () => Buffer.concat(rows.map((row, step) => eventOf(step, valuesOf(row)))),
  ],
  [
    'events, one a tag',
    `tags/${EVENTS}`,
    () => Buffer.concat(rows.flatMap((row, step) => valuesOf(row).map((value) => eventOf(step, [value])))),
  ],
];
const program = `
  const { processIo, run } = await import(${JSON.stringify(new URL('../dist/run.js', import.meta.url).href)});
  const code = await run(process.argv.slice(1), processIo());
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ code, seconds: (user + system) * 1e-6 }));`;
try {
  for (const [name, file, write] of logs) {
    const path = join(folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, write());
    const { stdout } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', program, '--', 'gate', path, '--settle', '0'],
      { encoding: 'utf8' },
    );
    const { code, seconds } = JSON.parse(stdout.trim().split('\n').at(-1)!) as {
      code: number;
      seconds: number;
    };
    console.log(`${name}: ${series} series of ${steps} steps, exit ${code}, ${seconds.toFixed(1)} s`);
    if (!(seconds < LIMIT)) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
