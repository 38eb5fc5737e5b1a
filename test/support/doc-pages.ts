/** The pages that users read, and the commands in them with what they print. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { projectRoot } from './shared-data.ts';

export const pages = [
  'README.md',
  ...readdirSync(join(projectRoot, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.md'))
    .map((f) => `docs/${f}`),
].map((path) => ({ path, text: readFileSync(join(projectRoot, path), 'utf8') }));

/** ```console blocks: `$ clippy-diag …` and what it prints; a line `…` stands for lines left out. */
export const examples = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/^```console\n\$ clippy-diag (.*)\n([\s\S]*?)^```$/gm)].map((m) => ({
    path,
    args: m[1]!,
    shown: m[2]!,
  })),
);

/** What a terminal as wide as the examples is told by. */
export const WIDE = { COLUMNS: '100' };

/** The example whose analysis takes ten seconds: the test of that analysis looks at what it prints, too. */
export const INCIDENT = 'analyze fixtures/incident';

/** Fails where what an example shows is not in what the command printed, in this order. */
export function expectShown(out: string, shown: string): void {
  let at = 0;
  for (const part of shown.split(/^…\n/m).filter((p) => p !== '')) {
    const found = out.indexOf(part, at);
    expect(
      found,
      `not printed, or not in this place:\n${part}\n--- but:\n${out.slice(at, at + 4000)}`,
    ).toBeGreaterThanOrEqual(0);
    at = found + part.length;
  }
}

/** Dead links of the Markdown files below a folder: to no file, to no heading. */
export const deadLinks = (folder: string, files: readonly string[]): string[] =>
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
