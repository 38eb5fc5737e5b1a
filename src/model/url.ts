/** Words of a command line that name something behind a URL. */

/** Whether a word is a URL. `C:\\run` is a path: a scheme has two letters at least, and `://` follows it. */
export const isUrl = (word: string): boolean => /^[a-z][a-z0-9+.-]+:\/\//i.test(word);

/** A text without the slashes at its end, in one walk from there. */
export function withoutEndSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === '/') end--;
  return text.slice(0, end);
}

/** A URL as it may be shown: without user, password, query and fragment, any of which may be a secret. */
export const withoutSecrets = (url: string): string =>
  url.replace(/[?#].*$/s, '').replace(/^([^:/]*:\/\/)[^/]*@/, '$1');
