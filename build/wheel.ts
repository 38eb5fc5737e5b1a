/**
 * Copies the built command line, with the packages that it needs and nothing that they do not run, into the Python package,
 * and builds the wheel: python/dist/clippy_diag-VERSION-py3-none-any.whl. `npm run build:wheel` builds the command line first.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { npm, pack } from './pack.ts';
import { root } from './stamp.ts';

const COMMAND_LINE = join(root, 'python/src/clippy_diag/_cli');

/** The Python that builds the wheel. */
export const PYTHON = process.env.PYTHON ?? (process.platform === 'win32' ? 'python' : 'python3');

/** Whether a file of a package is run, or read by `explain`, or a licence: no maps, types and pages of others. */
function isNeeded(path: string): boolean {
  const parts = path.split(sep).join('/');
  if (statSync(path).isDirectory()) return !/\/@types$|\/(test|tests|man|\.bin)$/.test(parts);
  const name = basename(path);
  if (name === 'package.json' || /^(licen[cs]e|notice)/i.test(name)) return true;
  if (/\/node_modules\/clippy-diag\/docs\/.*\.md$/.test(parts)) return true;
  return !['.map', '.md', '.ts', '.tsbuildinfo'].includes(extname(name));
}

/** Installs the packed build into an empty folder and copies what runs into the Python package. */
function copyCommandLine(): void {
  const work = mkdtempSync(join(tmpdir(), 'clippy-diag-wheel-'));
  try {
    const { file } = pack(work);
    const options = [
      '--omit=dev',
      '--omit=optional',
      '--ignore-scripts',
      '--silent',
      '--no-audit',
      '--no-fund',
    ];
    npm(['install', '--prefix', work, ...options, file]);
    const installed = join(work, 'node_modules');
    rmSync(COMMAND_LINE, { recursive: true, force: true });
    // The package becomes the root, so that it finds the others below itself.
    cpSync(join(installed, 'clippy-diag'), COMMAND_LINE, { recursive: true, filter: isNeeded });
    for (const name of readdirSync(installed))
      if (name !== 'clippy-diag')
        cpSync(join(installed, name), join(COMMAND_LINE, 'node_modules', name), {
          recursive: true,
          filter: isNeeded,
        });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Builds the wheel from the build of this checkout.
 *
 * @returns its path
 * @throws Error where the two packages have different versions
 */
export function buildWheel(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const init = readFileSync(join(root, 'python/src/clippy_diag/__init__.py'), 'utf8');
  const python = /^__version__ = "(.*)"$/m.exec(init)?.[1];
  if (python !== version) throw new Error(`package.json is ${version}, python/src/clippy_diag is ${python}`);
  copyCommandLine();
  // A wheel carries its licences; what the command line bundles has its own in NOTICE.
  for (const name of ['LICENSE', 'NOTICE']) copyFileSync(join(root, name), join(root, 'python', name));
  // One wheel is there, not those of other versions too.
  const folder = join(root, 'python/dist');
  rmSync(folder, { recursive: true, force: true });
  execFileSync(PYTHON, ['-m', 'pip', 'wheel', '-q', '--no-deps', '-w', 'python/dist', './python'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [wheel] = readdirSync(folder);
  return join(folder, wheel!);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(buildWheel());
