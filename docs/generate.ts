/** Writes the generated pages under docs/, and breaks the lines of the hand-written ones; `npm run docs`. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { documentPages } from '../src/app/engine/pages.ts';
import { wrapMarkdown } from '../src/model/wrap-markdown.ts';
import { indexPage } from './index-page.ts';

const docs = fileURLToPath(new URL('.', import.meta.url));
// Where a page cannot be made, those that are there stay.
const pages = [...documentPages()];
for (const folder of ['failures', 'findings', 'rules'])
  rmSync(join(docs, folder), { recursive: true, force: true });
for (const [path, text] of pages) {
  mkdirSync(dirname(join(docs, path)), { recursive: true });
  writeFileSync(join(docs, path), text);
}
writeFileSync(join(docs, 'README.md'), indexPage(docs));
const written = readdirSync(docs, { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.md'),
);
for (const path of [...written, '../README.md', '../CONTRIBUTING.md']) {
  const text = readFileSync(join(docs, path), 'utf8');
  const wrapped = wrapMarkdown(text);
  if (wrapped !== text) writeFileSync(join(docs, path), wrapped);
}
