/**
 * No regular expression of the sources costs more than a few times the length of its text: names and lines come from
 * strangers. Worst cases are made from each expression, and the steps of a backtracking matcher counted; in the long run of
 * all files, in the short one of those that read logs.
 */
import { describe, expect, it } from 'vitest';
import { LAYOUTS } from '../src/read/logs/printed-layouts.ts';
import {
  type FoundPattern,
  literalPatterns,
  madePatterns,
  makesPatterns,
  sourceFiles,
} from './support/regexp-sources.ts';
import { searchSteps, superlinearCase, textOf, worstCases } from './support/regexp-steps.ts';

/** Those that do cost more, each with what bounds its text. */
const BOUNDED: Readonly<Record<string, string>> = {
  '(file:\\/\\/[^\\s)]+?|\\/[^\\s():]+):(\\d+)(?::\\d+)?\\)?$':
    'a line of a stack that V8 writes, in the process of the user’s own model',
  '^\\s*([a-z]\\w*)\\s*\\(\\s*(.+?)\\s*\\)\\s*(<=|>=|==|!=|<|>)\\s*(\\S+)\\s*$':
    'at most 1,000 characters (gate/thresholds.ts)',
  '^(?:\\w+\\.)?(?:tensor|array|devicearray|b?float(?:16|32|64)?|double)\\(\\s*(\\[*)\\s*([^[\\](),\\s]+(?:\\(\\w*\\))?)\\s*\\]*\\s*(?:,\\s*[a-z]\\w*=.*)?\\)$':
    'at most 200 characters (LONGEST_NUMBER)',
  '\\.?0*e': 'the digits of one number, written here',
  '\\B(?=(?:\\d{3})+$)': 'the digits of one whole number below 2^53, written here',
};

const long = process.env.CLIPPY_DIAG_FUZZ !== undefined;
const files = sourceFiles().filter(
  (file) =>
    long || file.startsWith('read/logs/') || file.startsWith('read/job/') || file === 'model/inert-text.ts',
);

const found = async (): Promise<FoundPattern[]> => {
  const all: FoundPattern[] = [];
  for (const file of files) {
    all.push(...literalPatterns(file));
    if (makesPatterns(file)) all.push(...(await madePatterns(file)));
  }
  return all;
};

describe('the matcher that counts', () => {
  it.each<[string, RegExp, string]>([
    ['exponential', /^(?:a+)+$/, 'a'],
    ['two that share their characters', /^x\s*\s*y/, ' '],
    ['a search that begins anew at each digit', /\d+$/, '0'],
    ['the same behind a start that repeats', /task\/.*\/loss$/, 'task/'],
    ['digits before and after a point that may be missing', /^\d+\.?\d*$/, '0'],
    ['a line separator that ends what . takes', /step (?<step>\d+)(?<body>.*)$/, '0'],
  ])('finds %s: %s', (_, pattern, pump) => {
    expect(superlinearCase(pattern)?.pump).toBe(pump);
  });

  it.each([
    /^\s*y/,
    /^\d+(?:\.\d*)?$/,
    /"(?:[^"\\]|\\.)*"/,
    /(?<!\d)\d+$/,
    /step (?<step>\d+)(?<body>.*)$/s,
    /a{0,9}b/,
  ])('is content with %s', (pattern) => {
    expect(superlinearCase(pattern)).toBeUndefined();
  });

  it('counts steps of one search', () => {
    expect(searchSteps(/^aab/)('aaa').steps).toBe(3 + 4);
  });
});

describe('regular expressions of the sources', () => {
  it('are found: literals, and those that modules make', async () => {
    const all = await found();
    const sources = new Set(all.map(({ pattern }) => pattern.source));
    for (const { line } of LAYOUTS) expect(sources).toContain(line.source);
    // The pairs of Keras are put together of parts.
    expect(all.filter(({ file, line }) => file === 'read/logs/keras-bars.ts' && line === 0)).toHaveLength(1);
    expect(all.length).toBeGreaterThan(long ? 290 : 100);
  });

  it('take steps in proportion to their text, or it is bounded', async () => {
    const wrong: string[] = [];
    for (const { file, line, pattern } of await found()) {
      const cases = worstCases(pattern);
      const search = searchSteps(pattern);
      const own = new RegExp(pattern.source, pattern.sticky ? pattern.flags : pattern.flags.replace('g', ''));
      for (const one of cases) {
        // What is counted is the search that V8 does: it finds the same.
        const text = textOf(one, 4);
        own.lastIndex = 0;
        const at = own.exec(text)?.index ?? -1;
        const index = pattern.unicode && at > 0 ? [...text.slice(0, at)].length : at;
        expect(search(text).index, `${pattern} in ${JSON.stringify(text)}`).toBe(index);
      }
      const costly = superlinearCase(pattern, 48, cases);
      if ((costly !== undefined) !== Object.hasOwn(BOUNDED, pattern.source))
        wrong.push(`${file}:${line} ${pattern} ${JSON.stringify(costly)}`);
    }
    expect(wrong).toEqual([]);
  });
});
