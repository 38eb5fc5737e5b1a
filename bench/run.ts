/**
 * Every bench of speed, one after the other, each beside its peer or its physical limit, in a process of its own.
 *
 *     npm run bench                       all of them, a quarter of an hour
 *     npm run bench -- start logs         some
 *
 * Nothing is asserted: times are of a machine and its neighbours. What is kept stands in docs/performance.md, with the
 * machine and the spread. CLIPPY_DIAG_PYTHON names an interpreter with PyTorch for the peers that need one.
 */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

/** The file and its arguments; what it is compared with stands at its head. */
const BENCHES: Readonly<Record<string, readonly [file: string, ...args: string[]]>> = {
  start: ['start.ts'],
  logs: ['logs.bench.ts'],
  'large-log': ['large-log.ts', '1000000', '3'],
  'many-runs': ['many-runs.ts'],
  'wide-gate': ['wide-gate.ts'],
  'worst-lines': ['worst-lines.ts'],
  checkpoints: ['checkpoints.ts'],
  'matrix-product': ['matrix-product.ts'],
  curvature: ['curvature.ts'],
  optimizer: ['optimizer.ts'],
  replay: ['replay.ts'],
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  console.error(`no bench ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}`);
  process.exitCode = 2;
} else {
  console.log(`${cpus()[0]!.model}, ${cpus().length} cores, Node ${process.version}`);
  for (const [name, [file, ...args]] of Object.entries(BENCHES)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    console.log(`\n== ${name} (bench/${file})`);
    const { status, signal } = spawnSync(
      process.execPath,
      ['--import', 'tsx', fileURLToPath(new URL(file, import.meta.url)), ...args],
      { stdio: 'inherit' },
    );
    // A bench that ends with a code says that a limit of its own was passed, or that it could not run: told, and the others go on.
    if (status !== 0) console.log(`${name} ended with ${signal ?? `code ${status}`}`);
  }
}
