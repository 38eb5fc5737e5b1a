/** One file says who owns the repository and whether the packages are published; every other place is written from it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Facts, facts, STAMPED, stamp } from '../../build/stamp.ts';
import { projectRoot } from '../support/shared-data.ts';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: projectRoot, encoding: 'utf8' })
  .split('\0')
  .filter((path) => path !== '' && !path.startsWith('fixtures/'));
const owner = facts().owner === 'some-lab' ? 'other-lab' : 'some-lab';
const other: Facts = { ...facts(), owner, version: '9.8.7', published: true };

describe('stamped files', () => {
  it.each(STAMPED)('%s says what build/release.json and package.json say (else: npm run stamp)', (path) =>
    expect(stamp(path, read(path), facts())).toBe(read(path)),
  );

  it('are all that name the owner', () => {
    const { owner } = facts();
    const naming = tracked.filter(
      (path) =>
        /\.(md|ya?ml|json|cff|toml|py|sh)$|file$/.test(path) &&
        new RegExp(`[/@ ]${owner}(\\.github\\.io)?/clippy-diag`).test(read(path)),
    );
    expect(naming.length).toBeGreaterThan(4);
    expect(naming.filter((path) => !(STAMPED as readonly string[]).includes(path))).toEqual([]);
  });

  it('name another owner and version once these change, and nowhere the old ones', () => {
    for (const path of STAMPED) {
      const stamped = stamp(path, read(path), other);
      expect(stamped, path).not.toMatch(new RegExp(`${facts().owner}(\\.github\\.io)?/clippy-diag`));
      expect(stamp(path, stamped, facts()), path).toBe(read(path));
    }
    expect(stamp('package-lock.json', read('package-lock.json'), other).match(/9\.8\.7/g)).toHaveLength(2);
    expect(stamp('docs/ci.md', read('docs/ci.md'), other)).toContain(`uses: ${owner}/clippy-diag@v9.8.7`);
  });

  it('turn the first screen round at the first publish, and keep the two commands of a checkout', () => {
    const before = stamp('README.md', read('README.md'), { ...other, published: false });
    const after = stamp('README.md', read('README.md'), other);
    const first = (text: string): string | undefined => /^```sh\n(.*?)[ \n]/m.exec(text)?.[1];
    expect([first(before), first(after)]).toEqual(['npm', 'npx']);
    for (const text of [before, after]) {
      expect(text).toContain('npm ci && node bin/run.js analyze fixtures/incident');
      expect(text).toContain('npm ci && npm test');
    }
  });

  it('refuse a mark that nothing is written to', () =>
    expect(() => stamp('README.md', '<!-- stamp: nothing -->\n<!-- /stamp -->', other)).toThrow(/"nothing"/));
});
