/**
 * Runs a bench as the program is built. From the sources, the loader of TypeScript names every function at each time that it is
 * made: in a gradient of a large net some 2 ms, which no user has, and which two threads do not share.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const isBuilt = import.meta.url.endsWith('.js');

/** The checkout. */
export const root = fileURLToPath(new URL(isBuilt ? '../..' : '..', import.meta.url));

/**
 * Bundles a bench into dist/bench, runs that in the bench's place and ends with its code; goes on where this is that run.
 *
 * @param url `import.meta.url` of the bench
 * @throws where the program is not built: the bench's threads are files of it
 */
export async function runAsBuilt(url: string): Promise<void> {
  if (isBuilt) return;
  if (!existsSync(join(root, 'dist/index.js'))) throw new Error('npm run build comes first');
  const file = fileURLToPath(url);
  const outfile = join(root, 'dist/bench', basename(file).replace(/\.ts$/, '.js'));
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    legalComments: 'none',
    logLevel: 'warning',
  });
  const { status } = spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' });
  rmSync(join(root, 'dist/bench'), { recursive: true, force: true });
  process.exit(status ?? 1);
}
