/** Objects in a model file. */

import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { parseUniqueJson } from '../../model/unique-json.ts';

/**
 * @param what the part of the file that the text is ("the model")
 * @throws model-invalid, limit-exceeded
 */
export const parseModelJson = (text: string, path: string, what: string, maxDepth: number): unknown =>
  parseUniqueJson({ text, path, what, maxDepth }, ({ problem, cause }) =>
    diagError(
      'model-invalid',
      { place: 'the file', expected: `JSON in which no key occurs twice (${problem})` },
      { path },
      cause,
    ),
  );

/**
 * The value as an object of known fields. One that is not known is a slip that would change the numbers: "wieght" would
 * be a weight of 1.
 *
 * @param place of the value in the file, and `placeOf` that of a field of it
 * @throws model-invalid
 */
export function objectOf(
  value: unknown,
  place: string,
  fields: readonly string[],
  path: string,
  placeOf: (field: string) => string,
): Record<string, unknown> {
  if (!isJsonObject(value)) throw diagError('model-invalid', { place, expected: 'an object' }, { path });
  const unknown = Object.keys(value).find((key) => !fields.includes(key));
  if (unknown !== undefined) {
    const expected = `one of the fields ${fields.join(', ')}`;
    throw diagError('model-invalid', { place: placeOf(unknown), expected }, { path });
  }
  return value;
}
