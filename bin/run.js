#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { loadProgram, MODULES, setUpNode } from './program.js';

setUpNode();
if (!existsSync(MODULES)) {
  process.stderr.write('clippy-diag is not built yet; run: npm ci && npm run build\n');
  process.exitCode = 2;
} else {
  try {
    const { processIo, run } = await loadProgram(process.argv[2]);
    process.exitCode = await run(process.argv.slice(2), processIo());
  } catch (error) {
    // Only what is loaded can fail here: `run` tells every other error. Nothing more is loaded to tell this one.
    const crowded = error?.code === 'EMFILE' || error?.code === 'ENFILE';
    const message = crowded
      ? `no further file can be opened: too many are open in this ${error.code === 'EMFILE' ? 'process' : 'machine'} (${error.code})`
      : String(error);
    const hint = 'allow this process more open files, e.g. `ulimit -n 1024`, or close other programs';
    if (process.argv.includes('--json'))
      process.stdout.write(
        `${JSON.stringify({ schemaVersion: '3.0', error: crowded ? { id: 'too-many-open-files', message, hint } : { id: 'bug', message } }, null, 2)}\n`,
      );
    process.stderr.write(
      crowded
        ? `error[too-many-open-files]: ${message}\n  try: ${hint}\n`
        : `bug: this should not happen; please report it with the command and the input\n${error?.stack ?? error}\n`,
    );
    process.exitCode = crowded ? 3 : 70;
  }
}
