/**
 * JSON that keeps non-finite numbers: NaN, Infinity and -Infinity are written as the strings "NaN", "Infinity",
 * "-Infinity" (plain `JSON.stringify` turns them into null, which here means "missing"). Typed arrays are written
 * as arrays, Maps as objects (own keys only, `__proto__` included), undefined members are left out.
 */
import { isPacked } from './column.ts';
import { inertJson } from './inert-text.ts';

export type JsonNumber = number | 'NaN' | 'Infinity' | '-Infinity';

/** A number as our JSON documents have it. */
export const numberToJson = (value: number): JsonNumber =>
  Number.isFinite(value) ? value : Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';

/** The number that {@link numberToJson} wrote; undefined for anything else. */
export const numberFromJson = (value: unknown): number | undefined =>
  typeof value === 'number'
    ? value
    : value === 'NaN'
      ? Number.NaN
      : value === 'Infinity'
        ? Number.POSITIVE_INFINITY
        : value === '-Infinity'
          ? Number.NEGATIVE_INFINITY
          : undefined;

/** Whether a value that was parsed from JSON is an object: neither null nor a list. */
export const isJsonObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const replacer = (_key: string, value: unknown): unknown => {
  if (typeof value === 'number') return numberToJson(value);
  if (typeof value === 'bigint') return value.toString();
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as Float64Array);
  if (isPacked(value)) return [...value];
  if (value instanceof Map) {
    const object: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const [key, member] of value) object[String(key)] = member;
    return object;
  }
  return value;
};

/**
 * Serialises a document; `indent` 2 for people, 0 for one line.
 *
 * A CI server that reads `##[` or `##vso[` in the output of a job takes it for a command, also inside of JSON: the
 * second of two `#` is written as its code, which means the same. So are characters that steer a terminal.
 */
export const toJson = (document: unknown, indent = 2): string =>
  inertJson(JSON.stringify(document, replacer, indent)).replaceAll('##', '#\\u0023');
