/** What npm publishes, as a user meets it: size, manifest, an install into an empty folder, entry points and types. */
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Checks } from './checks.ts';
import { npm, type Packed, pack } from './pack.ts';
import { root } from './stamp.ts';

/** Largest tarball, and largest install with all that it needs, in bytes. */
const LIMITS = { packed: 3_000_000, installed: 20_000_000 };

/** What attw says that no user meets: Node loads a module by `require` too (from 20.19 on), and this is tried below. */
const NOT_MET = ['cjs-resolves-to-esm'];

/** The sum of the sizes of a folder's files in bytes. Links count as links. */
export function sizeOf(folder: string): number {
  return readdirSync(folder, { withFileTypes: true })
    .map((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? sizeOf(path) : lstatSync(path).size;
    })
    .reduce((sum, size) => sum + size, 0);
}

const inMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`;

/** Runs a program and gives back its exit code with all that it printed. */
export function run(
  program: string,
  args: readonly string[],
  cwd: string,
): { code: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 28 });
  return { code: status, said: `${stdout}${stderr}` };
}

/** Runs a program of a development dependency, by the path that its package names. */
function runTool(
  name: string,
  tool: string,
  args: readonly string[],
  cwd: string,
): { code: number | null; said: string } {
  const manifest = join(root, 'node_modules', name, 'package.json');
  const { bin } = createRequire(manifest)(manifest) as { bin: Record<string, string> };
  return run(process.execPath, [join(root, 'node_modules', name, bin[tool]!), ...args], cwd);
}

function checkManifest(checks: Checks, { manifest, files, size, unpackedSize }: Packed): void {
  checks.that(
    manifest.scripts === undefined && manifest.devDependencies === undefined,
    'the packed manifest has no script',
    'the packed manifest has scripts or development dependencies',
  );
  const maps = files.filter((path) => path.endsWith('.map'));
  checks.that(
    maps.length === 0,
    'no source map of a source that is not there',
    `source maps: ${maps.length}`,
  );
  for (const needed of ['LICENSE', 'NOTICE', 'README.md', 'CHANGELOG.md', 'oclif.manifest.json'])
    checks.that(files.includes(needed), `${needed} is in it`, `${needed} is missing`);
  checks.that(
    size <= LIMITS.packed,
    `packed ${inMegabytes(size)}, ${files.length} files, unpacked ${inMegabytes(unpackedSize)}`,
    `packed ${inMegabytes(size)}, over ${inMegabytes(LIMITS.packed)}`,
  );
}

/** Programs that a user writes: entry points by `import` and by `require`. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'import.mjs': `import { analyze } from 'clippy-diag';
if (typeof analyze !== 'function') throw new Error('no analyze');
`,
  'require.cjs': `const { analyze } = require('clippy-diag');
if (typeof analyze !== 'function') throw new Error('no analyze');
`,
};

/** Whether this Node loads a module by `require`: 20.19, 22.12 and newer. */
const requiresModules = process.features.require_module === true;

function checkInstall(checks: Checks, { file }: Packed, version: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-user-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{ "name": "user", "private": true }\n');
    const script = process.env.npm_execpath;
    const install = ['install', '--no-audit', '--no-fund', file];
    const { code, said } =
      script === undefined
        ? run('npm', install, folder)
        : run(process.execPath, [script, ...install], folder);
    checks.that(code === 0, 'installs into an empty folder', `npm install failed: ${said}`);
    if (code !== 0) return;
    checks.that(!/install script/i.test(said), 'npm warns of no install script', `npm says: ${said}`);
    const size = sizeOf(join(folder, 'node_modules'));
    checks.that(
      size <= LIMITS.installed,
      `installed ${inMegabytes(size)}`,
      `installed ${inMegabytes(size)}, over ${inMegabytes(LIMITS.installed)}`,
    );
    checkPrograms(checks, folder, version);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs what a user runs first, in a folder into which the package was installed. */
function checkPrograms(checks: Checks, folder: string, version: string): void {
  const program = join(folder, 'node_modules/clippy-diag/bin/run.js');
  const incident = join(folder, 'node_modules/clippy-diag/fixtures/incident');
  const expected: readonly [args: string[], code: number, says: RegExp][] = [
    [['--version'], 0, new RegExp(`clippy-diag/${version.replaceAll('.', '\\.')} `)],
    [['--help'], 0, /analyze/],
    [['explain', 'gate'], 0, /gate/],
    [['analyze', incident, '--budget', '0'], 0, /DIVERGED at step 400/],
    [['gate', incident], 1, /gate failed/],
    [['analyze', 'no-such-file'], 3, /error\[file-missing\]/],
  ];
  for (const [args, code, says] of expected) {
    const result = run(process.execPath, [program, ...args], folder);
    const line = `clippy-diag ${args.map((arg) => basename(arg)).join(' ')}`;
    checks.that(
      result.code === code && says.test(result.said),
      `${line}: exit ${code}`,
      `${line}: exit ${result.code}, expected ${code} and ${says}: ${result.said.slice(0, 2000)}`,
    );
  }
  for (const [name, text] of Object.entries(PROGRAMS)) {
    if (name.endsWith('.cjs') && !requiresModules) continue;
    writeFileSync(join(folder, name), text);
    const { code, said } = run(process.execPath, [name], folder);
    checks.that(code === 0, `${name}: the library loads`, `${name}: ${said}`);
  }
}

/**
 * Packs the build into a folder and checks the tarball.
 *
 * @returns the path of the tarball
 */
export async function checkNpmPackage(checks: Checks, folder: string, version: string): Promise<string> {
  const packed = pack(folder);
  const { file } = packed;
  checkManifest(checks, packed);
  checkInstall(checks, packed, version);
  const publint = runTool('publint', 'publint', ['--strict', file], root);
  checks.that(publint.code === 0, 'publint: all good', `publint: ${publint.said}`);
  const attw = runTool('@arethetypeswrong/cli', 'attw', [file, '--ignore-rules', ...NOT_MET], root);
  checks.that(
    attw.code === 0,
    `attw: types of every entry point resolve in node10, node16 and bundlers (without ${NOT_MET.join(', ')})`,
    `attw: ${attw.said}`,
  );
  const said = npm(['publish', '--dry-run', '--json', file, '--access', 'public']);
  // npm 10 prints the package itself, npm 11 a table of packages.
  const id = new RegExp(`"id": "clippy-diag@${version.replaceAll('.', '\\.')}"`);
  checks.that(id.test(said), 'npm publish --dry-run takes it', `npm publish --dry-run: ${said}`);
  return file;
}
