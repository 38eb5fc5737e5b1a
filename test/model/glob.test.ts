import '../support/seed.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renamed } from '../../src/differentiate/autodiff/parameters.ts';
import { type GlobSyntax, globWork, isGlob, matchesGlob, starsOf } from '../../src/model/glob.ts';

const PATHS: GlobSyntax = { stops: '/', least: 0, paths: true };
const RENAME: GlobSyntax = { stops: './', least: 1, paths: false };
const BLOCK: GlobSyntax = { stops: '', least: 0, paths: false };

/** Tries every length of every wildcard, the longest first. */
function naive(name: string, pattern: string, { stops, least, paths }: GlobSyntax): string[] | null {
  if (pattern === '') return name === '' ? [] : null;
  const [piece] = /^(\*\*\/|\*\*|[\s\S])/.exec(pattern)!;
  const wildcard =
    piece === '*' || !paths ? pattern[0]! : piece === '?' || piece.startsWith('**') ? piece : undefined;
  const used = paths ? piece : pattern[0]!;
  const rest = pattern.slice(used.length);
  const standsFor = (text: string): boolean => {
    if (wildcard === '*') return text.length >= least && ![...text].some((letter) => stops.includes(letter));
    if (wildcard === '?') return text.length === 1 && text !== '/';
    return wildcard === '**' || text === '' || text.endsWith('/');
  };
  if (wildcard === undefined || !/[*?]/.test(wildcard) || (wildcard === '?' && !paths))
    return name.startsWith(used) ? naive(name.slice(used.length), rest, { stops, least, paths }) : null;
  for (let length = name.length; length >= 0; length--) {
    const text = name.slice(0, length);
    const others = standsFor(text) ? naive(name.slice(length), rest, { stops, least, paths }) : null;
    if (others !== null) return [text, ...others];
  }
  return null;
}

const name = fc.string({ unit: fc.constantFrom('a', 'b', '.', '/'), maxLength: 8 });
const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '/', '*', '*', '?'), maxLength: 7 });

describe('starsOf', () => {
  it.each([
    ['paths', PATHS],
    ['rename', RENAME],
    ['block', BLOCK],
  ])('%s: agrees with trying every length', (_, syntax) => {
    fc.assert(
      fc.property(name, pattern, (text, glob) => {
        expect(starsOf(text, glob, syntax)).toEqual(naive(text, glob, syntax));
      }),
      { numRuns: 3000 },
    );
  });

  it('finds a pattern in a name that was made from it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('a', 'b/', '.c', ''), name), { maxLength: 5 }),
        (parts) => {
          const text = parts.map(([letters, star]) => letters + star).join('');
          const stars = starsOf(text, parts.map(([letters]) => `${letters}*`).join(''), BLOCK);
          expect(stars).not.toBeNull();
          expect(parts.map(([letters], i) => letters + stars![i]!).join('')).toBe(text);
        },
      ),
    );
  });

  it('takes a letter beyond 16 bits as one', () => {
    expect(starsOf('a😀b', 'a?b', PATHS)).toEqual(['😀']);
    expect(starsOf('a😀b', 'a??b', PATHS)).toBeNull();
  });
});

describe('matchesGlob', () => {
  it.each([
    ['nightly/**', 'nightly/a/b.csv', true],
    ['nightly/**', 'nightly', true],
    ['nightly/**', 'nightly2/a', false],
    ['**/a.csv', 'x/y/a.csv', true],
    ['**/a.csv', 'a.csv', true],
    ['runs/**/log.csv', 'runs/log.csv', true],
    ['runs/**/log.csv', 'runs/a/b/log.csv', true],
    ['runs/**/log.csv', 'runs/a/oldlog.csv', false],
    ['*/a.csv', 'x/y/a.csv', false],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['[x]', '[x]', true],
    ['a.c', 'abc', false],
    ['ab*ba', 'aba', false],
    ['task/*/loss', 'task/ctr/loss', true],
    ['', '', true],
    ['', 'a', false],
  ])('%s and %s: %s', (glob, text, expected) => {
    expect(matchesGlob(text, glob)).toBe(expected);
  });

  it('knows what has wildcards', () => {
    expect([isGlob('a*'), isGlob('a')]).toEqual([true, false]);
  });
});

describe('what patterns of strangers cost', () => {
  it('grows with pattern × name', () => {
    const work = globWork();
    expect(matchesGlob('a'.repeat(2000), `${'*a'.repeat(500)}*b*`, work)).toBe(false);
    expect(work.steps).toBeLessThan(1005 * 2005);
  });

  it('ten stars of a rename, which a regular expression tries for hours', () => {
    const work = globWork();
    const stars = '*a'.repeat(10);
    const long = 'a'.repeat(60);
    expect(renamed(long, new Map([[`${stars}*b`, 'y']]), work)).toBe(long);
    expect(renamed(long, new Map([[`${stars}*b*`, 'y']]), work)).toBe(long);
    expect(work.steps).toBeLessThan(2 * 25 * 65);
    expect(renamed(long, new Map([[stars, '*/*']]))).toBe(`${'a'.repeat(41)}/a`);
  });

  it('is refused beyond the budget before it is spent', () => {
    const work = globWork('model.json');
    const hostile = `${'*a'.repeat(50_000)}*`;
    expect(() => renamed('a'.repeat(50_000), new Map([[hostile, 'y']]), work)).toThrow(
      expect.objectContaining({ code: 'limit-exceeded', where: { path: 'model.json' } }) as Error,
    );
    expect(work.steps).toBeLessThan(1000);
  });
});
