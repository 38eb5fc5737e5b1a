/**
 * A tenth of the incident bench, drawn by the seed of the day: `npm run soak` makes 24 of the 240 cases and scores clippy-diag on
 * them and on their healthy twins. Cases of the hidden half have a secret of that day, so nobody has seen them before.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { share } from '../../bench/incidents/lib/intervals.js';
import type { Result } from '../../bench/incidents/lib/results.js';
import { pythonWith } from '../support/python.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('bench-tenth');
const BENCH = join(projectRoot, 'bench', 'incidents');
// Of PyTorch 2.1 or newer: an older one has no torch.compiler.
const python = pythonWith('torch.compiler', 'numpy');
const isSoak = process.env.CLIPPY_DIAG_SOAK !== undefined;
const seed = process.env.CLIPPY_DIAG_FUZZ_SEED ?? new Date().toISOString().slice(0, 10);

/** One case of so many is drawn; more than 10 tries the test itself in less time. */
const ONE_OF = Number(process.env.CLIPPY_BENCH_ONE_OF ?? 10);

const hashOf = (text: string): string => createHash('sha256').update(`${seed} ${text}`).digest('hex');

function run(program: string, args: readonly string[]): string {
  const done = spawnSync(program, args, { encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  return done.stdout;
}

/** Makes the tenth of a half, and gives the folder. */
function drawn(half: string): string {
  const out = join(folder(), 'cases');
  const maker = join(BENCH, 'make', 'make.py');
  const names = run(python!, [maker, out, '--half', half, '--list']).trim().split('\n');
  const tenth = names
    .sort((a, b) => hashOf(a).localeCompare(hashOf(b)))
    .slice(0, Math.round(names.length / ONE_OF));
  const secret = join(folder(), 'secret');
  writeFileSync(secret, hashOf('secret'));
  const only = ['--only', tenth.join(), '--no-remedies', '--secret-file', secret];
  run(python!, [maker, out, '--half', half, ...only]);
  console.log(`seed ${seed}, ${half} half: ${tenth.join(' ')}`);
  return out;
}

describe.skipIf(!isSoak || python === undefined)('a tenth of the bench', () => {
  it.each(['open', 'hidden'])('of the %s half scores no worse than what is published', (half) => {
    const tool = `${process.execPath} ${join(BENCH, 'adapters', 'clippy-diag.js')} {case}`;
    const bench = join(BENCH, 'clippy-bench.js');
    const args = ['score', '--cases', drawn(half), '--evidence', 'log', '--tool', tool, '--json'];
    const { measures } = JSON.parse(run(process.execPath, [bench, ...args]));
    const rows: readonly Result[] = JSON.parse(readFileSync(join(BENCH, 'results.json'), 'utf8')).rows;
    const published = rows.find(
      (row) => row.tool === 'clippy-diag' && row.half === half && row.evidence === 'log',
    )!;
    console.log(JSON.stringify(measures));
    expect(measures.failed.hits).toBe(0);
    // A tenth is small: worse is what its own interval does not share with the published one.
    expect(measures.falseAlarm.low).toBeLessThanOrEqual(share(...published.falseAlarm).high!);
    if (measures.detection.n > 0)
      expect(measures.detection.high).toBeGreaterThanOrEqual(share(...published.detection).low!);
  });
});
