/** What is committed here and made from the code: the JSON Schemas, the page about them, and the rules as Python reads them. */

import { z } from 'zod';
import { configSchema } from '../src/app/gate/config-schema.ts';
import { wrapMarkdown } from '../src/model/wrap-markdown.ts';
import { RULES } from '../src/step/rules/registry.ts';
import { DOCUMENTS } from './documents.ts';
import { jsonPage } from './json-page.ts';

/** A document as its reader sees it: before words become numbers. */
const inputSchema = (schema: z.ZodType): object => z.toJSONSchema(schema, { io: 'input' });

/** Rules by id: the option that a bare number sets, and the range of each option. JSON has no Infinity, so it is a word. */
const ruleOptions = (): string =>
  JSON.stringify(
    Object.fromEntries(
      Object.values(RULES).map(({ id, mainOption, options }) => [
        id,
        {
          main: mainOption,
          options: Object.fromEntries(options.map(({ name, meaning: _, ...range }) => [name, range])),
        },
      ]),
    ),
    (_, value: unknown) => (value === Number.POSITIVE_INFINITY ? 'Infinity' : value),
    2,
  );

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
    ['python/src/clippy_diag/rule_options.json', `${ruleOptions()}\n`],
    ['docs/json.md', wrapMarkdown(jsonPage(documents))],
  ]);
}
