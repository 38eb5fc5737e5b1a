/** The list of functions that were too large when the limits came: it may shrink, and nothing may join it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareDebt, editorRules, listed, oversizedOf, shrunk } from '../../build/complexity.ts';
import { projectRoot } from '../support/shared-data.ts';

const debt = (file: string, complexity: number[], lines: number[] = []) =>
  new Map([[file, { complexity, lines }]]);
const diagnostic = (rule: string, message: string) => ({
  category: `lint/complexity/${rule}`,
  message,
  location: { path: 'src\\a.ts' },
});

describe('what Biome prints', () => {
  it('becomes sizes by file, the largest first', () =>
    expect(
      oversizedOf([
        diagnostic('noExcessiveCognitiveComplexity', 'Excessive complexity of 31 detected (max: 30).'),
        diagnostic('noExcessiveCognitiveComplexity', 'Excessive complexity of 44 detected (max: 30).'),
        diagnostic(
          'noExcessiveLinesPerFunction',
          'This function has too many lines (100). Maximum allowed is 80.',
        ),
        diagnostic('useMathMinMax', 'another rule 7'),
      ]),
    ).toEqual(debt('src/a.ts', [44, 31], [100])));

  it('must have a size: without one nothing would ever be too large', () =>
    expect(() => oversizedOf([diagnostic('noExcessiveLinesPerFunction', 'too many lines')])).toThrow(
      /no size/,
    ));
});

describe('the list', () => {
  const allowed = debt('src/a.ts', [44, 31]);
  it.each([
    ['as listed', debt('src/a.ts', [44, 31]), 0, 0],
    ['one that grew', debt('src/a.ts', [45, 31]), 1, 0],
    ['one more', debt('src/a.ts', [44, 31, 31]), 1, 0],
    ['one of another kind', debt('src/a.ts', [44, 31], [81]), 1, 0],
    ['another file', new Map([...allowed, ...debt('src/b.ts', [31])]), 1, 0],
    ['one that shrank', debt('src/a.ts', [44]), 0, 1],
    ['one that shrank while another grew', debt('src/a.ts', [60]), 1, 0],
    ['nothing left', new Map(), 0, 1],
  ])('%s', (_what, found, grown, paid) => {
    const differs = compareDebt(allowed, found);
    expect([differs.grown.length, differs.paid.length]).toEqual([grown, paid]);
  });

  it('never takes in what grew when it is lowered', () => {
    expect(shrunk(allowed, debt('src/a.ts', [60]))).toEqual(debt('src/a.ts', [44]));
    expect(shrunk(allowed, new Map())).toEqual(new Map());
    expect(shrunk(allowed, debt('src/b.ts', [60]))).toEqual(new Map());
  });

  it('names files that are there, and Biome leaves out just these', () => {
    const paths = [...listed().keys()];
    for (const path of paths) expect(existsSync(join(projectRoot, path)), path).toBe(true);
    expect(readFileSync(join(projectRoot, 'build/complexity-biome.json'), 'utf8')).toBe(editorRules(paths));
  });
});
