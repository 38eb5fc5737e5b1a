/** What is committed here and made from the code: the JSON Schemas, and the page about them. */

import { z } from 'zod';
import { configSchema } from '../src/app/gate/config-schema.ts';
import { wrapMarkdown } from '../src/model/wrap-markdown.ts';
import { DOCUMENTS } from './documents.ts';
import { jsonPage } from './json-page.ts';

/** A document as its reader sees it: before words become numbers. */
const inputSchema = (schema: z.ZodType): object => z.toJSONSchema(schema, { io: 'input' });

/** Texts by their path in the project. */
export function publishedFiles(): ReadonlyMap<string, string> {
  const documents = Object.fromEntries(
    Object.entries(DOCUMENTS).map(([name, schema]) => [name, inputSchema(schema)]),
  );
  const schemas = { config: inputSchema(configSchema), ...documents };
  return new Map([
    ...Object.entries(schemas).map(([name, schema]): [string, string] => [
      `schema/${name}.schema.json`,
      `${JSON.stringify(schema, null, 2)}\n`,
    ]),
    ['docs/json.md', wrapMarkdown(jsonPage(documents))],
  ]);
}
