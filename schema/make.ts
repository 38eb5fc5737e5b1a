/**
 * Writes the committed JSON Schemas and docs/json.md from the code; `npm run docs`. A test holds them together.
 */
import { writeFileSync } from 'node:fs';
import { publishedFiles } from './published.ts';

for (const [path, text] of publishedFiles()) writeFileSync(new URL(`../${path}`, import.meta.url), text);
