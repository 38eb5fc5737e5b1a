/** The only matcher of patterns with wildcards: names of runs and series, files, parameters of a model, blocks. */
import { diagError } from './errors.ts';

/** What the wildcards of a pattern match. */
export interface GlobSyntax {
  /** Letters that `*` and `?` never match. */
  readonly stops: string;
  /** Fewest letters that `*` matches. */
  readonly least: 0 | 1;
  /** Whether `?` (one letter) and `**` (any letters at all) are wildcards too. */
  readonly paths: boolean;
}

/** How much matching may cost, and did: one step is one token of a pattern against one letter of a name. */
export interface GlobWork {
  steps: number;
  readonly limit: number;
  /** Where the patterns are, for messages. */
  readonly path?: string;
}

/** A second of work and 200 MB at most: far above real names and patterns. */
const MAX_STEPS = 2e8;

/** A budget for many matches together. */
export const globWork = (path?: string): GlobWork => ({
  steps: 0,
  limit: MAX_STEPS,
  ...(path === undefined ? {} : { path }),
});

/** A letter, or what a wildcard matches. */
type Token = string | Wildcard;
interface Wildcard {
  readonly least: 0 | 1;
  readonly most: number;
  readonly stops: string;
  /** Matches nothing, or what ends in `/`. */
  readonly folders?: true;
}

/** Whether the text has wildcards at all. */
export const isGlob = (pattern: string): boolean => /[*?]/.test(pattern);

const PATHS: GlobSyntax = { stops: '/', least: 0, paths: true };

/**
 * Whether a name matches a glob as a whole: `*` matches any characters but `/`, `?` one of them, `**` any
 * characters at all, `**` with a slash behind it any folders or none; `a/**` matches `a` too.
 *
 * @throws limit-exceeded
 */
export function matchesGlob(name: string, pattern: string, work = globWork()): boolean {
  let folder = pattern;
  while (folder.endsWith('/**')) folder = folder.slice(0, -3);
  return [...new Set([pattern, folder])].some((one) => starsOf(name, one, PATHS, work) !== null);
}

function tokensOf(pattern: string, { stops, least, paths }: GlobSyntax): Token[] {
  const any = { least: 0, most: Number.POSITIVE_INFINITY, stops: '' } as const;
  const pieces = pattern.match(paths ? /\*\*\/?|[\s\S]/gu : /[\s\S]/gu) ?? [];
  return pieces.map((piece): Token => {
    if (piece === '*') return { ...any, least, stops };
    if (!paths) return piece;
    if (piece === '?') return { least: 1, most: 1, stops };
    if (piece === '**') return any;
    return piece === '**/' ? { ...any, folders: true } : piece;
  });
}

/**
 * What each wildcard of a pattern matches in a name that matches it as a whole: the first takes as much as it can,
 * then the second; null where the name does not match.
 *
 * Time grows with pattern × name. A regular expression would backtrack without bound on `*a*a*a*…`, and both texts
 * may come from strangers.
 *
 * @throws limit-exceeded before it would cost more than is left of `work`
 */
export function starsOf(
  name: string,
  pattern: string,
  syntax: GlobSyntax,
  work = globWork(),
): string[] | null {
  let letters = [...name];
  let tokens = tokensOf(pattern, syntax);
  // Most names differ from most patterns at one of the ends.
  const same = (token: Token | undefined, letter: string | undefined): boolean => {
    work.steps++;
    return token !== undefined && token === letter;
  };
  let start = 0;
  while (same(tokens[start], letters[start])) start++;
  let end = 0;
  const rest = Math.min(tokens.length, letters.length) - start;
  while (end < rest && same(tokens.at(-1 - end), letters.at(-1 - end))) end++;
  letters = letters.slice(start, letters.length - end);
  tokens = tokens.slice(start, tokens.length - end);
  if (tokens.length === 0) return letters.length === 0 ? [] : null;
  if (typeof tokens[0] === 'string' || typeof tokens.at(-1) === 'string') return null;
  return matchBetween(letters, tokens, work);
}

/** As {@link starsOf}, where the pattern begins and ends with a wildcard. */
function matchBetween(letters: readonly string[], tokens: readonly Token[], work: GlobWork): string[] | null {
  const width = letters.length + 1;
  const cost = tokens.length * width;
  if (work.steps + cost > work.limit)
    throw diagError(
      'limit-exceeded',
      {
        what: 'the number of steps to match patterns with names',
        found: work.steps + cost,
        limit: work.limit,
        hint: 'use fewer or shorter patterns',
      },
      work.path === undefined ? undefined : { path: work.path },
    );
  // rests[t][i]: the tokens from t on match the letters from i on. Kept where they are behind a wildcard.
  const rests: Uint8Array[] = [];
  let rest = new Uint8Array(width);
  rest[letters.length] = 1;
  for (let t = tokens.length - 1; t >= 0; t--) {
    if (typeof tokens[t] !== 'string') rests[t + 1] = rest;
    rest = withBefore(letters, tokens[t]!, rest);
    work.steps += width;
  }
  if (rest[0] !== 1) return null;
  const stars: string[] = [];
  let from = 0;
  for (const [t, token] of tokens.entries()) {
    let to = from + 1;
    if (typeof token !== 'string') {
      to = from;
      while (to - from < token.most && to < letters.length && !token.stops.includes(letters[to]!)) to++;
      while (rests[t + 1]![to] !== 1 || (token.folders && to > from && letters[to - 1] !== '/')) to--;
      stars.push(letters.slice(from, to).join(''));
    }
    from = to;
  }
  return stars;
}

/** For each place in the letters, whether a token and then the rest match what follows it. */
function withBefore(letters: readonly string[], token: Token, rest: Uint8Array): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(rest.length);
  // Whether a wildcard that matches at least one letter could begin at the place after this one.
  let going = 0;
  if (typeof token !== 'string' && token.least === 0) next[letters.length] = rest[letters.length]!;
  for (let i = letters.length - 1; i >= 0; i--) {
    const letter = letters[i]!;
    if (typeof token === 'string') next[i] = letter === token ? rest[i + 1]! : 0;
    else {
      const ends = token.folders && letter !== '/' ? 0 : rest[i + 1]!;
      going = token.stops.includes(letter) ? 0 : ends | (token.most > 1 ? going : 0);
      next[i] = going | (token.least === 0 ? rest[i]! : 0);
    }
  }
  return next;
}
