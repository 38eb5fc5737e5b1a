/** The command that prepares a release, run in a copy of the files that it writes. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { entryOf } from '../../build/changelog.ts';
import { STAMPED } from '../../build/stamp.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('release');

/** A copy of what a release is made of, with something unreleased. */
function copy(): string {
  const folder = scratch();
  for (const path of [...STAMPED, 'CHANGELOG.md', 'build', '.github']) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(projectRoot, path), join(folder, path), { recursive: true });
  }
  symlinkSync(join(projectRoot, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'CHANGELOG.md'), '# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n');
  // As before the first release, whatever this checkout is.
  writeFileSync(join(folder, 'build/release.json'), '{ "owner": "OWNER", "published": false }\n');
  return folder;
}

const release = (folder: string, ...args: string[]) =>
  spawnSync(process.execPath, ['node_modules/tsx/dist/cli.mjs', 'build/release.ts', ...args], {
    cwd: folder,
    encoding: 'utf8',
  });

it('writes version, owner and date everywhere, as docs/releasing.md says', () => {
  const folder = copy();
  const read = (path: string): string => readFileSync(join(folder, path), 'utf8');
  const done = release(folder, '--prepare', '9.8.7', '--owner', 'some-lab');
  expect([done.status, done.stderr]).toEqual([0, '']);
  expect(JSON.parse(read('build/release.json'))).toEqual({ owner: 'some-lab', published: true });
  expect(JSON.parse(read('package.json'))).toMatchObject({
    version: '9.8.7',
    repository: { url: 'git+https://github.com/some-lab/clippy-diag.git' },
  });
  expect(read('python/src/clippy_diag/__init__.py')).toContain('__version__ = "9.8.7"');
  expect(read('python/pyproject.toml')).toContain('https://github.com/some-lab/clippy-diag/issues');
  expect(read('docs/ci.md')).toContain('uses: some-lab/clippy-diag@v9.8.7');
  expect(read('README.md')).toMatch(/^```sh\nnpx clippy-diag runs\//m);
  expect(entryOf(read('CHANGELOG.md'), '9.8.7')).toContain('A thing.');
  for (const path of STAMPED) expect(read(path), path).not.toContain('OWNER/clippy-diag');
  // A second time there is nothing unreleased left, and nothing is half written.
  const before = read('package.json');
  expect(release(folder, '--prepare', '9.8.8').status).not.toBe(0);
  expect(read('package.json')).toBe(before);
});

it.each([
  ['no version', ['--prepare', 'next', '--owner', 'some-lab']],
  ['no owner', ['--prepare', '9.8.7']],
  ['an owner that is no account', ['--prepare', '9.8.7', '--owner', 'some lab/x']],
  ['nothing asked for', []],
])('refuses %s and writes nothing', (_what, args) => {
  const folder = copy();
  const before = readFileSync(join(folder, 'package.json'), 'utf8');
  expect(release(folder, ...args).status).not.toBe(0);
  expect(readFileSync(join(folder, 'package.json'), 'utf8')).toBe(before);
});
