/** What the README and the docs show is what the commands print. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

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

  it('link to files that exist', () => {
    for (const { path, text } of pages)
      for (const [, target] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g))
        expect(existsSync(join(projectRoot, path, '..', target!)), `${path} → ${target}`).toBe(true);
  });
});
