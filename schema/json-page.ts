/** docs/json.md, made from the published schemas. */
import { inCell, markdownTable } from '../src/model/markdown-table.ts';

/** What is used here of a JSON Schema. */
interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema | false;
  readonly prefixItems?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
}

const INTRODUCTION = `# The JSON documents

With \`--json\` a command prints exactly one JSON document to standard output, and exits with the same code as without it.
This page is made from the schemas in \`schema/\` (\`npm run docs\`); the package holds them, so that a program can check
what it reads.

- A number that JSON has no sign for is one of the strings \`"NaN"\`, \`"Infinity"\` and \`"-Infinity"\`, wherever this page
  says *number*. Where it says *finite number* or *whole number*, it never is one.
- A value that is missing is \`null\`. A member that is *optional* may be left out.
- \`schemaVersion\` is \`MAJOR.MINOR\`. Within a major version, members are added and none is removed or changes its
  meaning: ignore what you do not know. Reports of 1.x and 2.x are read too: the former have no
  account, cause or remedies, the latter no coverage, proofs, job or audit, and an older form of
  \`comparison\`. Those of a later major version are refused.
- Names of series, tensors, files and runs are untrusted text, as found in the inputs.
- A command that fails before it has a document prints one with \`error\` alone.`;

/** Who prints what, in the order of the page. */
const PRINTED_BY: Readonly<Record<string, string>> = {
  report: '`analyze`, `gate`, `watch`, `report`, and `--report json:FILE`',
  brief: '`analyze`, `gate` and `report` with `--brief`',
  inspect: '`inspect`',
  diff: '`inspect --diff`',
  compare: '`compare`',
  bisect: '`bisect`',
  replay: '`replay`',
  curvature: '`curvature`',
  matrix: '`matrix CAPTURE`',
  study: '`matrix STUDY.yaml`, `matrix merge`',
  chart: '`chart`',
  baseline: '`baseline update`, `baseline show`',
  pages: '`explain`',
  page: '`explain ID`',
  init: '`init`',
  worker: '`matrix worker`',
  check: '`inspect --check`',
  audit: '`audit`',
  resume: '`resume`',
  preflight: '`preflight`',
  strip: '`strip-batches`',
  who: '`who`',
  donate: '`donate`',
  teach: '`teach`',
  tokens: '`inspect --tokens`',
  error: 'every command that fails',
};

const nameOf = (ref: string): string => ref.slice('#/$defs/'.length);
const isNull = (schema: Schema): boolean => schema.type === 'null';

/** The type of a value, in words. */
function typeText(schema: Schema): string {
  if (schema.$ref !== undefined) {
    const name = nameOf(schema.$ref);
    return name === 'number' ? 'number' : `[${name}](#${name.toLowerCase()})`;
  }
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((one) => `\`${JSON.stringify(one)}\``).join(' | ');
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeText).join(' or ');
  if (schema.prefixItems !== undefined) return `[${schema.prefixItems.map(typeText).join(', ')}]`;
  if (typeof schema.type !== 'string')
    return (schema.type ?? []).map((type) => typeText({ ...schema, type })).join(' or ');
  switch (schema.type) {
    case 'array':
      return `list of ${typeText(schema.items as Schema)}`;
    case 'object':
      return typeof schema.additionalProperties === 'object'
        ? `object of ${typeText(schema.additionalProperties)} by name`
        : 'object';
    case 'integer':
      return 'whole number';
    case 'number':
      return 'finite number';
    case 'string':
      return 'text';
    case 'boolean':
      return 'true or false';
    case 'null':
      return 'null';
    default:
      throw new Error(`a schema that the page cannot tell: ${JSON.stringify(schema)}`);
  }
}

/** An object whose members are told where it is used: the schema itself, or what is in a list or beside null. */
function inlined(schema: Schema, path: string): readonly [Schema, string] | undefined {
  if (schema.properties !== undefined) return [schema, path];
  if (schema.type === 'array' && schema.items) return inlined(schema.items, `${path}[]`);
  const rest = schema.anyOf?.filter((one) => !isNull(one)) ?? [];
  return rest.length === 1 ? inlined(rest[0]!, path) : undefined;
}

/** One row a member; those of objects without a name follow, with their path. */
function rowsOf({ properties = {}, required = [] }: Schema, prefix = ''): string[][] {
  return Object.entries(properties).flatMap(([name, member]) => {
    const path = `${prefix}${name}`;
    const inner = inlined(member, path);
    if (member.description === undefined && member.$ref === undefined)
      throw new Error(`the schema does not say what ${path} means`);
    return [
      [
        `\`${path}\``,
        typeText(member) + (required.includes(name) ? '' : ', optional'),
        member.description ?? `See [${nameOf(member.$ref!)}](#${nameOf(member.$ref!).toLowerCase()}).`,
      ],
      ...(inner === undefined ? [] : rowsOf(inner[0], `${inner[1]}.`)),
    ];
  });
}

const tableOf = (schema: Schema): string =>
  markdownTable(
    ['member', 'type', 'meaning'],
    rowsOf(schema).map((row) => row.map(inCell)),
  ).join('\n');

/** The page, from the published schemas by name. */
export function jsonPage(schemas: Readonly<Record<string, Schema>>): string {
  const shared = new Map<string, Schema>();
  for (const { $defs = {} } of Object.values(schemas))
    for (const [name, schema] of Object.entries($defs)) if (name !== 'number') shared.set(name, schema);
  const parts = [
    INTRODUCTION,
    markdownTable(
      ['document', 'printed by', 'schema'],
      Object.keys(schemas).map((name) => [
        `[${name}](#${name}-document)`,
        PRINTED_BY[name]!,
        `\`schema/${name}.schema.json\``,
      ]),
    ).join('\n'),
    ...Object.entries(schemas).flatMap(([name, schema]) => [
      `## ${name} document`,
      schema.description!,
      tableOf(schema),
    ]),
    '# Shared forms',
    ...[...shared]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([name, schema]) => [`## ${name}`, schema.description!, tableOf(schema)]),
  ];
  return `${parts.join('\n\n')}\n`;
}
