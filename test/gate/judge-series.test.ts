/** Thresholds of series: what is compared, where it lies, and what is not judged. */
import { describe, expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { judgeThreshold, refusedIn } from '../../src/app/gate/judge-series.ts';
import type { Judgement } from '../../src/app/gate/judgement.ts';
import type { RuleConfig } from '../../src/app/gate/resolve-config.ts';
import { parseThreshold, type Threshold } from '../../src/app/gate/thresholds.ts';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import type { RunReport } from '../../src/model/report.ts';
import type { Run } from '../../src/model/run.ts';
import { chartSeries, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';

const NAN = Number.NaN;
const ruleOf = (id: string, options: object = {}): RuleConfig & { threshold: Threshold } => {
  const rule = gateConfigFrom({ version: 1, rules: { [id]: { severity: 'error', ...options } } }).rules.get(
    id,
  )!;
  return { ...rule, threshold: rule.threshold! };
};
const judge = (
  id: string,
  run: Run,
  options: object = {},
  change: Partial<RunReport> = {},
  points: Run | undefined = run,
): Judgement => judgeThreshold(ruleOf(id, options), makeRunReport(run, change), points);
/** Status, what was compared, its step and its line. */
const inShort = (judgement: Judgement): unknown =>
  'missing' in judgement
    ? judgement.missing
    : [judgement.status, judgement.found, judgement.step, judgement.locations[0]?.line ?? null];

/** Steps 10, 20, … 60 in lines 1 to 6. */
const run = makeRun('r.csv', [
  { ...makeSeries('loss', 'loss', [4, 9, 2, 8, 1, 3], 10), line: Uint32Array.from([1, 2, 3, 4, 5, 6]) },
  makeSeries('val/auc', 'metric', [0.5, 0.6, 0.7], 20),
  makeSeries('val/acc', 'metric', [0.1, 0.2, 0.9], 20),
]);

describe('what is compared, and where it was logged', () => {
  test.each<[string, object, unknown]>([
    ['first(loss) <= 4', {}, ['pass', 4, 10, 1]],
    ['last(loss) <= 3', {}, ['pass', 3, 60, 6]],
    ['last(loss) < 3', {}, ['fail', 3, 60, 6]],
    ['max(loss) <= 9', {}, ['pass', 9, 20, 2]],
    ['min(loss) >= 1', {}, ['pass', 1, 50, 5]],
    // Of no single point: `count` tells the last step, the others none.
    ['count(loss) == 6', {}, ['pass', 6, 60, null]],
    ['mean(loss) == 4.5', {}, ['pass', 4.5, null, null]],
    ['p50(loss) == 3', {}, ['pass', 3, null, null]],
    ['nan(loss) == 0', {}, ['pass', 0, null, null]],
    ['missing(loss) == 0', {}, ['pass', 0, null, null]],
    // In a window of steps, its ends included.
    ['first(loss) <= 9', { from: 20, to: 40 }, ['pass', 9, 20, 2]],
    ['last(loss) <= 8', { from: 20, to: 40 }, ['pass', 8, 40, 4]],
    ['max(loss) <= 9', { from: 20, to: 40 }, ['pass', 9, 20, 2]],
    ['max(loss) <= 8', { from: 21 }, ['pass', 8, 40, 4]],
    ['min(loss) >= 2', { from: 20, to: 40 }, ['pass', 2, 30, 3]],
    ['min(loss) >= 4', { to: 20 }, ['pass', 4, 10, 1]],
    ['count(loss) == 3', { from: 20, to: 40 }, ['pass', 3, 40, null]],
  ])('%s %j', (id, options, found) => {
    expect(inShort(judge(id, run, options))).toEqual(found);
  });

  test('says the rule with its window, and the value', () => {
    const judged = judge('last(loss) < 3', run, { from: 20 });
    expect(judged).toMatchObject({
      expected: 'last(loss) < 3 from step 20 to the last',
      series: 'loss',
      message: 'last(loss) is 3',
      locations: [{ path: 'r.csv', line: 6 }],
    });
    expect(judge('mean(loss) < 9', run)).toMatchObject({ locations: [] });
    expect(judge('last(loss) < 3', run, { to: 60 })).toMatchObject({
      expected: 'last(loss) < 3 from step the first to 60',
    });
    expect(judge('last(loss) < 3', run)).toMatchObject({ expected: 'last(loss) < 3' });
  });

  const odd = makeRun('o.csv', [makeSeries('loss', 'loss', [4, NAN, 2, Number.POSITIVE_INFINITY])]);
  test.each<[string, unknown]>([
    ['max(loss) <= 9', ['fail', NAN, 2, 2]],
    ['min(loss) >= 1', ['fail', NAN, 2, 2]],
    ['mean(loss) < 9', ['fail', NAN, 2, 2]],
    ['nan(loss) <= 1', ['fail', 2, 2, 2]],
    ['first(loss) <= 9', ['pass', 4, 1, 1]],
    ['last(loss) <= 9', ['fail', Number.POSITIVE_INFINITY, 4, 4]],
    ['count(loss) == 4', ['pass', 4, 4, null]],
  ])('of values that are not finite: %s', (id, found) => {
    expect(inShort(judge(id, odd))).toEqual(found);
  });
  test('a value that is not finite says how many there are, and a warning on it is not judged', () => {
    expect(judge('max(loss) <= 9', odd)).toMatchObject({
      message: 'max(loss) is NaN: 2 of 4 values are not finite',
    });
    expect(judge('max(loss) <= 9', odd, { severity: 'warning' })).toMatchObject({ status: 'inconclusive' });
    expect(judge('max(loss) <= 3', run, { severity: 'warning' })).toMatchObject({ status: 'fail' });
    expect(judge('nan(loss) <= 1', odd)).toMatchObject({ message: 'nan(loss) is 2' });
  });
});

describe('which series', () => {
  test('one by its name, before those of a role of that name', () => {
    const both = makeRun('r', [makeSeries('a', 'loss', [1, 1]), makeSeries('loss', 'other', [5, 5])]);
    expect(judge('max(loss) < 9', both)).toMatchObject({ series: 'loss', found: 5 });
    expect(judge('max(metric) < 9', run)).toMatchObject({ status: 'pass', series: 'val/auc' });
  });
  test('a threshold on several must hold on each: the first that fails is told', () => {
    expect(judge('last(val/*) >= 0.8', run)).toMatchObject({ status: 'fail', series: 'val/auc', found: 0.7 });
    expect(judge('last(metric) >= 0.7', run)).toMatchObject({ status: 'pass' });
    expect(judge('last(val/*) <= 0.8', run)).toMatchObject({ status: 'fail', series: 'val/acc', found: 0.9 });
  });
  test('one that is not there is missing, with the nearest', () => {
    expect(judge('max(los) < 1', run)).toEqual({
      missing: 'no series "los"; nearest: loss; found: loss, val/auc, val/acc',
    });
    expect(judge('max(train/*) < 1', run)).toEqual({
      missing: expect.stringMatching(
        /^no series matches "train\/\*"; nearest: .*; found: loss, val\/auc, val\/acc$/,
      ),
    });
    expect(judge('max(qqqqqqqqqq) < 1', makeRun('r', []))).toEqual({
      missing: 'no series "qqqqqqqqqq"; nearest: none; found: none',
    });
  });
  test('one without points is missing, among others too', () => {
    const some = makeRun('r', [makeSeries('a/x', 'metric', [1, 1]), makeSeries('a/y', 'metric', [])]);
    expect(judge('max(a/*) < 5', some)).toEqual({ missing: 'the series a/y has no points' });
  });
});

describe('what is not judged', () => {
  test('a window without a step of the series; a part of it, where a report keeps no points', () => {
    const open = (options: object, points?: Run): unknown => {
      const judged = judgeThreshold(ruleOf('max(loss) < 99', options), makeRunReport(run), points);
      return 'missing' in judged ? judged.missing : [judged.status, judged.message];
    };
    expect(open({ from: 61 }, run)).toEqual([
      'inconclusive',
      'there are steps 10 to 60, and none from step 61 to the last',
    ]);
    expect(open({ from: 60 }, run)).toMatchObject(['pass', expect.any(String)]);
    expect(open({ to: 9 }, run)).toMatchObject(['inconclusive', expect.any(String)]);
    const kept =
      'a saved report keeps no points, so a step window cannot be judged on it; gate the log itself';
    expect(open({ from: 11 })).toEqual(['inconclusive', kept]);
    expect(open({ to: 59 })).toEqual(['inconclusive', kept]);
    // All of the series lies in these.
    expect(open({ from: 10 })).toMatchObject(['pass', expect.any(String)]);
    expect(open({ to: 60 })).toMatchObject(['pass', expect.any(String)]);
    expect(open({ from: 10, to: 60 })).toMatchObject(['pass', expect.any(String)]);
    // A window between two points.
    expect(open({ from: 11, to: 19 }, run)).toEqual([
      'inconclusive',
      'there are steps 10 to 60, and none from step 11 to 19 at which this was logged',
    ]);
  });

  test('a series that ends early, but for a window that ends no later', () => {
    const ended: Partial<RunReport> = {
      series: chartSeries(run).map((one) => ({ ...one, endsEarly: true })),
    };
    const status = (options: object): unknown => inShort(judge('max(loss) < 99', run, options, ended));
    expect(status({})).toEqual(['inconclusive', null, null, null]);
    expect(status({ to: 61 })).toEqual(['inconclusive', null, null, null]);
    expect(status({ to: 60 })).toEqual(['pass', 9, 20, 2]);
    expect(judge('max(loss) < 99', run, {}, ended)).toMatchObject({
      message: 'the series loss ends at step 60 while others go on',
    });
  });

  test('a report that does not say whether a series ends: more than two of its gaps behind another', () => {
    const at = (last: number, every = 10): string => {
      const loss = makeSeries('loss', 'loss', [1, 1, 1], every);
      const other = { ...makeSeries('other', 'other', [1, 1]), step: Float64Array.from([0, last]) };
      const two = makeRun('r', [loss, other]);
      const silent = chartSeries(two).map(({ endsEarly: _, ...one }) => one);
      const judged = judge('max(loss) < 9', two, {}, { series: silent });
      return 'missing' in judged ? 'missing' : judged.status;
    };
    expect([at(50), at(51), at(20), at(10_000, 5000), at(25_001, 5000)]).toEqual([
      'pass',
      'inconclusive',
      'pass',
      'pass',
      'inconclusive',
    ]);
  });
  test('of one point the gap is its step, also below zero; one without points lags behind none', () => {
    const of = (step: number, last: number): string => {
      const loss = { ...makeSeries('loss', 'loss', [1]), step: Float64Array.from([step]) };
      const other = { ...makeSeries('other', 'other', [1]), step: Float64Array.from([last]) };
      const two = makeRun('r', [loss, other, makeSeries('none', 'other', [])]);
      const silent = chartSeries(two).map(({ endsEarly: _, ...one }) => one);
      const judged = judge('max(loss) < 9', two, {}, { series: silent });
      return 'missing' in judged ? 'missing' : judged.status;
    };
    expect([of(10, 30), of(10, 31), of(-10, 10), of(-10, 11)]).toEqual([
      'pass',
      'inconclusive',
      'pass',
      'inconclusive',
    ]);
  });

  test('cells that a report does not count, or that no window can', () => {
    const [loss] = chartSeries(run);
    const { missing: _, refused: __, ...statistics } = loss!.statistics;
    const silent = { series: [{ ...loss!, statistics } as typeof loss & object] };
    expect(judge('missing(loss) == 0', run, {}, silent)).toMatchObject({
      status: 'inconclusive',
      message: 'the report does not say how many cells of loss are missing: analyze the inputs again',
    });
    expect(judge('refused(loss) == 0', run, { from: 20 })).toMatchObject({
      status: 'inconclusive',
      message: 'where cells are refused is not kept, so they cannot be counted in a window of steps',
    });
    // Counted where no cell is a number.
    const none = makeRun('r', [{ ...makeSeries('loss', 'loss', []), refused: 3 }]);
    expect(judge('refused(loss) == 0', none)).toMatchObject({ status: 'fail', found: 3, step: null });
  });

  test('a threshold is told which of its series have cells of text', () => {
    const text = makeRun('r', [
      { ...makeSeries('a', 'metric', [1]), refused: 1 },
      makeSeries('b', 'metric', [1]),
      { ...makeSeries('c', 'metric', [1]), refused: 4 },
    ]);
    const of = (id: string): unknown => [...refusedIn(parseThreshold(id) as Threshold, makeRunReport(text))];
    expect(of('max(metric) < 1')).toEqual([
      ['a', 1],
      ['c', 4],
    ]);
    expect(of('refused(metric) < 1')).toEqual([]);
    expect(of('max(b) < 1')).toEqual([]);
  });
});

describe('curvature', () => {
  const entry = (step: number | null, ratio: number | null, value: number): CurvatureEntry => ({
    checkpoint: 'c',
    step,
    method: 'lanczos',
    operator: 'hessian',
    block: 'all',
    task: 'all',
    eigenvalues: Number.isNaN(value) ? [] : [{ value, residualNorm: 0, converged: true, iterations: 1 }],
    largestMagnitude: 3,
    hvpCount: 30,
    hvpMethod: 'exact',
    stability: { learningRate: 0.1, limit: 20, ratio },
    seed: 1,
    backend: 'cpu',
    source: 'computed',
  });
  const curvature = [entry(50, 0.5, 2), entry(100, 0.7, NAN), entry(150, null, 9), entry(null, 0.6, 4)];
  test('its ratios and eigenvalues are series, by step or else by place, without what is not known', () => {
    const of = (id: string): unknown => {
      const judged = judgeThreshold(ruleOf(id), makeRunReport(run, { curvature }), run);
      return 'missing' in judged ? judged.missing : [judged.status, judged.found, judged.step];
    };
    expect(of('max(curvature.ratio) < 1')).toEqual(['pass', 0.7, null]);
    expect(of('count(curvature.ratio) == 3')).toEqual(['pass', 3, 3]);
    expect(of('count(curvature.eigenvalue) == 3')).toEqual(['pass', 3, 3]);
    expect(of('max(curvature.eigenvalue) < 9')).toEqual(['fail', 9, null]);
    expect(of('first(curvature.eigenvalue) == 2')).toEqual(['pass', 2, null]);
    expect(of('max(curvature.*) < 9')).toEqual(['fail', 9, null]);
  });
  test('none of it is judged where some of it was not measured', () => {
    const change = (id: string) => ({ curvature, notRun: [{ id, reason: 'no time' }] });
    const status = (metric: string, id: string): unknown =>
      inShort(judge(`max(${metric}) < 99`, run, {}, change(id)));
    for (const id of ['curvature', 'curvature at step 50', 'checkpoints'])
      expect(status('curvature.ratio', id)).toEqual(['inconclusive', null, null, null]);
    expect(status('curvature.ratio', 'replay')).toEqual(['pass', 0.7, null, null]);
    expect(status('loss', 'curvature')).toEqual(['pass', 9, 20, 2]);
    expect(judge('max(curvature.ratio) < 99', run, {}, change('curvature'))).toMatchObject({
      expected: 'max(curvature.ratio) < 99',
      series: 'curvature.ratio',
      message: 'not all curvature was measured: curvature: no time',
    });
  });
  test('a ratio that is not finite fails', () => {
    const odd = { curvature: [entry(1, Number.POSITIVE_INFINITY, 1), entry(2, 0.1, 1)] };
    expect(judge('last(curvature.ratio) < 1', run, {}, odd)).toMatchObject({ status: 'pass' });
    expect(judge('max(curvature.ratio) < 1', run, {}, odd)).toMatchObject({
      status: 'fail',
      message: 'max(curvature.ratio) is NaN: 1 of 2 values are not finite',
    });
  });
});
