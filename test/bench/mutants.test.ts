/** What the mutation run changes, and what it leaves alone. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mutantsOf, withMutant } from '../../bench/mutation/mutants.ts';
import { NAMED, toMutant } from '../../bench/mutation/named.ts';
import { projectRoot } from '../support/shared-data.ts';

const mutationsOf = (source: string): readonly string[] =>
  mutantsOf(source).map((mutant) => withMutant(source, mutant));

describe('mutants', () => {
  it.each([
    ['const FALL = 3;', ['const FALL = 6;', 'const FALL = 1.5;']],
    ['const least = 1e-6;', ['const least = 0.001;', 'const least = 9.999999999999999e-10;']],
    ['const share = 1;', ['const share = 0;', 'const share = 2;']],
    ['f(a < b);', [';', 'f(a <= b);', 'f(a >= b);']],
    ['const x = a === b;', ['const x = a !== b;']],
    ['const x = a + b;', ['const x = a - b;']],
    ['const x = (a / b) ** c;', ['const x = (a * b) ** c;', 'const x = (a / b) * c;']],
    ['const x = a && b;', ['const x = a || b;']],
    ['const x = a ?? b;', ['const x = a;']],
    ['const x = !a;', ['const x = a;']],
    ['const x = a ? b : c;', ['const x = true ? b : c;', 'const x = false ? b : c;']],
    ['const x = Math.max(...a);', ['const x = Math.min(...a);']],
    ['const x = Math.abs(a);', ['const x = (a);']],
    ['const x = a.filter(f);', ['const x = a;']],
    ['const x = [...a, b];', ['const x = [...[], b];']],
    ['switch (a) { case b: }', ['switch (a) { case Symbol(): }']],
  ])('of %s', (source, expected) => {
    expect(mutationsOf(source)).toEqual(expected);
  });

  it.each([
    "const message = 'a' + b;",
    'const text = `$' + '{a} is 3`;',
    "import { a } from './a.ts';",
    'type T = 1 | 2;',
    'interface I { a: 1 }',
    'const rule = { docs: { values: 3 } };',
    'const x = a as 1;',
  ])('none of %s', (source) => {
    expect(mutationsOf(source)).toEqual([]);
  });

  it('leave the step of a loop alone, which would only never end', () => {
    expect(mutationsOf('for (let i = 0; i < n; i++) f();')).toEqual([
      'for (let i = 1; i < n; i++) f();',
      'for (let i = 0; i <= n; i++) f();',
      'for (let i = 0; i >= n; i++) f();',
      'for (let i = 0; i < n; i++) ;',
    ]);
  });

  it('say the line and the change', () => {
    expect(mutantsOf('// η ≤ 2\nif (norm > limit)\n  act();')[2]).toMatchObject({
      line: 2,
      text: 'if (norm > limit)',
      change: 'norm > limit → norm >= limit',
    });
  });
});

describe('mutants that were once found alive', () => {
  it.each(NAMED)('$file: $text stands there, and a test is named', (named) => {
    expect(toMutant(named).line).toBeGreaterThan(0);
    expect(existsSync(join(projectRoot, 'test', `${named.tests}.test.ts`))).toBe(true);
  });
});
