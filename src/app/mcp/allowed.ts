/** What an agent may have read: the folders and URLs that the user named when the server was started. */
import { resolve } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { isUrl, withoutEndSlashes, withoutSecrets } from '../../model/url.ts';
import { targetOf } from '../../read/bytes/atomic-write.ts';
import { kindOfPath, liesIn } from '../../read/bytes/source.ts';

export interface Allowed {
  /** Folders without links. */
  readonly folders: readonly string[];
  /** Beginnings of URLs, each with a `/` at its end. */
  readonly urls: readonly string[];
}

const notAllowed = (path: string): Error =>
  diagError('path-not-allowed', { path: withoutSecrets(path) }, { path: withoutSecrets(path) });

/** A URL in one spelling: `..` and its encodings are worked out by the URL parser, which knows only some schemes. */
function normalUrl(text: string): string {
  const plain = /^https?:/i.test(text) ? new URL(text).href : text;
  if (/(^|\/)\.{1,2}(\/|$)|%2f|%5c|%2e|\\/i.test(plain.replace(/[?#].*$/s, ''))) throw notAllowed(text);
  return plain;
}

/**
 * Reads `--allow`.
 *
 * @param words folders and beginnings of URLs; the working folder where none is given
 * @throws usage for something else
 */
export async function allowedBy(words: readonly string[]): Promise<Allowed> {
  const folders: string[] = [];
  const urls: string[] = [];
  for (const word of words.length === 0 ? ['.'] : words)
    if (isUrl(word)) urls.push(`${withoutEndSlashes(normalUrl(word).replace(/[?#].*$/s, ''))}/`);
    else if ((await kindOfPath(word)) === 'folder') folders.push(await targetOf(word));
    else
      throw diagError('usage', {
        problem: `--allow ${word} is neither a folder nor a URL`,
        hint: 'name the folder that holds the runs, or the beginning of their URLs',
      });
  return { folders, urls };
}

/** @throws path-not-allowed for a URL that begins with none of the allowed ones, and for a path outside of the folders */
export async function checkAllowed(path: string, { folders, urls }: Allowed): Promise<void> {
  if (isUrl(path)) {
    const plain = `${withoutEndSlashes(normalUrl(path).replace(/[?#].*$/s, ''))}/`;
    if (!urls.some((url) => plain.startsWith(url))) throw notAllowed(path);
    return;
  }
  if (path === '-') throw notAllowed('standard input');
  const real = await targetOf(resolve(path));
  if (!folders.some((folder) => liesIn(folder, real))) throw notAllowed(path);
}
