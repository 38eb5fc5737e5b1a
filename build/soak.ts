/**
 * Random tests with the seed of the day, at length: `npm run soak [-- --minutes 60] [--seed 20270104] [--inputs 200000] [WORD…]`.
 * Never part of .ci/run, which takes one seed so that a change is judged by what it changed. A test takes part if it draws its
 * cases by chance, which its file shows: it imports fast-check or reads CLIPPY_DIAG_FUZZ or, where no other run takes it, CLIPPY_DIAG_SOAK. A failure prints the seed that repeats it.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './stamp.ts';

/** What one turn runs. */
interface Step {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
}

const DRAWS_CASES = /from 'fast-check'|process\.env\.CLIPPY_DIAG_(FUZZ|SOAK)\b/;

/** Test files that draw their cases by chance, but for the fast ones that `….soak.test.ts` repeats at full length. */
function randomTests(words: readonly string[]): string[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .map((file) => `test/${file.split('\\').join('/')}`)
    .filter((file) => file.endsWith('.test.ts'));
  return files
    .filter(
      (file) => file.endsWith('.soak.test.ts') || DRAWS_CASES.test(readFileSync(join(root, file), 'utf8')),
    )
    .filter((file) => !files.includes(file.replace(/\.test\.ts$/, '.soak.test.ts')))
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .sort();
}

const vitest = (file: string): Step => ({
  name: file,
  program: process.execPath,
  args: ['node_modules/vitest/vitest.mjs', 'run', '--reporter=dot', file],
});

/** The seed of a day, such as 20270104. */
const ofToday = (): number => Number(new Date().toISOString().slice(0, 10).replaceAll('-', ''));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '150' },
    seed: { type: 'string', default: `${ofToday()}` },
    inputs: { type: 'string', default: '100000' },
  },
});
const minutes = Number(values.minutes);
const first = Number(values.seed);
const inputs = Number(values.inputs);
if (!(minutes > 0) || !Number.isSafeInteger(first) || !(Number.isSafeInteger(inputs) && inputs > 0)) {
  console.error('--minutes takes a number above 0, --seed and --inputs take whole numbers');
  process.exit(2);
}
const steps = randomTests(positionals).map(vitest);
if (steps.length === 0) {
  console.error(`no random test has ${positionals.join(' or ')} in its path`);
  process.exit(2);
}

const end = Date.now() + minutes * 60_000;
const failed: string[] = [];
let ran = 0;
// Turns with new seeds until the time is used; a step that has begun is ended by its own length, not by the clock.
for (let turn = 0; turn === 0 || Date.now() < end; turn++) {
  const seed = first + turn * 100_000_000;
  for (const { name, program, args } of steps) {
    if (ran > 0 && Date.now() >= end) break;
    const { status } = spawnSync(program, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        CLIPPY_DIAG_FUZZ_SEED: `${seed}`,
        CLIPPY_DIAG_FUZZ: `${inputs}`,
        CLIPPY_DIAG_SOAK: '1',
      },
    });
    ran++;
    if (status !== 0) failed.push(`npm run soak -- --seed ${seed} --inputs ${inputs} --minutes 1 ${name}`);
  }
}
console.log(
  `\n${ran - failed.length} passed, ${failed.length} failed, of ${steps.length} steps with seeds from ${first} on`,
);
for (const line of failed) console.log(`again: ${line}`);
process.exitCode = failed.length === 0 ? 0 : 1;
