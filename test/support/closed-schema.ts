/** A published schema that allows no member which it does not name, read by a validator that is not ours. */
import { Ajv2020 } from 'ajv/dist/2020.js';

type Schema = { readonly [key: string]: unknown };

const closed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.fromEntries(Object.entries(value).map(([key, member]) => [key, closed(member)]));
  return (value as Schema).type === 'object' && (value as Schema).properties !== undefined
    ? { ...members, additionalProperties: false }
    : members;
};

/** Says what is wrong with a document, as text; null of one that the schema allows and names every member of. */
export function closedValidator(schema: object): (document: unknown) => string | null {
  const ajv = new Ajv2020({ allErrors: true });
  const validate = ajv.compile(closed(schema) as Schema);
  return (document) =>
    validate(document)
      ? null
      : [
          ...new Set(
            validate.errors!.map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`),
          ),
        ]
          .slice(0, 10)
          .join('\n');
}
