/**
 * What starting costs: processor time of commands on a log of 600 points, beside Node that does nothing; and of the same from
 * the program's modules, as where another Node built it.
 *
 *     npm run build && npx tsx bench/start.ts [REPEATS]
 *
 * Commands alternate; every time is the median with the smallest and the largest, of the process and all its threads.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { binOfModules } from '../test/support/cli.ts';

const repeats = Number(process.argv[2] ?? 5);
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-bench-'));
const ofModules = binOfModules(folder);
const log = join(folder, 'train.jsonl');
writeFileSync(
  log,
  Array.from({ length: 600 }, (_, step) => {
    const noise = Math.abs(Math.sin(step * 12.9898) * 43758.5453) % 1;
    return `${JSON.stringify({ step, loss: 3 * Math.exp(-step / 200) + 0.05 * noise, grad_norm: 1 + 0.2 * noise, learning_rate: 1e-3 })}\n`;
  }).join(''),
);

const COMMANDS: Record<string, readonly string[]> = {
  'node -e 0': ['-e', '0'],
  '--version': [bin, '--version'],
  'explain clippy': [bin, 'explain', 'clippy'],
  'inspect LOG': [bin, 'inspect', log],
  'gate LOG': [bin, 'gate', log, '--settle', '0'],
  'analyze LOG': [bin, 'analyze', log],
};
for (const [name, [, ...args]] of Object.entries(COMMANDS).slice(1))
  COMMANDS[`${name}, from modules`] = [ofModules, ...args];

/** Seconds in the process, user and system: the shell counts what its children took. */
function secondsOf(args: readonly string[]): number {
  const { stdout } = spawnSync(
    'bash',
    ['-c', '"$@" > /dev/null 2>&1; times', 'bash', process.execPath, ...args],
    {
      encoding: 'utf8',
    },
  );
  return [
    ...stdout
      .trim()
      .split('\n')
      .at(-1)!
      .matchAll(/(\d+)m([\d.]+)s/g),
  ].reduce((sum, [, minutes, seconds]) => sum + 60 * Number(minutes) + Number(seconds), 0);
}

const times = Object.fromEntries(Object.keys(COMMANDS).map((name) => [name, [] as number[]]));
try {
  for (let k = 0; k < repeats; k++)
    for (const [name, args] of Object.entries(COMMANDS)) times[name]!.push(secondsOf(args));
} finally {
  rmSync(folder, { recursive: true });
}
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
const bare = median(times['node -e 0']!);
for (const [name, values] of Object.entries(times))
  console.log(
    `${name.padEnd(28)} ${median(values).toFixed(3)} s (${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)}), ${(median(values) / bare).toFixed(1)} times node -e 0`,
  );
