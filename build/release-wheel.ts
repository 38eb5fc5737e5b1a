/** What PyPI publishes, as a user meets it: the page, licences, size, and the command line on the Node of PATH. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Checks } from './checks.ts';
import { run, sizeOf } from './release-npm.ts';
import type { Facts } from './stamp.ts';
import { buildWheel, PYTHON } from './wheel.ts';

/** Largest wheel, in bytes. */
const LIMIT = 4_000_000;

/** Prints METADATA and the names of the files of a wheel. */
const LOOK_INSIDE = `
import json, sys, zipfile
from email.parser import HeaderParser
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = wheel.namelist()
    (path,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    message = HeaderParser().parsestr(wheel.read(path).decode("utf-8"))
print(json.dumps({"names": names, "headers": message.items(), "page": message.get_payload()}))
`;

interface Inside {
  readonly names: readonly string[];
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The page that PyPI shows. */
  readonly page: string;
}

function checkMetadata(checks: Checks, { names, headers, page }: Inside, { owner, published }: Facts): void {
  const all = (name: string): string[] =>
    headers.filter(([found]) => found === name).map(([, value]) => value);
  checks.that(
    all('License-Expression')[0] === 'Apache-2.0',
    'wheel: licence Apache-2.0',
    'wheel: no licence',
  );
  for (const file of ['LICENSE', 'NOTICE'])
    checks.that(
      all('License-File').includes(file) &&
        names.some((name) => name.endsWith(`.dist-info/licenses/${file}`)),
      `wheel: ${file}`,
      `wheel: ${file} is missing`,
    );
  const urls = all('Project-URL');
  checks.that(
    urls.length >= 4 && urls.every((url) => url.includes(`github.com/${owner}/clippy-diag`)),
    `wheel: ${urls.length} links, ${all('Classifier').length} classifiers`,
    `wheel: links ${urls.join(', ')}`,
  );
  // PyPI resolves no relative link.
  const relative = [...page.matchAll(/\]\((?!https:|#)([^)]*)\)/g)].map(([, to]) => to);
  checks.that(
    relative.length === 0,
    'wheel: no relative link on the page',
    `wheel: relative links: ${relative.join(', ')}`,
  );
  checks.that(
    page.includes(published ? "pip install 'clippy-diag[cli]'" : 'npm run build:wheel'),
    'wheel: the page says how to install',
    'wheel: the page does not say how to install',
  );
}

/** Installs the wheel into an empty environment, without numpy, and asks the command line which Node it runs on. */
function checkInstalled(checks: Checks, wheel: string, version: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-venv-'));
  try {
    execFileSync(PYTHON, ['-m', 'venv', folder]);
    const programs = join(folder, process.platform === 'win32' ? 'Scripts' : 'bin');
    const python = join(programs, 'python');
    const install = [
      '-m',
      'pip',
      'install',
      '-q',
      '--disable-pip-version-check',
      '--no-deps',
      '--no-index',
      wheel,
    ];
    const { code, said } = run(python, install, folder);
    checks.that(code === 0, 'wheel: installs into an empty environment', `wheel: pip install: ${said}`);
    if (code !== 0) return;
    const where = run(
      python,
      ['-c', 'import clippy_diag.cli as c; print(c.program().parent.parent.parent)'],
      folder,
    );
    checks.that(
      where.code === 0,
      `wheel: ${(sizeOf(where.said.trim()) / 1e6).toFixed(1)} MB installed, without numpy`,
      `wheel: ${where.said}`,
    );
    const asked = run(join(programs, 'clippy-diag'), ['--version'], folder);
    checks.that(
      asked.code === 0 &&
        asked.said.includes(`clippy-diag/${version} `) &&
        /Node: .*node.* \(PATH\)/.test(asked.said),
      'wheel: clippy-diag --version names the Node of PATH',
      `wheel: clippy-diag --version: ${asked.said}`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Builds the wheel into a folder and checks it.
 *
 * @returns the path of the wheel
 */
export function checkWheel(checks: Checks, folder: string, known: Facts): string {
  const built = buildWheel();
  const wheel = join(folder, basename(built));
  copyFileSync(built, wheel);
  const { size } = statSync(wheel);
  checks.that(size <= LIMIT, `wheel: ${(size / 1e6).toFixed(2)} MB`, `wheel: ${size} bytes, over ${LIMIT}`);
  const inside = execFileSync(PYTHON, ['-c', LOOK_INSIDE, wheel], { encoding: 'utf8', maxBuffer: 2 ** 26 });
  checkMetadata(checks, JSON.parse(inside) as Inside, known);
  checkInstalled(checks, wheel, known.version);
  return wheel;
}
