/** Globs over names of runs and series. */

/** Whether the text has wildcards at all. */
export const isGlob = (pattern: string): boolean => /[*?]/.test(pattern);

/**
 * Whether a name matches a glob as a whole: `*` stands for any characters but `/`, `**` for any at all, `?` for one
 * that is no `/`; `a/**` matches `a` too.
 *
 * Time grows with pattern × name. A regular expression would backtrack without bound on `*a*a*a*…`, and both texts
 * may come from strangers.
 */
export function matchesGlob(name: string, pattern: string): boolean {
  if (pattern.endsWith('/**') && matchesGlob(name, pattern.slice(0, -3))) return true;
  const tokens = pattern.match(/\*\*\/?|[\s\S]/gu) ?? [];
  const letters = [...name];
  // reached[i]: the tokens so far match the first i letters.
  let reached = new Uint8Array(letters.length + 1);
  reached[0] = 1;
  for (const token of tokens) {
    const next = new Uint8Array(letters.length + 1);
    const any = token.startsWith('**');
    if (any || token === '*') next[0] = reached[0]!;
    for (let i = 1; i <= letters.length; i++) {
      const letter = letters[i - 1]!;
      if (any) next[i] = reached[i]! | next[i - 1]!;
      else if (token === '*') next[i] = reached[i]! | (letter === '/' ? 0 : next[i - 1]!);
      else if (token === '?' ? letter !== '/' : letter === token) next[i] = reached[i - 1]!;
    }
    reached = next;
  }
  return reached[letters.length] === 1;
}
