#!/usr/bin/env node
import { existsSync } from 'node:fs';

if (!existsSync(new URL('../dist/run.js', import.meta.url))) {
  process.stderr.write('clippy-diag is not built yet; run: npm ci && npm run build\n');
  process.exitCode = 2;
} else {
  const { processIo, run } = await import('../dist/run.js');
  process.exitCode = await run(process.argv.slice(2), processIo());
}
