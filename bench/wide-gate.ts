/**
 * A gate on a log of 50,000 series (a norm of each layer, 20 steps): processor time, as CSV and as JSON lines. It ends with 1
 * where one takes 5 s or more. `npm run build && npx tsx bench/wide-gate.ts [series] [steps]`
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [series = 50_000, steps = 20] = process.argv.slice(2).map(Number);
const LIMIT = 5;

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-wide-'));
const names = ['step', 'loss', ...Array.from({ length: series }, (_, k) => `layer${k}/grad_norm`)];
const rows = Array.from({ length: steps }, (_, step) =>
  names.map((_, k) => (k === 0 ? step : k === 1 ? 1 + 1 / (step + 1) : ((k * 7 + step) % 13) / 13 + 0.5)),
);
const csv = join(folder, 'wide.csv');
const jsonl = join(folder, 'wide.jsonl');
writeFileSync(csv, [names, ...rows].map((row) => `${row.join(',')}\n`).join(''));
writeFileSync(
  jsonl,
  rows
    .map((row) => `${JSON.stringify(Object.fromEntries(row.map((value, k) => [names[k], value])))}\n`)
    .join(''),
);
const program = `
  const { processIo, run } = await import(${JSON.stringify(new URL('../dist/run.js', import.meta.url).href)});
  const code = await run(process.argv.slice(1), processIo());
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ code, seconds: (user + system) * 1e-6 }));`;
try {
  for (const path of [csv, jsonl]) {
    const { stdout } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', program, '--', 'gate', path, '--settle', '0'],
      { encoding: 'utf8' },
    );
    const { code, seconds } = JSON.parse(stdout.trim().split('\n').at(-1)!) as {
      code: number;
      seconds: number;
    };
    console.log(
      `${path.split('.').at(-1)}: ${series} series of ${steps} steps, exit ${code}, ${seconds.toFixed(1)} s`,
    );
    if (!(seconds < LIMIT)) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
