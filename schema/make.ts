/** Writes the committed JSON Schemas from the code: `npx tsx schema/make.ts`. A test holds them together. */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { configSchema } from '../src/gate/config.ts';
import { reportSchema } from '../src/reports/report-schema.ts';

for (const [name, schema] of [
  ['config', configSchema],
  ['report', reportSchema],
] as const)
  writeFileSync(
    new URL(`${name}.schema.json`, import.meta.url),
    `${JSON.stringify(z.toJSONSchema(schema, { io: 'input' }), null, 2)}\n`,
  );
