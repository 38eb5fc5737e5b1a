// Copies the built command line, with the packages that it needs and nothing that they do not run, into the Python
// package, and builds the wheel: python/dist/clippy_diag-VERSION-py3-none-any.whl. `npm run build` comes first.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = join(root, 'python/src/clippy_diag/_cli');
const npm = (...args) =>
  execFileSync('npm', [...args, '--silent', '--no-audit', '--no-fund'], { encoding: 'utf8' });

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const python = /__version__ = "(.*)"/.exec(
  readFileSync(join(root, 'python/src/clippy_diag/__init__.py'), 'utf8'),
)[1];
if (python !== version) throw new Error(`package.json is ${version}, python/src/clippy_diag is ${python}`);

/** Whether a file of a package is run, or read by `explain`, or a licence: no maps, types and pages of others. */
function runs(path) {
  if (statSync(path).isDirectory()) return !/\/@types$|\/(test|tests|man|\.bin)$/.test(path);
  const name = basename(path);
  if (name === 'package.json' || /^(licen[cs]e|notice)/i.test(name)) return true;
  if (/\/node_modules\/clippy-diag\/docs\/.*\.md$/.test(path)) return true;
  return !['.map', '.md', '.ts', '.tsbuildinfo'].includes(extname(name));
}

const work = mkdtempSync(join(tmpdir(), 'clippy-wheel-'));
try {
  const tarball = npm('pack', root, '--ignore-scripts', '--pack-destination', work).trim().split('\n').at(-1);
  npm('install', '--prefix', work, '--omit=dev', '--omit=optional', '--ignore-scripts', join(work, tarball));
  const installed = join(work, 'node_modules');
  rmSync(target, { recursive: true, force: true });
  // The package becomes the root, so that it finds the others below itself.
  cpSync(join(installed, 'clippy-diag'), target, { recursive: true, filter: runs });
  for (const name of readdirSync(installed))
    if (name !== 'clippy-diag')
      cpSync(join(installed, name), join(target, 'node_modules', name), { recursive: true, filter: runs });
} finally {
  rmSync(work, { recursive: true, force: true });
}
// One wheel is there, not those of other versions too.
rmSync(join(root, 'python/dist'), { recursive: true, force: true });
execFileSync('python3', ['-m', 'pip', 'wheel', '-q', '--no-deps', '-w', 'python/dist', './python'], {
  cwd: root,
  stdio: 'inherit',
});
