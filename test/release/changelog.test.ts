/** Entries of the changelog, as a release dates them and shows them on its page. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { entryOf, released } from '../../build/changelog.ts';
import { projectRoot } from '../support/shared-data.ts';

const CHANGELOG = `# Changelog

## Unreleased

### Added

- A thing.

## [0.2.0] - 2026-11-27

### Fixed

- Another.
`;

it('a release dates what is unreleased and leaves room for what comes next', () => {
  const after = released(CHANGELOG, '0.3.0', '2027-01-04');
  expect(after).toContain(
    '## Unreleased\n\n## [0.3.0] - 2027-01-04\n\n### Added\n\n- A thing.\n\n## [0.2.0]',
  );
  expect(entryOf(after, '0.3.0')).toBe('### Added\n\n- A thing.');
  expect(entryOf(after, '0.2.0')).toBe('### Fixed\n\n- Another.');
});

it('the part of a version that is not dated is none', () => {
  expect(entryOf(CHANGELOG, '0.3.0')).toBeNull();
  expect(entryOf('## [0.3.0]\n\n- x\n', '0.3.0')).toBeNull();
  // A dot is a dot.
  expect(entryOf('## [0x3.0] - 2027-01-04\n\n- x\n', '0.3.0')).toBeNull();
});

it.each([
  ['the version is there already', CHANGELOG, '0.2.0'],
  ['nothing is unreleased', CHANGELOG.replace('### Added\n\n- A thing.\n\n', ''), '0.3.0'],
  ['there is no such heading', CHANGELOG.replace('## Unreleased', '## Next'), '0.3.0'],
])('a release is refused where %s', (_why, changelog, version) =>
  expect(() => released(changelog, version, '2027-01-04')).toThrow(/CHANGELOG\.md/),
);

const parts = readFileSync(join(projectRoot, 'CHANGELOG.md'), 'utf8').split(/^## /m).slice(1);

it.each(parts.map((part) => ({ version: part.split('\n')[0], words: part.match(/\S+/g)!.length })))(
  '$version has at most 1,500 words: one line a change that a user notices',
  ({ words }) => expect(words).toBeLessThanOrEqual(1_500),
);
