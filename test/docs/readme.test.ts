/** What the README and the docs show is what the commands print. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { deadLinks, examples, expectShown, INCIDENT, pages, WIDE } from '../support/doc-pages.ts';
import { projectRoot } from '../support/shared-data.ts';

describe('examples in the docs', () => {
  it('are there', async () => expect(examples.map((e) => e.path)).toContain('docs/page.md'));

  // The one that is left out is looked at by test/engine/analyze.test.ts.
  it.each(examples.filter(({ args }) => args !== INCIDENT))('$path: clippy-diag $args', async (example) => {
    const { out } = await cli(example.args.split(' '), { env: WIDE });
    expectShown(out, example.shown);
  });

  it('name files of the project that exist, in docs and in comments of the sources', () => {
    const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((f) => f.endsWith('.ts'))
      .map((f) => ({ path: `src/${f}`, text: readFileSync(join(projectRoot, 'src', f), 'utf8') }));
    const named = [
      ...[
        ...pages,
        { path: 'CONTRIBUTING.md', text: readFileSync(join(projectRoot, 'CONTRIBUTING.md'), 'utf8') },
      ].flatMap(({ path, text }) =>
        [...text.matchAll(/(?<=[` ])(?:src|test|bench|docs|fixtures|schema|recorders)\/[\w./-]+\.\w+/g)].map(
          ([file]) => ({ path, file }),
        ),
      ),
      ...sources.flatMap(({ path, text }) =>
        [...text.matchAll(/\bdocs\/[\w./-]+\.md/g)].map(([file]) => ({ path, file })),
      ),
    ];
    expect(named.length).toBeGreaterThan(50);
    for (const { path, file } of named)
      expect(existsSync(join(projectRoot, file)), `${path}: ${file}`).toBe(true);
  });

  const more = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'python/README.md'];

  it('link to files and headings that exist', () =>
    expect(deadLinks(projectRoot, [...pages.map(({ path }) => path), ...more])).toEqual([]));

  it('name one repository, that of package.json', () => {
    const { repository, homepage, bugs } = JSON.parse(
      readFileSync(join(projectRoot, 'package.json'), 'utf8'),
    ) as { repository: { url: string }; homepage: string; bugs: { url: string } };
    const url = repository.url.replace(/^git\+|\.git$/g, '');
    expect([homepage, bugs.url]).toEqual([`${url}#readme`, `${url}/issues`]);
    const owner = url.split('/').at(-2)!;
    const named = pages.flatMap(({ text }) =>
      [...text.matchAll(/([\w.-]+)\/clippy-diag[@/]/g)].map((m) => m[1]),
    );
    expect(named.length).toBeGreaterThan(1);
    expect(new Set(named)).toEqual(new Set([owner]));
  });
});
