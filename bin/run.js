#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-v')) {
  // Answered before anything is loaded: scripts ask this often.
  const { name, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  process.stdout.write(`${name}/${version} ${process.platform}-${process.arch} node-${process.version}\n`);
} else if (!existsSync(new URL('../dist', import.meta.url))) {
  process.stderr.write('clippy-diag is not built yet; run: npm ci && npm run build\n');
  process.exitCode = 2;
} else {
  const { execute } = await import('@oclif/core');
  // There are no plugins of the user's; looking for them warns where the home folder cannot be read (containers).
  await execute({ loadOptions: { root: fileURLToPath(import.meta.url), userPlugins: false } });
}
