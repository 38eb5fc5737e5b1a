// Bundles src/ into dist/ with code splitting, so that a command loads only what it imports; writes the type
// declarations and oclif's manifest.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { oclifParser } from './build-oclif.js';

const root = fileURLToPath(new URL('.', import.meta.url));
process.chdir(root);

/** Every .ts file below a folder. */
const sources = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? sources(join(folder, entry.name))
      : entry.name.endsWith('.ts')
        ? [join(folder, entry.name)]
        : [],
  );

/** `import text from 'FILE?raw'`: the text of a file as a constant, as in Vite. */
const rawText = {
  name: 'raw-text',
  setup(build) {
    build.onResolve({ filter: /\?raw$/ }, ({ path, importer }) => ({
      path: createRequire(importer).resolve(path.slice(0, -'?raw'.length)),
      namespace: 'raw-text',
    }));
    build.onLoad({ filter: /.*/, namespace: 'raw-text' }, ({ path }) => ({
      contents: readFileSync(path, 'utf8'),
      loader: 'text',
    }));
  },
};

rmSync('dist', { recursive: true, force: true });
rmSync('oclif.manifest.json', { force: true });
await build({
  // Workers are entry points of their own: a thread or child process is started from its file.
  entryPoints: [
    'src/index.ts',
    'src/run.ts',
    'src/autodiff/clippy-adagrad.ts',
    'src/recorder/tfjs-recorder.ts',
    ...sources('src/commands'),
    ...sources('src').filter((f) => f.endsWith('.worker.ts')),
  ],
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  plugins: [rawText, oclifParser],
  sourcemap: 'linked',
  logLevel: 'warning',
});
const run = (file, ...args) =>
  execFileSync(process.execPath, [file, ...args], {
    stdio: 'inherit',
    // oclif looks for a newer version of itself otherwise.
    env: { ...process.env, OCLIF_SKIP_NEW_VERSION_CHECK: 'true' },
  });
// Without its manifest, help loads every command with all that it imports.
run('node_modules/oclif/bin/run.js', 'manifest');
if (!process.argv.includes('--fast')) run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json');
