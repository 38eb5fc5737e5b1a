/** What the README and the docs show is what the commands print. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('links');

const pages = [
  'README.md',
  ...readdirSync(join(projectRoot, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.md'))
    .map((f) => `docs/${f}`),
].map((path) => ({ path, text: readFileSync(join(projectRoot, path), 'utf8') }));

/** ```console blocks: `$ clippy-diag …` and what it prints; a line `…` stands for lines left out. */
const examples = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/^```console\n\$ clippy-diag (.*)\n([\s\S]*?)^```$/gm)].map((m) => ({
    path,
    args: m[1]!,
    shown: m[2]!,
  })),
);

describe('examples in the docs', () => {
  it('are there', async () => expect(examples.map((e) => e.path)).toContain('README.md'));

  it.each(examples)('$path: clippy-diag $args', async ({ args, shown }) => {
    const { out } = await cli(args.split(' '), { env: { COLUMNS: '100' } });
    let at = 0;
    for (const part of shown.split(/^…\n/m).filter((p) => p !== '')) {
      const found = out.indexOf(part, at);
      expect(
        found,
        `not printed, or not in this place:\n${part}\n--- but:\n${out.slice(at, at + 4000)}`,
      ).toBeGreaterThanOrEqual(0);
      at = found + part.length;
    }
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

  /** Dead links of the Markdown files below a folder: to no file, to no heading. */
  const deadLinks = (folder: string, files: readonly string[]): string[] =>
    files.flatMap((file) => {
      const text = readFileSync(join(folder, file), 'utf8').replace(/^```.*?^```|`[^`\n]*`(?!\])/gms, '');
      return [...text.matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(
        ([, path, anchor]) => {
          const target = path === '' ? join(folder, file) : join(folder, file, '..', path!);
          if (!existsSync(target)) return [`${file}: ${path}`];
          return anchor === undefined || headings(readFileSync(target, 'utf8')).has(anchor)
            ? []
            : [`${file}: ${path}#${anchor}`];
        },
      );
    });
  /** Anchors of a page, as GitHub makes them. */
  const headings = (text: string): ReadonlySet<string> =>
    new Set(
      [...text.replace(/^```.*?^```/gms, '').matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
        title!
          .toLowerCase()
          .replace(/[^\p{L}\p{N} _-]/gu, '')
          .replaceAll(' ', '-'),
      ),
    );
  const more = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'python/README.md'];

  it('link to files and headings that exist', () =>
    expect(deadLinks(projectRoot, [...pages.map(({ path }) => path), ...more])).toEqual([]));

  it('link to nothing that the package leaves out', () => {
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
