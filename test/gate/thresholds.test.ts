import { readFileSync } from 'node:fs';
import { transform } from 'esbuild';
import { expect, test } from 'vitest';
import * as thresholds from '../../src/app/gate/thresholds.ts';
import type { SeriesStatistics } from '../../src/model/report.ts';

test('reads thresholds as k6 writes them', () => {
  const read = thresholds.parseThreshold;
  expect(read('p95(grad_norm) < 5')).toEqual({
    statistic: 'p95',
    metric: 'grad_norm',
    operator: '<',
    limit: 5,
  });
  expect(read(' last( "lm loss (ema)" )>=-1.5e-3')).toEqual({
    statistic: 'last',
    metric: 'lm loss (ema)',
    operator: '>=',
    limit: -0.0015,
  });
  expect(read('max(f(x)) <= .5')).toMatchObject({ metric: 'f(x)', limit: 0.5 });
  expect(read('loss-spike')).toBeUndefined();
});

test.each([
  ['p97(loss) < 1', /no statistic/],
  ['last(loss) < NaN', /no finite number/],
  ['last(loss) < Infinity', /no finite number/],
  ['last(loss) < 1e999', /no finite number/],
  ['last(loss) < 0x10', /no finite number/],
  ['last(loss) <', /expected/],
  ['last() < 1', /expected/],
  ['last(loss) =< 1', /expected/],
  ['last(loss)', /expected/],
])('refuses %s', (text, problem) => {
  expect(thresholds.parseThreshold(text)).toMatch(problem);
});

test('takes names up to 1,000 characters in all', () => {
  const text = (length: number): string => `last(${'x'.repeat(length - 10)}) < 1`;
  expect(text(1000)).toHaveLength(1000);
  expect(thresholds.parseThreshold(text(1000))).toMatchObject({ metric: 'x'.repeat(990) });
  expect(thresholds.parseThreshold(text(1001))).toBe('it is longer than 1000 characters');
});

/** What the comparisons of the gate must do, at every boundary. Also run against the mutants below. */
function check(module: typeof thresholds): string[] {
  const wrong: string[] = [];
  const is = (what: string, found: unknown, expected: unknown): void => {
    if (!Object.is(found, expected)) wrong.push(`${what}: ${String(found)} instead of ${String(expected)}`);
  };
  // below, at, above the limit
  const table = {
    '<': [true, false, false],
    '<=': [true, true, false],
    '>': [false, false, true],
    '>=': [false, true, true],
    '==': [false, true, false],
    '!=': [true, false, true],
  } as const;
  for (const [operator, expected] of Object.entries(table) as [thresholds.Operator, readonly boolean[]][]) {
    [1, 2, 3].forEach((value, i) => {
      is(`${value} ${operator} 2`, module.holds(value, operator, 2), expected[i]);
    });
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      is(`${odd} ${operator} 2`, module.holds(odd, operator, 2), false);
      is(`2 ${operator} ${odd}`, module.holds(2, operator, odd), false);
    }
  }
  for (const statistic of module.STATISTICS)
    for (const operator of module.OPERATORS) {
      const good =
        statistic === 'first' ||
        (['max', 'count', 'nan', 'missing', 'refused'].includes(statistic) &&
          ['<', '<='].includes(operator)) ||
        (statistic === 'min' && ['>', '>='].includes(operator));
      is(`${statistic} ${operator} fails for good`, module.failsForGood({ statistic, operator }), good);
    }
  is('window touched at its start', module.touches(1, 5, 5, 9), true);
  is('window touched at its end', module.touches(9, 12, 5, 9), true);
  is('before the window', module.touches(1, 4, 5, 9), false);
  is('after the window', module.touches(10, 12, 5, 9), false);
  const tolerance = { absolute: 0.5, relative: 0.25 };
  is('lower, at the tolerance', module.isWorse(3, 2, 'lower', tolerance), false);
  is('lower, above the tolerance', module.isWorse(3.001, 2, 'lower', tolerance), true);
  is('higher, at the tolerance', module.isWorse(1, 2, 'higher', tolerance), false);
  is('higher, below the tolerance', module.isWorse(0.999, 2, 'higher', tolerance), true);
  is('lower, negative base', module.isWorse(-1, -2, 'lower', tolerance), false);
  is('lower, negative base, worse', module.isWorse(-0.999, -2, 'lower', tolerance), true);
  is('NaN is worse', module.isWorse(Number.NaN, 2, 'lower', tolerance), true);
  is('than NaN too', module.isWorse(2, Number.NaN, 'higher', tolerance), true);
  is('steps from 0', module.stepsDone(0, 999, 1), 1000);
  is('steps from 1', module.stepsDone(1, 1000, 1), 1000);
  is('every hundredth', module.stepsDone(0, 900, 100), 1000);
  is('resumed', module.stepsDone(5000, 6000, 1), 6000);
  is('complete', module.isComplete(1000, 1000), true);
  is('not complete', module.isComplete(999, 1000), false);
  is('unknown steps', module.isComplete(Number.NaN, 1000), false);
  const whole: SeriesStatistics = {
    points: 4,
    nan: 0,
    posInf: 0,
    negInf: 0,
    missing: 20,
    refused: 21,
    first: 11,
    last: 12,
    lastStep: 4,
    min: 13,
    max: 14,
    mean: 15,
    p50: 16,
    p90: 17,
    p95: 18,
    p99: 19,
  };
  const of = (change: Partial<SeriesStatistics>, statistic: thresholds.Statistic): number | undefined =>
    module.statisticOf({ ...whole, ...change }, statistic);
  for (const statistic of module.STATISTICS) {
    const expected = statistic === 'count' ? 4 : statistic === 'nan' ? 0 : whole[statistic];
    is(statistic, of({}, statistic), expected);
    const counts = statistic === 'missing' || statistic === 'refused';
    is(
      `${statistic} of nothing`,
      of({ points: 0 }, statistic),
      statistic === 'count' ? 0 : counts ? expected : undefined,
    );
    for (const odd of ['nan', 'posInf', 'negInf'] as const)
      is(
        `${statistic} with ${odd}`,
        of({ [odd]: 1 }, statistic),
        counts || statistic === 'count' || statistic === 'first' || statistic === 'last'
          ? expected
          : statistic === 'nan'
            ? 1
            : Number.NaN,
      );
    if (['min', 'max', 'mean', 'p50', 'p90', 'p95', 'p99'].includes(statistic))
      is(`${statistic} of null`, of({ [statistic]: null }, statistic), Number.NaN);
  }
  for (const statistic of ['missing', 'refused'] as const) {
    const { [statistic]: _, ...without } = whole;
    is(`${statistic} that is not told`, module.statisticOf(without, statistic), undefined);
  }
  is('all kinds of non-finite', of({ nan: 1, posInf: 2, negInf: 3 }, 'nan'), 6);
  return wrong;
}

test('compares right at every boundary and fails on what is not finite', () => {
  expect(check(thresholds)).toEqual([]);
});

test('every mutation of a comparison is noticed', async () => {
  const source = readFileSync(new URL('../../src/app/gate/thresholds.ts', import.meta.url), 'utf8');
  const start = source.indexOf('/** Whether `value operator limit` holds');
  expect(start).toBeGreaterThan(0);
  const mutations: readonly (readonly [RegExp, readonly string[]])[] = [
    [/ <= /g, [' < ', ' >= ']],
    [/ < /g, [' <= ', ' > ']],
    [/ >= /g, [' > ', ' <= ']],
    [/ > /g, [' >= ', ' < ']],
    [/ === /g, [' !== ']],
    [/ !== /g, [' === ']],
    [/ && /g, [' || ']],
    [/ \|\| /g, [' && ']],
    [/ \+ /g, [' - ']],
    [/ - /g, [' + ']],
    [/ \* /g, [' / ']],
    [/!(?=Number|holds)/g, ['']],
    [/return true/g, ['return false']],
    [/return false/g, ['return true']],
    [/Math\.max/g, ['Math.min']],
    [/Math\.abs/g, ['']],
  ];
  const load = async (text: string, tag: number): Promise<typeof thresholds> => {
    const { code } = await transform(text, { loader: 'ts', format: 'esm' });
    const url = `data:text/javascript,${encodeURIComponent(code)}#${tag}`;
    return (await import(/* @vite-ignore */ url)) as typeof thresholds;
  };
  // The file itself passes when it is loaded in the same way: what kills a mutant is its mutation.
  expect(check(await load(source, 0))).toEqual([]);
  const survivors: string[] = [];
  let count = 0;
  for (const [pattern, replacements] of mutations)
    for (const match of source.matchAll(pattern)) {
      const line = source.slice(source.lastIndexOf('\n', match.index) + 1, source.indexOf('\n', match.index));
      if (match.index < start || /^\s*(\*|\/[/*])/.test(line)) continue;
      for (const replacement of replacements) {
        count++;
        const mutant = `${source.slice(0, match.index)}${replacement}${source.slice(match.index + match[0].length)}`;
        if (check(await load(mutant, count)).length === 0)
          survivors.push(`${match[0]} → ${replacement} in: ${line.trim()}`);
      }
    }
  expect(survivors).toEqual([]);
  expect(count).toBeGreaterThan(40);
});
