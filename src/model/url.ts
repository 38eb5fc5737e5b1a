/** Words of a command line that name something behind a URL. */

/** Whether a word is a URL. `C:\\run` is a path: a scheme has two letters at least, and `://` follows it. */
export const isUrl = (word: string): boolean => /^[a-z][a-z0-9+.-]+:\/\//i.test(word);

/** A URL as it may be shown: without user, password, query and fragment, any of which may be a secret. */
export const withoutSecrets = (url: string): string =>
  url.replace(/[?#].*$/s, '').replace(/^([^:/]*:\/\/)[^/]*@/, '$1');
