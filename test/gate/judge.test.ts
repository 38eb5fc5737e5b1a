/** How a policy is judged on a report: findings and classes, groups of seeds, what is left out, and the exit code. */
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { updateBaseline } from '../../src/app/gate/baseline.ts';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { mayBeUnread, rulesAsked, rulesFor, thresholdsFor } from '../../src/app/gate/for-run.ts';
import { judgeGate } from '../../src/app/gate/judge.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { GateResult, GateRule } from '../../src/model/gate.ts';
import type { Report, RunReport, VerdictClass } from '../../src/model/report.ts';
import type { Run } from '../../src/model/run.ts';
import {
  chartSeries,
  healthyRun,
  makeReport,
  makeRun,
  makeRunReport,
  makeSeries,
} from '../support/make-report.ts';

const configOf = (rules: object, more: object = {}) => gateConfigFrom({ version: 1, rules, ...more });
/** What a gate says of runs, each with members of its report replaced; without points, as of a saved report, if told so. */
function gate(
  runs: readonly (readonly [Run, Partial<RunReport>?])[],
  config: ReturnType<typeof configOf>,
  { saved = false, report = {} }: { saved?: boolean; report?: Partial<Report> } = {},
): GateResult {
  return judgeGate(
    {
      report: makeReport(
        runs.map(([run, change]) => makeRunReport(run, change)),
        report,
      ),
      runs: new Map(saved ? [] : runs.map(([run]) => [run.id, run])),
      baseline: null,
    },
    config,
  );
}
const ruleOf = (change: Partial<RunReport>, id: string, options: object = {}, saved = false): GateRule => {
  const { rules } = gate([[healthyRun(), change]], configOf({ [id]: { severity: 'error', ...options } }), {
    saved,
  });
  return rules[0]!;
};

const finding = (steps: Finding['steps'], change: Partial<Finding> = {}): Finding => ({
  id: 'loss-spike',
  severity: 'note',
  message: `spike at ${steps?.[0]}`,
  steps,
  series: 'loss',
  measured: null,
  threshold: null,
  locations: [{ path: 'run.csv', line: steps?.[0] ?? 1 }],
  advice: null,
  ...change,
});
const verdict = (of: VerdictClass, change: Partial<RunReport['verdict']> = {}): RunReport['verdict'] => ({
  ...makeRunReport(healthyRun()).verdict,
  class: of,
  onsetStep: 50,
  why: 'it is so',
  ...change,
});
const incident = (onsetStep: number, recoveredStep: number | null, series = 'loss') => ({
  class: 'micro-divergence' as const,
  series,
  attempt: 0,
  onsetStep,
  lastGoodStep: onsetStep,
  recoveredStep,
  peakStep: onsetStep,
  peak: 9,
});

describe('a rule on a kind of finding', () => {
  test('counts those in its window, tells the first, and has the places of all', () => {
    const findings = [finding([10, 12]), finding([50, 50]), finding([90, 95], { series: 'b' })];
    expect(ruleOf({ findings }, 'loss-spike')).toMatchObject({
      status: 'fail',
      expected: 'at most 0 loss-spike',
      found: 3,
      series: 'loss',
      step: 10,
      message: 'spike at 10',
      locations: [{ line: 10 }, { line: 50 }, { line: 90 }],
    });
    const found = (options: object): unknown => ruleOf({ findings }, 'loss-spike', options).found;
    expect([found({ from: 12 }), found({ from: 13 }), found({ to: 90 }), found({ to: 89 })]).toEqual([
      3, 2, 3, 2,
    ]);
    expect(ruleOf({ findings }, 'loss-spike', { from: 60 })).toMatchObject({
      expected: 'at most 0 loss-spike from step 60 to the last',
      series: 'b',
      step: 90,
    });
    const status = (max: number): string => ruleOf({ findings }, 'loss-spike', { max }).status;
    expect([status(2), status(3)]).toEqual(['fail', 'pass']);
  });
  test('one without steps is in every window', () => {
    expect(ruleOf({ findings: [finding(null)] }, 'loss-spike', { from: 60 })).toMatchObject({
      status: 'fail',
      step: null,
    });
  });
  test('none is told as none, in its window', () => {
    expect(ruleOf({}, 'loss-spike', { to: 60 })).toMatchObject({
      status: 'pass',
      found: 0,
      series: null,
      step: null,
      message: 'no loss-spike from step the first to 60',
      locations: [],
    });
  });
  test('with more that are only counted: they count, and no window can be judged on them', () => {
    const findings = [finding([10, 12], { more: 4 }), finding([20, 20])];
    expect(ruleOf({ findings }, 'loss-spike', { max: 5 }).found).toBe(6);
    expect(ruleOf({ findings }, 'loss-spike', { max: 6 }).status).toBe('pass');
    expect(ruleOf({ findings }, 'loss-spike', { max: 6, from: 5 })).toMatchObject({
      status: 'inconclusive',
      series: 'loss',
      message: '4 more follow whose steps the report does not say',
    });
    expect(ruleOf({ findings }, 'loss-spike', { max: 5, from: 5 }).status).toBe('fail');
  });
  test('is not judged where it failed, was not run, or its source was not read', () => {
    const error = { id: 'usage' as const, message: 'boom' };
    const message = (change: Partial<RunReport>, id = 'loss-spike', options: object = {}): string[] => {
      const { status, message } = ruleOf(change, id, options);
      return [status, message];
    };
    expect(message({ failedDetectors: [{ id: 'loss-spike', error }] })).toEqual([
      'inconclusive',
      'the detector failed: boom',
    ]);
    expect(message({ failedDetectors: [{ id: 'drift', error }] })).toEqual(['pass', 'no loss-spike']);
    expect(message({ detectorsRun: ['drift'] })).toEqual([
      'inconclusive',
      'the report does not say that it was looked for',
    ]);
    expect(message({ detectorsRun: undefined! })[0]).toBe('inconclusive');
    expect(message({ notRun: [{ id: 'loss-spike', reason: 'no loss' }] })).toEqual([
      'inconclusive',
      'not looked for: no loss',
    ]);
    expect(message({ notRun: [{ id: 'logs', reason: 'no time' }] })).toEqual([
      'inconclusive',
      'logs: no time',
    ]);
    expect(message({ notRun: [{ id: 'checkpoints', reason: 'no time' }] }, 'non-finite-tensor')).toEqual([
      'inconclusive',
      'checkpoints: no time',
    ]);
    // Too many are too many, whatever else there is.
    expect(message({ findings: [finding([1, 1])], notRun: [{ id: 'logs', reason: 'no time' }] })[0]).toBe(
      'fail',
    );
    // A class of verdict is no detector that is run.
    expect(message({ detectorsRun: ['drift'] }, 'non-finite')).toEqual(['pass', 'no non-finite']);
  });
  test('a window in which the run has no step, or of which a saved report keeps no points, is not judged', () => {
    expect(ruleOf({}, 'loss-spike', { from: 101 })).toMatchObject({
      status: 'inconclusive',
      message: 'there are steps 1 to 100, and none from step 101 to the last',
    });
    expect(ruleOf({}, 'loss-spike', { from: 2 }, true).status).toBe('inconclusive');
    expect(ruleOf({}, 'loss-spike', { from: 1, to: 100 }, true).status).toBe('pass');
    expect(ruleOf({ series: [] }, 'loss-spike', { from: 2 }).message).toBe('there are no steps');
  });
});

describe('a rule on a class of verdict', () => {
  test('counts incidents from their onset to their recovery', () => {
    const incidents = [incident(20, 30), incident(60, null, 'b')];
    const change = { verdict: verdict('micro-divergence', { incidents, onsetStep: 20 }) };
    const found = (options: object): unknown => ruleOf(change, 'micro-divergence', options).found;
    expect([
      found({}),
      found({ from: 30 }),
      found({ from: 31 }),
      found({ to: 59 }),
      found({ to: 60 }),
    ]).toEqual([2, 2, 1, 1, 2]);
    // The last has not recovered: it goes on.
    expect(found({ from: 99 })).toBe(1);
    expect(ruleOf(change, 'micro-divergence')).toMatchObject({
      series: 'loss',
      step: 20,
      message: 'it is so',
      locations: [],
    });
    expect(
      ruleOf({ verdict: verdict('drift', { incidents }) }, 'micro-divergence', { from: 50 }),
    ).toMatchObject({
      found: 1,
      series: 'b',
      step: 60,
      message: '1 micro-divergence from step 60',
    });
  });
  test('the verdict itself counts as one, from its onset on', () => {
    const change = { verdict: verdict('full-divergence', { series: 'total' }) };
    expect(ruleOf(change, 'full-divergence')).toMatchObject({ found: 1, series: 'total', step: 50 });
    const found = (of: Partial<RunReport>, options: object): unknown =>
      ruleOf(of, 'full-divergence', options).found;
    expect([found(change, { to: 49 }), found(change, { to: 50 }), found(change, { from: 90 })]).toEqual([
      0, 1, 1,
    ]);
    // An onset that is not known may lie anywhere.
    expect(found({ verdict: verdict('full-divergence', { onsetStep: null }) }, { to: 2 })).toBe(1);
    expect(found({ verdict: verdict('drift') }, {})).toBe(0);
  });
  test('tasks count, from their onset on', () => {
    const task = (of: VerdictClass, onsetStep: number | null): RunReport['tasks'][number] =>
      ({
        name: 'click',
        class: of,
        onsetStep,
        series: 'click_loss',
      }) as unknown as RunReport['tasks'][number];
    const change = { tasks: [task('drift', 40), task('drift', null), task('healthy', 1)] };
    const found = (options: object): unknown => ruleOf(change, 'drift', options).found;
    expect([found({}), found({ to: 39 }), found({ to: 40 })]).toEqual([2, 1, 2]);
  });
  test('what caused it is told, where it is the incident that has the cause', () => {
    const cause = {
      trigger: 'data',
      confidence: 'likely',
      statement: 'so',
      onsetStep: 50,
    } as RunReport['cause'] & object;
    const message = (change: Partial<typeof cause>): string =>
      ruleOf({ verdict: verdict('drift'), cause: { ...cause, ...change } }, 'drift').message;
    expect(message({})).toBe('it is so Why: the data changed (likely): so.');
    expect(message({ onsetStep: 51 })).toBe('it is so');
    expect(message({ confidence: null })).toBe('it is so');
  });
});

describe('seeds of one setting', () => {
  const seeds = (...levels: readonly number[]) =>
    levels.map((level, i): readonly [Run] => [
      makeRun(`lr-1/seed-${i}/log.csv`, [makeSeries('loss', 'loss', new Array<number>(30).fill(level))]),
    ]);
  const joined = (levels: readonly number[], aggregate: string, id: string, options: object = {}): GateRule =>
    gate(seeds(...levels), configOf({ [id]: { severity: 'error', ...options } }, { aggregate })).rules[0]!;

  test.each<[string, number, string]>([
    ['median', 2, 'median over 3 seeds is 2 (1, 2, 6)'],
    ['mean', 3, 'mean over 3 seeds is 3 (1, 2, 6)'],
  ])('their %s is compared', (aggregate, value, message) => {
    const last = (limit: number) => joined([1, 2, 6], aggregate, `last(loss) <= ${limit}`);
    expect(last(value)).toMatchObject({
      run: 'lr-1/seed-*/log.csv',
      status: 'pass',
      found: value,
      step: null,
      message,
    });
    expect(last(value - 0.1)).toMatchObject({ status: 'fail', found: value });
    expect(joined([1, 2, 6], aggregate, `last(loss) >= ${value}`).status).toBe('pass');
  });
  test('the best is the first that holds, or else the first', () => {
    expect(joined([3, 2, 1], 'best', 'last(loss) <= 2')).toMatchObject({ status: 'pass', found: 2 });
    expect(joined([3, 2, 1], 'best', 'last(loss) <= 0')).toMatchObject({ status: 'fail', found: 3 });
  });
  test('the worst: every run by itself', () => {
    const { rules } = gate(seeds(1, 3), configOf({ 'last(loss) <= 2': 'error' }));
    expect(rules.map(({ run, status }) => [run, status])).toEqual([
      ['lr-1/seed-0/log.csv', 'pass'],
      ['lr-1/seed-1/log.csv', 'fail'],
    ]);
  });
  test.each([Number.NaN, Number.POSITIVE_INFINITY])('one that is %f is hidden by none', (odd) => {
    for (const aggregate of ['median', 'mean'])
      expect(joined([1, odd, 1], aggregate, 'last(loss) <= 9')).toMatchObject({
        status: 'fail',
        found: Number.NaN,
      });
    expect(joined([1, odd, 1], 'best', 'last(loss) <= 9')).toMatchObject({ status: 'fail', found: odd });
  });
  test('a seed that ends in NaN fails the setting by its finding too, and one that only rises does not', () => {
    const [good, bad] = seeds(1, 1).map(([run]) => run);
    const best = (found: Partial<RunReport>): string =>
      gate(
        [[good!], [bad!, { findings: [finding([1, 1])], ...found }]],
        configOf({ 'loss-spike': { severity: 'error', max: 0 } }, { aggregate: 'best' }),
      ).rules[0]!.status;
    expect([best({ verdict: verdict('non-finite') }), best({ verdict: verdict('full-divergence') })]).toEqual(
      ['fail', 'pass'],
    );
  });
  test('one that could not be judged leaves the setting unjudged', () => {
    for (const aggregate of ['median', 'mean', 'best'])
      expect(joined([1, 1], aggregate, 'last(loss) <= 9', { from: 31 }).status).toBe('inconclusive');
  });
  test('findings of seeds are joined by how many are allowed', () => {
    const [a, b, c] = seeds(1, 1, 1).map(([run]) => run);
    const found = (max: number): string =>
      gate(
        [[a!, { findings: [finding([1, 1])] }], [b!, { findings: [finding([1, 1])] }], [c!]],
        configOf({ 'loss-spike': { severity: 'error', max } }, { aggregate: 'median' }),
      ).rules[0]!.status;
    expect([found(0), found(1)]).toEqual(['fail', 'pass']);
  });
  test.each([
    ['a/seed-1', 'a/seed-22', true],
    ['a/seed1', 'a/seed2', true],
    ['a/Rep_1', 'a/Rep_2', true],
    ['a/trial=1', 'a/trial=2', true],
    ['seed-3', 'seed-4', true],
    ['rep1', 'rep2', true],
    ['trial_2', 'trial_3', true],
    ['x_seed=4', 'x_seed=5', true],
    // The end of another word is no seed.
    ['prep1', 'prep2', false],
    ['a/Prep1', 'a/Prep2', false],
    ['entrepot3', 'entrepot4', false],
    ['industrial_1', 'industrial_2', false],
    ['a/seed-1', 'a/seed_2', false],
    ['a/run-1', 'a/run-2', false],
  ])('%s and %s are one setting: %s', (a, b, same) => {
    const runs = [a, b].map((id): readonly [Run] => [{ ...healthyRun(), id }]);
    expect(gate(runs, configOf({ drift: 'error' }, { aggregate: 'median' })).rules).toHaveLength(
      same ? 1 : 2,
    );
  });
  test('a group of one has the name of its run', () => {
    expect(joined([1], 'median', 'last(loss) <= 2').run).toBe('lr-1/seed-0/log.csv');
  });
});

describe('what a run lacks', () => {
  const absent = { 'max(nothing) < 1': 'error', drift: 'error' };
  test.each([
    ['error', 4, []],
    ['warn', 0, ['warning']],
    ['skip', 0, ['note']],
  ])('missing: %s', (missing, exitCode, severities) => {
    const found = gate([[healthyRun()]], configOf(absent, { missing }));
    expect(found.exitCode).toBe(exitCode);
    expect(found.skipped.map(({ severity }) => severity)).toEqual(severities);
    for (const one of found.skipped)
      expect(one).toMatchObject({
        id: 'max(nothing) < 1',
        run: 'run.csv',
        reason: expect.stringMatching(/^no series/),
      });
    expect(found.rules.map(({ id, status }) => [id, status])).toEqual([
      ...(missing === 'error' ? [['max(nothing) < 1', 'inconclusive']] : []),
      ['drift', 'pass'],
    ]);
  });
  test('what lies beside the log and was not looked at is said', () => {
    const notRun = ['checkpoints', 'captures', 'replay', 'curvature'].map((id) => ({
      id,
      reason: `no ${id}`,
    }));
    const { skipped } = gate([[healthyRun(), { notRun }]], configOf({ drift: 'error' }));
    expect(skipped).toEqual(
      ['checkpoints', 'captures', 'replay'].map((id) => ({
        id,
        run: 'run.csv',
        severity: 'note',
        reason: `no ${id}`,
      })),
    );
  });
  test('a rule that may still come right on a run that is not complete is inconclusive', () => {
    const status = (id: string, change: Partial<RunReport>, report: Partial<Report> = {}): string =>
      gate([[healthyRun(), change]], configOf({ [id]: 'error' }), { report }).rules[0]!.status;
    const unsure = { verdict: verdict('inconclusive') };
    expect(status('last(loss) < 0.1', {})).toBe('fail');
    expect(status('last(loss) < 0.1', unsure)).toBe('inconclusive');
    expect(status('max(loss) < 0.1', unsure)).toBe('fail');
    expect(status('loss-spike', { ...unsure, findings: [finding([1, 1])] })).toBe('fail');
    // A problem of the inputs as a whole is one of every run.
    const warnings = [{ id: 'input-still-written' as const, message: 'so' }];
    expect(status('last(loss) < 0.1', {}, { warnings })).toBe('inconclusive');
    const { message } = gate([[healthyRun(), unsure]], configOf({ 'last(loss) < 0.1': 'error' })).rules[0]!;
    expect(message).toMatch(/^last\(loss\) is 0\.11; the run is not complete, so this may change$/);
    // That of another run is not.
    const other = { ...healthyRun(), id: 'b.csv' };
    const two = gate([[healthyRun(), unsure], [other]], configOf({ 'last(loss) < 0.1': 'error' }));
    expect(two.rules.map((rule) => rule.status)).toEqual(['inconclusive', 'fail']);
  });
  test('text where a rule reads numbers is damage, told once for each series', () => {
    const run = makeRun('r.csv', [{ ...makeSeries('loss', 'loss', [1, 1, 1]), refused: 2 }]);
    const rules = { 'max(loss) < 9': 'error', 'min(loss) > 0': 'error', drift: 'error' };
    const { problems, exitCode } = gate([[run], [{ ...run, id: 'b.csv' }]], configOf(rules));
    const told = problems.filter(({ id }) => id === 'refused-values');
    expect(told).toEqual(
      ['r.csv', 'b.csv'].map((id) => ({
        exitCode: 3,
        id: 'refused-values',
        run: id,
        message: '2 cells of the series loss are text, not numbers, and a rule reads it',
      })),
    );
    expect(exitCode).toBe(3);
    expect(gate([[run]], configOf({ drift: 'error' })).problems).toEqual([]);
    expect(
      gate([[run]], configOf({ ...rules, 'max(loss) < 9': 'off', 'min(loss) > 0': 'off' })).problems,
    ).toEqual([]);
  });
});

describe('the exit code', () => {
  const code = (rules: object, change: Partial<RunReport> = {}, report: Partial<Report> = {}): number =>
    gate([[healthyRun(), change]], configOf(rules), { report }).exitCode;
  test('is 3 before 1 before 4 before 0', () => {
    const torn = [{ id: 'file-unreadable' as const, message: 'so' }];
    const growing = [{ id: 'input-still-written' as const, message: 'so' }];
    const [good, bad] = [{ 'max(loss) < 9': 'error' }, { 'max(loss) < 0.1': 'error' }];
    expect([
      code(good),
      code(bad),
      code({ 'max(loss) < 0.1': 'warning' }),
      code({ 'max(x) < 1': 'error' }),
    ]).toEqual([0, 1, 0, 4]);
    expect([code(good, {}, { warnings: torn }), code(bad, {}, { warnings: torn })]).toEqual([3, 3]);
    expect([code(good, {}, { warnings: growing }), code(bad, {}, { warnings: growing })]).toEqual([4, 1]);
    expect(code({ 'max(loss) < 0.1': 'error', 'max(x) < 1': 'error' })).toBe(1);
    expect(code({ 'max(loss) < 0.1': 'warning', 'max(x) < 1': 'warning' })).toBe(4);
  });
  test('is 4 where nothing was judged, and says so', () => {
    const found = gate([[healthyRun()]], configOf({ 'max(x) < 1': { severity: 'error', missing: 'skip' } }));
    expect(found).toMatchObject({
      exitCode: 4,
      problems: [{ exitCode: 4, id: 'nothing-judged', run: null, message: 'no rule was judged' }],
    });
    expect(gate([[healthyRun()]], configOf({ drift: 'error' })).problems).toEqual([]);
  });
  test('is 3 where the baseline that the config asks for was not read', () => {
    const withBaseline = (severity: string) =>
      gate([[healthyRun()]], configOf({ drift: 'error' }, { baseline: { file: 'b.json', severity } }));
    expect(withBaseline('error').problems).toEqual([
      { exitCode: 3, id: 'baseline-missing', run: null, message: 'the baseline was not read' },
    ]);
    expect(withBaseline('off').problems).toEqual([]);
  });
  test('holds the baseline as rules of its severity, on every run of its own', () => {
    const runs = ['a/seed-1', 'a/seed-2'].map((id) => makeRunReport({ ...healthyRun(), id }));
    const better = {
      runs: runs.map((run) => ({
        ...run,
        series: chartSeries(makeRun('x', [makeSeries('loss', 'loss', [0.1, 0.5])])),
      })),
    };
    const judged = (severity: string): GateResult =>
      judgeGate(
        { report: makeReport(runs), runs: new Map(), baseline: updateBaseline(better, null, true) },
        configOf({ drift: 'error' }, { aggregate: 'median', baseline: { file: 'b.json', severity } }),
      );
    const { rules, exitCode } = judged('error');
    expect(exitCode).toBe(1);
    expect(rules.map(({ id, run, status }) => [id, run, status])).toEqual([
      ['drift', 'a/seed-*', 'pass'],
      ...['a/seed-1', 'a/seed-2'].flatMap((run) => [
        ['baseline', run, 'pass'],
        ['baseline', run, 'pass'],
        ['baseline', run, 'fail'],
      ]),
    ]);
    expect(judged('warning')).toMatchObject({ exitCode: 0, rules: { length: 7 } });
    expect(judged('off').rules).toHaveLength(1);
  });
});

describe('a report made with other thresholds', () => {
  test('is not judged on findings; it is on series', () => {
    const rules = { drift: ['error', { driftRatio: 2 }], 'max(loss) < 9': 'error' };
    const { rules: judged } = gate([[healthyRun()]], configOf(rules));
    expect(judged.map(({ id, status }) => [id, status])).toEqual([
      ['drift', 'inconclusive'],
      ['max(loss) < 9', 'pass'],
    ]);
    expect(judged[0]!.message).toMatch(
      /^the report was made with the default thresholds, the gate asks for .*driftRatio.*2.*: analyze the inputs again$/,
    );
    const same = gate([[healthyRun(), { thresholds: { drift: { driftRatio: 2 } } }]], configOf(rules));
    expect(same.rules[0]!.message).not.toMatch(/default thresholds, the gate/);
  });
});

describe('what a config says of one run', () => {
  const config = gateConfigFrom(
    {
      version: 1,
      rules: { drift: 'error', 'max(loss) < 9': 'off' },
      unread: ['old/*.log'],
      overrides: [
        { runs: 'nightly/**', rules: { drift: ['warning', { driftRatio: 3 }] } },
        { runs: ['nightly/b.csv', 'x'], rules: { drift: 'note', 'loss-spike': 'off' } },
      ],
    },
    { path: resolve('project/.clippy-diag.yaml') },
  );
  const of = (id: string, path = id): unknown =>
    rulesFor({ id, paths: [path] }, config).map((rule) => [rule.id, rule.severity]);
  const top = ['max(loss) < 9', 'off'];
  test('overrides apply in their order, by name, by path, and by path from the config', () => {
    expect(of('a.csv')).toEqual([['drift', 'error'], top]);
    expect(of('nightly/a.csv')).toEqual([['drift', 'warning'], top]);
    expect(of('nightly/b.csv')).toEqual([['drift', 'note'], top, ['loss-spike', 'off']]);
    expect(of('x', 'somewhere')).toEqual([['drift', 'note'], top, ['loss-spike', 'off']]);
    expect(of('a', 'nightly/a.csv')).toEqual([['drift', 'warning'], top]);
    expect(of('a', resolve('project/nightly/a.csv'))).toEqual([['drift', 'warning'], top]);
    expect(of('a', 'project/nightly/a.csv')).toEqual([['drift', 'warning'], top]);
    expect(of('a', 'other/nightly/a.csv')).toEqual([['drift', 'error'], top]);
    expect(thresholdsFor({ id: 'nightly/a.csv', paths: [] }, config)).toEqual({ drift: { driftRatio: 3 } });
    expect(thresholdsFor({ id: 'a.csv', paths: [] }, config)).toEqual({});
  });
  test('a file may be unread by its path, also from the config; or any file', () => {
    const unread = (path: string): boolean => mayBeUnread(path, config);
    expect([unread('old/a.log'), unread('project/old/a.log'), unread('new/a.log')]).toEqual([
      true,
      true,
      false,
    ]);
    const none = { path: null, unread: ['old/*.log'] };
    expect([mayBeUnread('old/a.log', none), mayBeUnread('project/old/a.log', none)]).toEqual([true, false]);
    expect(mayBeUnread('a.log', { path: null, unread: 'ignore' })).toBe(true);
  });
  test('rules that are off are asked for nowhere', () => {
    expect([...rulesAsked(config)]).toEqual(['drift']);
  });
});

test('two runs of one name are two runs', () => {
  const found = gate([[healthyRun()], [healthyRun()]], configOf({ drift: 'error' }));
  expect(found.rules).toHaveLength(2);
});
