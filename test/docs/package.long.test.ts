/** The pages that the package holds link to nothing that it leaves out. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { deadLinks } from '../support/doc-pages.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('links');

it('links to nothing that the package leaves out', () => {
  const packed = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: projectRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as [{ files: { path: string }[] }];
  const folder = scratch();
  const files = packed[0].files.map(({ path }) => path);
  for (const file of files.filter((path) => !path.startsWith('dist/'))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    copyFileSync(join(projectRoot, file), join(folder, file));
  }
  const markdown = files.filter((path) => path.endsWith('.md'));
  expect(markdown.length).toBeGreaterThan(60);
  expect(deadLinks(folder, markdown)).toEqual([]);
});
