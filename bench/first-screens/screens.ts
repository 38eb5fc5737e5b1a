/**
 * Prints the first screen of every run of a folder, without its truth: `tsx bench/first-screens/screens.ts FOLDER [--truth]`.
 * With `--truth` the truth of each run follows its screen, to compare once it has been judged.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../test/support/shared-data.ts';

/** Seconds for what a capture allows to be tried. */
const BUDGET = 60;

interface Truth {
  readonly run: string;
  readonly kind: string;
  readonly capture: boolean;
  readonly what: string;
  readonly why: string;
  readonly do: string;
}

const [folder, flag] = process.argv.slice(2);
if (folder === undefined) throw new Error('name the folder that make.py wrote');
const truths: readonly Truth[] = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8'));
const made = new Set(truths.map(({ run }) => run));
for (const run of readdirSync(folder).filter((name) => made.has(name))) {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [join(projectRoot, 'bin/run.js'), 'analyze', run, '--budget', String(BUDGET)],
    { cwd: folder, encoding: 'utf8', env: { ...process.env, COLUMNS: '80', NO_COLOR: '1' } },
  );
  console.log(`=== ${run}\n${stdout || stderr}`);
  const truth = truths.find((one) => one.run === run);
  if (flag === '--truth' && truth !== undefined)
    console.log(`--- ${truth.kind}: ${truth.what}; ${truth.why}; ${truth.do}\n`);
}
