/**
 * The gate must never pass on a fault: every fault × every rule, with every report format on, and seeded
 * combinations of faults, rules, windows, severities and seeds: 2,000 here, 20,000 in the long project. `CLIPPY_DIAG_GATE_SEED` replays one sequence.
 */

import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { updateBaseline } from '../../src/app/gate/baseline.ts';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { type GateEvidence, judgeGate } from '../../src/app/gate/judge.ts';
import { PRESETS } from '../../src/app/gate/presets.ts';
import { copyOf } from '../../src/model/column.ts';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import type { ChartSeries, Report, RunReport, VerdictClass } from '../../src/model/report.ts';
import type { Run, TimeSeries } from '../../src/model/run.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import {
  chartSeries,
  healthyRun,
  makeReport,
  makeRun,
  makeRunReport,
  makeSeries,
} from '../support/make-report.ts';
import { random } from '../support/random.ts';

const evidenceOf = (runs: readonly Run[], change: Partial<RunReport> = {}): GateEvidence => ({
  report: makeReport(runs.map((run) => makeRunReport(run, change))),
  runs: new Map(runs.map((run) => [run.id, run])),
  baseline: null,
});

const healthy = evidenceOf([healthyRun()]);

/** Replaces the series of a name in the run and in its report. */
function withSeries(
  evidence: GateEvidence,
  name: string,
  change: (s: TimeSeries) => TimeSeries,
): GateEvidence {
  const runs = [...evidence.runs.values()].map((run) => ({
    ...run,
    series: run.series.map((series) => (series.name === name ? change(series) : series)),
  }));
  return {
    ...evidence,
    runs: new Map(runs.map((run) => [run.id, run])),
    report: {
      ...evidence.report,
      runs: evidence.report.runs.map((report, i) => ({
        ...report,
        series: runs[i] === undefined ? [] : chartSeries(runs[i]),
      })),
    },
  };
}

const withRuns = (evidence: GateEvidence, change: Partial<RunReport>): GateEvidence => ({
  ...evidence,
  report: { ...evidence.report, runs: evidence.report.runs.map((run) => ({ ...run, ...change })) },
});

const withReport = (evidence: GateEvidence, change: Partial<Report>): GateEvidence => ({
  ...evidence,
  report: { ...evidence.report, ...change },
});

const withInput = (evidence: GateEvidence, change: Partial<Report['inputs'][number]>): GateEvidence =>
  withReport(evidence, { inputs: evidence.report.inputs.map((input) => ({ ...input, ...change })) });

const valuesAt = (series: TimeSeries, at: readonly number[], value: number): TimeSeries => {
  const copy = copyOf(series.value);
  for (const i of at) copy[(i + copy.length) % copy.length] = value;
  return { ...series, value: copy };
};

const cut = (series: TimeSeries, points: number): TimeSeries => ({
  ...series,
  step: series.step.subarray(0, points),
  value: series.value.subarray(0, points),
  line: series.line!.subarray(0, points),
});

const eigen = (converged: boolean): CurvatureEntry => ({
  checkpoint: 'step-50',
  step: 50,
  method: 'lanczos',
  operator: 'hessian',
  block: 'all',
  task: 'all',
  eigenvalues: [{ value: 3, residualNorm: 1, converged, iterations: 30 }],
  largestMagnitude: 3,
  hvpCount: 30,
  hvpMethod: 'exact',
  stability: { learningRate: 0.1, limit: 20, ratio: 0.15 },
  seed: 1,
  backend: 'cpu',
  source: 'computed',
});

const verdictOf = (of: VerdictClass) => ({
  ...makeRunReport(healthyRun()).verdict,
  class: of,
  onsetStep: 50,
  why: 'it is so',
});

/** Faults that no rule may pass over. */

const FAULTS: Readonly<Record<string, (evidence: GateEvidence) => GateEvidence>> = {
  'no run at all': (e) => ({ ...withReport(e, { runs: [] }), runs: new Map() }),
  'a run without series': (e) => ({ ...withRuns(e, { series: [] }), runs: new Map() }),
  'series without points': (e) =>
    ['loss', 'grad_norm', 'val/auc'].reduce((all, name) => withSeries(all, name, (s) => cut(s, 0)), e),
  'an input without records': (e) => withInput(e, { kept: 0 }),
  'bad records': (e) =>
    withInput(e, { errors: [{ id: 'file-unreadable', message: 'line 7 is no number' }], lost: 1 }),
  'lost records': (e) => withInput(e, { lost: 3 }),
  'a torn last record': (e) => withInput(e, { unreadBytes: 17 }),
  'bytes that were not read': (e) => withInput(e, { sha256: null }),
  'a file that grew, in a saved report': (e) => withInput(e, { grownBytes: 24 }),
  'a file that grew': (e) =>
    withReport(e, { warnings: [{ id: 'file-changed', message: 'changed while it was read' }] }),
  'a verdict that is inconclusive': (e) => withRuns(e, { verdict: verdictOf('inconclusive') }),
  'a report that does not say what was looked for': (e) => ({
    ...e,
    report: {
      ...e.report,
      runs: e.report.runs.map(({ detectorsRun: _, ...run }) => run),
    },
  }),
  'a detector that crashed': (e) =>
    withRuns(e, { failedDetectors: [{ id: 'drift', error: { id: 'usage', message: 'boom' } }] }),
  'a solver that did not converge': (e) => withRuns(e, { curvature: [eigen(true), eigen(false)] }),
  'a loss that stops': (e) => withSeries(e, 'loss', (s) => cut(s, 40)),
};

/** Rules that hold on the healthy run, and the series they read. */
const RULES: Readonly<Record<string, string | null>> = {
  'loss-spike': null,
  'non-finite-loss': null,
  'full-divergence': null,
  'non-finite': null,
  'micro-divergence': null,
  drift: null,
  'p50(loss) < 5': 'loss',
  'p90(loss) < 5': 'loss',
  'p95(grad_norm) < 5': 'grad_norm',
  'p99(grad_norm) <= 5': 'grad_norm',
  'mean(loss) > 0': 'loss',
  'min(loss) >= 0.05': 'loss',
  'max(grad_norm) < 5': 'grad_norm',
  'first(loss) > 1': 'loss',
  'last(loss) <= 0.2': 'loss',
  'count(loss) == 100': 'loss',
  'nan(loss) == 0': 'loss',
  'nan(grad_norm) == 0': 'grad_norm',
  'last(val/auc) >= 0.75': 'val/auc',
  'max(metric) != 0': 'val/auc',
  'last(val/*) > 0.5': 'val/auc',
};

const configOf = (file: Record<string, unknown>) => gateConfigFrom({ version: 1, ...file });

/** Every format renders what failed without saying that it passed, and the report survives a round trip. */
function renderAll(evidence: GateEvidence, gate: ReturnType<typeof judgeGate>): void {
  const report = { ...evidence.report, gate };
  for (const format of Object.values(REPORT_FORMATS)) {
    const text = format.render(report, { width: 80, colour: false, ascii: false });
    if (format.id === 'junit') expect(text).toMatch(/<(failure|error) /);
    if (format.id === 'sarif') expect(text).toContain('"level": "error"');
    if (format.id === 'github') expect(text).toMatch(/^::error /m);
    if (format.id === 'gitlab') expect(text).toContain('"severity": "critical"');
    if (format.id === 'markdown') expect(text).not.toContain('Gate: passed');
    if (format.id === 'json') expect(parseReport(text, 'report.json').gate?.passed).toBe(false);
  }
}

test('the healthy run passes every rule: the faults below are what changes that', () => {
  for (const id of Object.keys(RULES)) {
    const result = judgeGate(healthy, configOf({ rules: { [id]: 'error' } }));
    expect([id, result.exitCode, result.problems]).toEqual([id, 0, []]);
  }
  for (const preset of Object.keys(PRESETS))
    expect(judgeGate(healthy, configOf({ extends: preset })).exitCode).toBe(0);
});

test.each(Object.keys(FAULTS))('%s: no rule passes, in no format', (fault) => {
  const evidence = FAULTS[fault]!(healthy);
  for (const id of Object.keys(RULES))
    for (const severity of ['error', 'warning', 'note']) {
      const result = judgeGate(evidence, configOf({ rules: { [id]: severity } }));
      expect([id, severity, result.passed]).toEqual([id, severity, false]);
      expect(result.exitCode).not.toBe(0);
      if (severity === 'error') renderAll(evidence, result);
    }
  for (const preset of Object.keys(PRESETS))
    expect(judgeGate(evidence, configOf({ extends: preset })).passed).toBe(false);
});

test('damage is 3, what is missing is 4, a rule that fails is 1 even beside what is missing', () => {
  const code = (fault: string, rule: string): number =>
    judgeGate(FAULTS[fault]!(healthy), configOf({ rules: { [rule]: 'error' } })).exitCode;
  expect(code('bad records', 'last(loss) <= 0.2')).toBe(3);
  expect(code('bad records', 'max(grad_norm) < 1')).toBe(3);
  expect(code('a torn last record', 'last(loss) <= 0.2')).toBe(4);
  expect(code('a torn last record', 'max(grad_norm) < 1')).toBe(1);
  // The run may still get there.
  expect(code('a torn last record', 'last(loss) <= 0.01')).toBe(4);
});

const NON_FINITE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

test('a value that a rule uses and that is not finite fails it', () => {
  for (const [id, name] of Object.entries(RULES)) {
    if (name === null || id.startsWith('count(')) continue;
    const at = id.startsWith('first(') ? [0] : id.startsWith('last(') ? [-1] : [2];
    for (const value of NON_FINITE) {
      const evidence = withSeries(healthy, name, (s) => valuesAt(s, at, value));
      const result = judgeGate(evidence, configOf({ rules: { [id]: 'error' } }));
      expect([id, value, result.exitCode]).toEqual([id, value, 1]);
      renderAll(evidence, result);
      // A saved report whose loss ends so and whose verdict is healthy contradicts itself, which is another fault.
      const told =
        name === 'loss' && at[0] === -1 ? withRuns(evidence, { verdict: verdictOf('non-finite') }) : evidence;
      const saved = judgeGate({ ...told, runs: new Map() }, configOf({ rules: { [id]: 'error' } }));
      expect([id, value, saved.exitCode]).toEqual([id, value, 1]);
      // A failed warning lets a gate pass; this must not.
      if (!id.startsWith('nan('))
        expect([id, judgeGate(evidence, configOf({ rules: { [id]: 'warning' } })).exitCode]).toEqual([id, 4]);
    }
  }
});

test('a failed rule of another severity is not passed, and leaves the code at 0', () => {
  const result = judgeGate(
    healthy,
    configOf({ rules: { 'max(grad_norm) < 0.001': 'warning', drift: 'error' } }),
  );
  expect(result.rules.map(({ id, status, passed }) => [id, status, passed])).toEqual([
    ['max(grad_norm) < 0.001', 'fail', false],
    ['drift', 'pass', true],
  ]);
  expect([result.passed, result.exitCode]).toEqual([true, 0]);
});

test('overrides see paths from the folder of the config, wherever the gate is run', () => {
  const config = gateConfigFrom(
    {
      version: 1,
      rules: { 'last(loss) < 5': 'error' },
      overrides: [{ runs: 'nightly/**', rules: { 'last(loss) < 5': 'off', 'last(loss) < 0.001': 'error' } }],
    },
    { path: resolve('projects/ranker/.clippy-diag.yaml') },
  );
  const codeOf = (path: string): number => judgeGate(withRuns(healthy, { paths: [path] }), config).exitCode;
  expect(codeOf('projects/ranker/nightly/log.csv')).toBe(1);
  expect(codeOf(resolve('projects/ranker/nightly/log.csv'))).toBe(1);
  expect(codeOf('nightly/log.csv')).toBe(1);
  expect(codeOf('projects/ranker/weekly/log.csv')).toBe(0);
});

test('a metric that is not there is inconclusive and names the nearest; warn and skip leave it out', () => {
  const rules = (missing: string) => ({ rules: { 'max(grad_nrom) < 5': { severity: 'error', missing } } });
  const result = judgeGate(healthy, configOf(rules('error')));
  expect(result.exitCode).toBe(4);
  expect(result.rules[0]!.message).toContain('nearest: grad_norm');
  // Nothing else is judged then, so the gate has nothing to pass on.
  for (const missing of ['warn', 'skip'])
    expect(judgeGate(healthy, configOf(rules(missing))).exitCode).toBe(4);
  const beside = { rules: { ...rules('skip').rules, 'max(loss) < 5': 'error' } };
  const passed = judgeGate(healthy, configOf(beside));
  expect([passed.exitCode, passed.skipped.length]).toEqual([0, 1]);
  expect(judgeGate(healthy, configOf({ rules: { 'max(train/*) < 5': 'error' } })).exitCode).toBe(4);
  expect(
    judgeGate(
      withRuns(healthy, { notRun: [{ id: 'drift', reason: 'no loss' }] }),
      configOf({ rules: { drift: 'error' } }),
    ).exitCode,
  ).toBe(4);
});

test('a detector that a saved report does not say it ran was not judged', () => {
  const evidence = withRuns(healthy, { detectorsRun: ['drift'] });
  expect(judgeGate(evidence, configOf({ rules: { 'loss-spike': 'error' } })).exitCode).toBe(4);
  expect(judgeGate(evidence, configOf({ rules: { drift: 'error' } })).exitCode).toBe(0);
});

test('findings that a report counts and does not list are counted; where they lie is not guessed', () => {
  const spike = {
    id: 'loss-spike',
    severity: 'note',
    message: 'a spike, 5 more like it follow',
    steps: [50, 50],
    series: 'loss',
    measured: null,
    threshold: null,
    locations: [],
    advice: null,
    more: 5,
  } as const;
  const code = (options: object): number =>
    judgeGate(
      withRuns(healthy, { findings: [spike] }),
      configOf({ rules: { 'loss-spike': { severity: 'error', ...options } } }),
    ).exitCode;
  expect([code({ max: 5 }), code({ max: 6 })]).toEqual([1, 0]);
  expect([code({ max: 6, from: 40 }), code({ max: 0, from: 40 })]).toEqual([4, 1]);
});

test('what a budget left unmeasured is not judged, whatever was found in the rest', () => {
  const cut = { notRun: [{ id: 'curvature at step 50', reason: 'no time was left' }] };
  const sharp = withRuns(healthy, { curvature: [eigen(true)], ...cut });
  const code = (rule: string): number => judgeGate(sharp, configOf({ rules: { [rule]: 'error' } })).exitCode;
  expect([code('max(curvature.ratio) < 1'), code('last(loss) <= 0.2')]).toEqual([4, 0]);
});

test('expected steps and runs that are not reached', () => {
  const rules = { 'loss-spike': 'error' };
  for (const [steps, code] of [
    [100, 0],
    [101, 4],
  ])
    expect(judgeGate(healthy, configOf({ rules, expect: { steps } })).exitCode).toBe(code);
  expect(judgeGate(healthy, configOf({ rules, expect: { runs: 2 } })).exitCode).toBe(4);
});

test('a baseline that is missing, or has no such run, or a better value', () => {
  const base = updateBaseline(healthy.report, null, true);
  const config = configOf({
    rules: { 'loss-spike': 'error' },
    baseline: { file: 'base.json', tolerance: { relative: 0.05 } },
  });
  const judge = (evidence: GateEvidence): number => judgeGate(evidence, config).exitCode;
  expect(judge(healthy)).toBe(3);
  expect(judge({ ...healthy, baseline: base })).toBe(0);
  expect(judge({ ...healthy, baseline: { ...base, runs: [] } })).toBe(4);
  const shifted = withSeries(healthy, 'loss', (s) => ({ ...s, value: s.value.map((x) => x * 1.06) }));
  const result = judgeGate({ ...shifted, baseline: base }, config);
  expect(result.exitCode).toBe(1);
  const worse = result.rules.filter(({ id, passed }) => id === 'baseline' && !passed);
  expect(worse.map(({ series }) => series)).toEqual(['loss', 'loss']);
  expect(worse[0]!.message).toMatch(/last\(loss\) is 0\.1166 at step 100, its baseline 0\.11 at step 100/);
  const within = withSeries(healthy, 'loss', (s) => ({ ...s, value: s.value.map((x) => x * 1.04) }));
  expect(judge({ ...within, baseline: base })).toBe(0);
  const diverged = withRuns(healthy, { verdict: verdictOf('micro-divergence') });
  expect(judge({ ...diverged, baseline: base })).toBe(1);
  const nan = withSeries(healthy, 'loss', (s) => valuesAt(s, [-1], Number.NaN));
  expect(judge({ ...nan, baseline: base })).toBe(1);
});

test('the ratchet keeps what was better, and a series that is gone', () => {
  const base = updateBaseline(healthy.report, null, true);
  const worse = withSeries(healthy, 'loss', (s) => ({ ...s, value: s.value.map((x) => x + 1) }));
  expect(updateBaseline(worse.report, base, true)).toEqual(base);
  expect(updateBaseline(worse.report, base, false)).not.toEqual(base);
  const better = withSeries(healthy, 'loss', (s) => ({ ...s, value: s.value.map((x) => x - 0.05) }));
  expect(updateBaseline(better.report, base, true).runs[0]!.values.map(({ value }) => value)).toEqual(
    updateBaseline(better.report, null, true).runs[0]!.values.map(({ value }) => value),
  );
  const gone = { runs: [makeRunReport(makeRun('run.csv', [makeSeries('other', 'other', [1, 2])]))] };
  expect(updateBaseline(gone, base, true)).toEqual(base);
});

test('a report whose numbers contradict each other passes no rule', () => {
  const changes: readonly [string, (series: ChartSeries) => ChartSeries][] = [
    ['another maximum', (s) => withStatistics(s, { max: 0.5 })],
    ['another minimum', (s) => withStatistics(s, { min: 0.05 })],
    ['a maximum below the minimum', (s) => withStatistics(s, { max: 0.1, min: 0.2 })],
    ['no extremes', (s) => withStatistics(s, { min: null, max: null })],
    ['a quantile beyond the maximum', (s) => withStatistics(s, { p99: 1e3 })],
    ['a quantile below the minimum', (s) => withStatistics(s, { p50: -1 })],
    [
      'quantiles in another order',
      (s) => withStatistics(s, { p50: s.statistics.p95, p95: s.statistics.p50 }),
    ],
    ['no quantile', (s) => withStatistics(s, { p95: null })],
    ['a mean beyond the maximum', (s) => withStatistics(s, { mean: 1e3 })],
    ['another last value', (s) => withStatistics(s, { last: 0.01 })],
    ['another first value', (s) => withStatistics(s, { first: 99 })],
    ['a last value that is NaN', (s) => withStatistics(s, { last: Number.NaN })],
    ['a later last step', (s) => withStatistics(s, { lastStep: 1e6 })],
    ['more points', (s) => withStatistics(s, { points: s.points + 1 })],
    ['a NaN of which the buckets know nothing', (s) => withStatistics(s, { nan: 1 })],
    ['a NaN in the buckets only', (s) => ({ ...s, nonFinite: s.nonFinite.map((_, k) => (k === 3 ? 1 : 0)) })],
    ['a bucket with another value', (s) => ({ ...s, max: s.max.map((x, k) => (k === 3 ? 147 : x)) })],
    ['a bucket less', (s) => ({ ...s, max: s.max.slice(1) })],
    ['no buckets', (s) => ({ ...s, firstStep: [], lastStep: [], min: [], max: [], nonFinite: [] })],
  ];
  for (const [what, change] of changes) {
    const report = healthy.report.runs[0]!;
    const series = report.series.map((one) => (one.name === 'loss' ? change(one) : one));
    const evidence = { ...withRuns(healthy, { series }), runs: new Map<string, Run>() };
    for (const id of Object.keys(RULES))
      expect([what, id, judgeGate(evidence, configOf({ rules: { [id]: 'error' } })).passed]).toEqual([
        what,
        id,
        false,
      ]);
  }
});

const withStatistics = (series: ChartSeries, change: Partial<ChartSeries['statistics']>): ChartSeries => ({
  ...series,
  statistics: { ...series.statistics, ...change },
});

test('windows: inside them only, on the points themselves, not on a saved report', () => {
  const late = withSeries(healthy, 'loss', (s) => valuesAt(s, [89], 9));
  const judge = (evidence: GateEvidence, from: number, to: number): number =>
    judgeGate(evidence, configOf({ rules: { 'max(loss) < 5': { severity: 'error', from, to } } })).exitCode;
  expect(judge(late, 1, 89)).toBe(0);
  expect(judge(late, 1, 90)).toBe(1);
  expect(judge(late, 90, 90)).toBe(1);
  expect(judge(late, 91, 100)).toBe(0);
  expect(judge(late, 101, 200)).toBe(4);
  expect(judge({ ...late, runs: new Map() }, 1, 89)).toBe(4);
  // The whole series lies in this one: its statistics are exact in a saved report too.
  expect(judge({ ...healthy, runs: new Map() }, 1, 100)).toBe(0);
});

test('budgets, overrides and seeds', () => {
  const finding = (step: number) => ({
    id: 'loss-spike',
    severity: 'note' as const,
    message: `spike at ${step}`,
    steps: [step, step] as const,
    series: 'loss',
    measured: null,
    threshold: null,
    locations: [],
    advice: null,
  });
  const spiky = withRuns(healthy, { findings: [finding(10), finding(20), finding(30)] });
  const judge = (rule: unknown, more = {}): number =>
    judgeGate(spiky, configOf({ rules: { 'loss-spike': rule }, ...more })).exitCode;
  expect(judge('error')).toBe(1);
  expect(judge('warning')).toBe(0);
  expect(judge(['error', { max: 2 }])).toBe(1);
  expect(judge(['error', { max: 3 }])).toBe(0);
  expect(judge({ severity: 'error', from: 15, max: 2 })).toBe(0);
  expect(
    judge('error', { overrides: [{ runs: 'run.*', rules: { 'loss-spike': ['error', { max: 3 }] } }] }),
  ).toBe(0);
  expect(judge('error', { overrides: [{ runs: 'nightly/**', rules: { 'loss-spike': 'off' } }] })).toBe(1);
  // Turned off for the only run there is: nothing was judged.
  expect(judge('error', { overrides: [{ runs: '**', rules: { 'loss-spike': 'off' } }] })).toBe(4);

  const seeds = evidenceOf(
    [0.1, 0.2, 0.6].map((level, i) =>
      makeRun(`lr-0.1/seed-${i}/log.csv`, [makeSeries('loss', 'loss', new Array<number>(50).fill(level))]),
    ),
  );
  const over = (aggregate: string, limit: number): number =>
    judgeGate(seeds, configOf({ aggregate, rules: { [`last(loss) <= ${limit}`]: 'error' } })).exitCode;
  expect([over('worst', 0.5), over('worst', 0.6)]).toEqual([1, 0]);
  expect([over('median', 0.19), over('median', 0.2)]).toEqual([1, 0]);
  expect([over('mean', 0.29), over('mean', 0.31)]).toEqual([1, 0]);
  expect([over('best', 0.09), over('best', 0.1)]).toEqual([1, 0]);
  const nan = withSeries(seeds, 'loss', (s) => valuesAt(s, [-1], Number.NaN));
  for (const aggregate of ['worst', 'median', 'mean', 'best'])
    expect(judgeGate(nan, configOf({ aggregate, rules: { 'last(loss) <= 9': 'error' } })).passed).toBe(false);
});

test('an eigenvalue can be held to a limit', () => {
  const sharp = withRuns(healthy, { curvature: [eigen(true)] });
  const judge = (rule: string): number => judgeGate(sharp, configOf({ rules: { [rule]: 'error' } })).exitCode;
  expect(judge('max(curvature.ratio) < 1')).toBe(0);
  expect(judge('max(curvature.ratio) < 0.1')).toBe(1);
  expect(judge('max(curvature.eigenvalue) <= 3')).toBe(0);
});

test('a series that stops is found by time, by place in the file, and in a saved report by step', () => {
  const stopped = withSeries(healthy, 'val/auc', (s) => cut(s, 2));
  const config = configOf({ rules: { 'last(val/auc) >= 0.6': 'error' } });
  expect(judgeGate(stopped, config).exitCode).toBe(4);
  expect(judgeGate({ ...stopped, runs: new Map() }, config).exitCode).toBe(4);
  const silent = stopped.report.runs.map((run) => ({
    ...run,
    series: run.series.map(({ endsEarly, ...series }) => series),
  }));
  expect(judgeGate(withReport(stopped, { runs: silent }), config).exitCode).toBe(4);
  // Epochs beside steps: the step of the metric lags, its place in the file does not.
  const epochs = withSeries(healthy, 'val/auc', (s) => ({ ...s, step: Float64Array.from([1, 2, 3, 4, 5]) }));
  expect(judgeGate(epochs, config).exitCode).toBe(0);
  // A window that ends where the series still went on is complete.
  const early = configOf({ rules: { 'last(val/auc) >= 0.6': { severity: 'error', to: 40 } } });
  expect(judgeGate(stopped, early).exitCode).toBe(0);
  const timed = withSeries(
    withSeries(healthy, 'loss', (s) => ({ ...s, wallTime: s.step.map((t) => 1e9 + t) })),
    'val/auc',
    (s) => ({ ...s, wallTime: s.step.map((t) => 1e9 + t * 0.3) }),
  );
  expect(judgeGate(timed, config).exitCode).toBe(4);
});

const built = new Map<string, GateEvidence>();

/** So many healthy runs with these faults; each is built once. */
function withFaults(runs: number, names: readonly string[]): GateEvidence {
  const key = JSON.stringify([runs, names]);
  let evidence = built.get(key);
  if (evidence === undefined) {
    const healthyRuns = Array.from({ length: runs }, (_, k) => healthyRun(`a/seed-${k}/log.csv`));
    evidence = names.reduce((before, name) => FAULTS[name]!(before), evidenceOf(healthyRuns));
    built.set(key, evidence);
  }
  return evidence;
}

const COMBINATIONS = process.env.CLIPPY_DIAG_FUZZ === undefined ? 2_000 : 20_000;

test(`0 false passes in ${COMBINATIONS} seeded combinations`, () => {
  const seed = Number(process.env.CLIPPY_DIAG_GATE_SEED ?? 20_261_125);
  const next = random(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
  const ids = Object.keys(RULES);
  const faults = Object.keys(FAULTS);
  let controls = 0;
  for (let i = 0; i < COMBINATIONS; i++) {
    const runs = 1 + Math.floor(next() * 3);
    const names = [pick(faults), ...(next() < 0.3 ? [pick(faults)] : [])];
    // One combination in ten has no fault and must pass: a gate that never passes would be right too often.
    const control = next() < 0.1;
    const rules: Record<string, unknown> = {};
    for (let k = 0; k <= next() * 4; k++) {
      const severity = pick(['error', 'warning', 'note']);
      const options = {
        ...(next() < 0.3 ? { missing: pick(['error', 'warn', 'skip']) } : {}),
        ...(next() < 0.2 ? { from: Math.floor(next() * 1.9) } : {}),
      };
      rules[pick(ids)] = pick([severity, [severity, options], { severity, ...options }]);
    }
    const config = configOf({
      rules,
      ...(next() < 0.3 ? { extends: pick(Object.keys(PRESETS)) } : {}),
      ...(next() < 0.3 ? { expect: { steps: Math.ceil(next() * 100) } } : {}),
      ...(next() < 0.5 ? { aggregate: pick(['worst', 'median', 'mean', 'best']) } : {}),
      ...(next() < 0.2 ? { overrides: [{ runs: 'b/**', rules: { drift: 'off' } }] } : {}),
    });
    const saved = next() < 0.3;
    const faulty = withFaults(runs, control ? [] : names);
    const evidence = saved ? { ...faulty, runs: new Map<string, Run>() } : faulty;
    const result = judgeGate(evidence, config);
    const told = `seed ${seed}, combination ${i}: ${control ? 'control' : names.join(' + ')}, ${JSON.stringify(rules)}`;
    if (result.passed !== control) throw new Error(`${told}: ${JSON.stringify(result, null, 1)}`);
    if (control) controls++;
    else if (i % 5 === 0) {
      const format = pick(Object.values(REPORT_FORMATS));
      const text = format.render(
        { ...evidence.report, gate: result },
        { width: 80, colour: false, ascii: false },
      );
      expect(text.length).toBeGreaterThan(0);
    }
  }
  expect(controls).toBeGreaterThan(COMBINATIONS / 20);
});

test('every preset asks for what recommended does, no less severely but for the budget of llm', () => {
  const rank = ['note', 'warning', 'error'];
  const rules = Object.fromEntries(
    Object.keys(PRESETS).map((preset) => [preset, configOf({ extends: preset }).rules]),
  );
  for (const [preset, own] of Object.entries(rules))
    for (const [id, { severity, max }] of rules.recommended!) {
      expect(rank.indexOf(own.get(id)!.severity), `${preset}: ${id}`).toBeGreaterThanOrEqual(
        rank.indexOf(severity),
      );
      if (preset !== 'llm') expect(own.get(id)!.max).toBe(max);
    }
  const incidents = (count: number): GateEvidence =>
    withRuns(healthy, {
      verdict: {
        ...verdictOf('micro-divergence'),
        incidents: Array.from({ length: count }, (_, i) => ({
          class: 'micro-divergence' as const,
          series: 'loss',
          attempt: 0,
          onsetStep: 10 * i,
          lastGoodStep: 10 * i,
          recoveredStep: 10 * i + 5,
          peakStep: 10 * i,
          peak: 9,
        })),
      },
    });
  const code = (count: number): number => judgeGate(incidents(count), configOf({ extends: 'llm' })).exitCode;
  expect([3, 4].map(code)).toEqual([0, 1]);
});
