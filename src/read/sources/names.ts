/** Names of objects behind a URL: as paths of this machine, and back in what is shown. */
import { join, sep } from 'node:path';
import { DiagError } from '../../model/errors.ts';
import { withoutEndSlashes } from '../../model/url.ts';
import { lies } from './ranged.ts';

/** A name that a server gives, as a path below the folder of its URL. @throws source-answer */
export function safeName(name: string, shown: string): string {
  const parts = name.split('/');
  const bad = parts.some(
    (part) =>
      part === '' || part === '.' || part === '..' || /[\\\0:]/.test(part) || Buffer.byteLength(part) > 250,
  );
  if (bad || name.length > 2000) throw lies(shown, `"${name.slice(0, 100)}" is not the name of a file`);
  return join(...parts);
}

/** The last part of a URL, as the name of a file. */
export function fileName(shown: string): string {
  const last = withoutEndSlashes(shown).split('/').at(-1) ?? '';
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {}
  return /^[^\\/\0:]{1,200}$/.test(name) && name !== '.' && name !== '..' ? name : 'file';
}

/** Temporary paths in a text, replaced by their URLs. */
function renamedText(text: string, names: readonly (readonly [string, string])[], folder: string): string {
  if (!text.includes(folder)) return text;
  let result = text;
  for (const [path, url] of names)
    result = result.split(path).reduce((before, after) => {
      const rest = sep === '/' || !after.startsWith(sep) ? after : after.replaceAll(sep, '/');
      return before + url + rest;
    });
  return result;
}

/** A value in which every text that names a temporary path names its URL instead. */
export function renamed(
  value: unknown,
  names: readonly (readonly [string, string])[],
  folder: string,
): unknown {
  const again = (one: unknown): unknown => renamed(one, names, folder);
  if (typeof value === 'string') return renamedText(value, names, folder);
  if (value instanceof DiagError)
    return new DiagError(
      value.code,
      again(value.message) as string,
      value.exitCode,
      again(value.where) as typeof value.where,
      again(value.hint) as typeof value.hint,
      value.cause,
    );
  if (Array.isArray(value)) return typeof value[0] === 'number' ? value : value.map(again);
  if (value instanceof Map) return new Map([...value].map(([key, one]) => [again(key), again(one)]));
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [again(key), again(one)]));
  return value;
}
