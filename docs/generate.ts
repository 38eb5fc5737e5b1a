/** Writes the generated pages under docs/; `npm run docs`. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { documentPages } from '../src/engine/pages.ts';

const docs = fileURLToPath(new URL('.', import.meta.url));
// Where a page cannot be made, those that are there stay.
const pages = [...documentPages()];
for (const folder of ['findings', 'rules']) rmSync(join(docs, folder), { recursive: true, force: true });
for (const [path, text] of pages) {
  mkdirSync(dirname(join(docs, path)), { recursive: true });
  writeFileSync(join(docs, path), text);
}
