#!/usr/bin/env node
/**
 * clippy-diag as a tool of the bench: `clippy-diag.js CASE [FLAGS OF ANALYZE]`. CLIPPY_DIAG names its program (`bin/run.js` of this
 * checkout without it). What the report does not say is `null`: it cannot tell.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answerOf } from './clippy-answer.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const PROGRAM = process.env.CLIPPY_DIAG ?? join(HERE, '..', '..', '..', 'bin', 'run.js');

const [folder, ...flags] = process.argv.slice(2);
const done = spawnSync(process.execPath, [PROGRAM, 'analyze', folder, '--json', ...flags], {
  encoding: 'utf8',
  maxBuffer: 2 ** 28,
});
try {
  console.log(JSON.stringify(answerOf(JSON.parse(done.stdout))));
} catch {
  console.error(done.stderr.slice(-500));
  process.exitCode = 2;
}
