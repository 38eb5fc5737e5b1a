/** What keeps a gate from passing though no rule sees it: each problem by its code, its id and its words. */
import { expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { reportProblems, runProblems } from '../../src/app/gate/problems.ts';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import {
  chartSeries,
  healthyRun,
  makeReport,
  makeRun,
  makeRunReport,
  makeSeries,
} from '../support/make-report.ts';

type Input = Report['inputs'][number];
type Told = readonly (readonly [number, string, string])[];

const configOf = (file: object = {}) => gateConfigFrom({ version: 1, rules: { drift: 'error' }, ...file });
const tell = (problems: ReturnType<typeof reportProblems>): Told =>
  problems.map(({ exitCode, id, message }) => [exitCode, id, message]);
const ofReport = (
  change: Partial<Report> = {},
  config: object = {},
  runs = [makeRunReport(healthyRun())],
): Told => tell(reportProblems(makeReport(runs, change), configOf(config)));
const ofInput = (change: Partial<Input>): Told => {
  const { inputs } = makeReport([makeRunReport(healthyRun())]);
  return ofReport({ inputs: inputs.map((input) => ({ ...input, ...change })) });
};
const { account } = makeReport([makeRunReport(healthyRun())]).inputs[0]!;
const lostBytes = { reason: 'damaged', at: 40, bytes: 60 } as NonNullable<typeof account>['lost'][number];
const withLost = (...lost: NonNullable<typeof account>['lost']) => ({
  ...account!,
  records: 900 - lost.reduce((sum, { bytes }) => sum + bytes, 0),
  lost,
});

test.each<[string, Partial<Input>, Told]>([
  ['nothing', {}, []],
  ['nothing told of what was lost', { lost: undefined!, unreadBytes: undefined!, errors: undefined! }, []],
  [
    'an error',
    { errors: [{ id: 'file-unreadable', message: 'bad' }] },
    [[3, 'file-unreadable', 'run.csv: bad']],
  ],
  [
    'a loss found by its numbers alone',
    { readBy: { how: 'guess', statement: 'read by guess: 100 numbers that fall' } },
    [[4, 'read-by-guess', 'run.csv: read by guess: 100 numbers that fall (--accept-guess judges it)']],
  ],
  ['a loss found by its words', { readBy: { how: 'words', statement: 'read by words' } }, []],
  ['one lost record', { lost: 1 }, [[3, 'records-lost', 'run.csv: 1 of 101 records lost']]],
  [
    'a lost step of a capture, which keeps no records',
    { lost: 2, kept: undefined!, account: undefined! },
    [[3, 'records-lost', 'run.csv: 2 steps are lost']],
  ],
  [
    'one byte of a torn record',
    { unreadBytes: 1 },
    [[4, 'truncated', 'run.csv: its last 1 byte is no whole record']],
  ],
  [
    'one byte that came while it was read',
    { grownBytes: 1 },
    [[4, 'still-growing', 'run.csv: grew by 1 byte while it was read']],
  ],
  ['none that came', { grownBytes: 0 }, []],
  ['no hash of a file', { sha256: null }, [[4, 'not-read', 'run.csv: was not read to its end']]],
  ['no hash of what no run has as a path: a folder', { sha256: null, path: 'runs' }, []],
  [
    'no hash of a checkpoint, which keeps no records',
    { sha256: null, kept: undefined!, account: undefined! },
    [],
  ],
  [
    'an account that leaves one byte open',
    { account: { ...account!, records: 899 } },
    [[4, 'account-open', 'run.csv: what became of 1 of its bytes is not accounted for']],
  ],
  [
    'bytes that are lost, without an error of their own',
    { account: withLost(lostBytes) },
    [[4, 'lost', 'run.csv: 60 bytes from byte 40 on are lost (damaged)']],
  ],
  [
    'bytes that are lost, with one',
    { account: withLost(lostBytes), errors: [{ id: 'file-unreadable', message: 'bad' }] },
    [[3, 'file-unreadable', 'run.csv: bad']],
  ],
  [
    'bytes that are lost, and records that are counted',
    { account: withLost(lostBytes), lost: 1 },
    [[3, 'records-lost', 'run.csv: 1 of 101 records lost']],
  ],
  [
    'a torn record, which is told by its bytes',
    { account: withLost({ ...lostBytes, reason: 'torn-record' }), unreadBytes: 60 },
    [[4, 'truncated', 'run.csv: its last 60 bytes are no whole record']],
  ],
  [
    'no account of a log',
    { account: undefined! },
    [[4, 'account-missing', 'run.csv: the report has no `account` of it: analyze it again']],
  ],
  ['no record', { kept: 0 }, [[4, 'no-records', 'run.csv: has no record']]],
])('of an input with %s', (_, change, told) => {
  expect(ofInput(change)).toEqual(told);
});

test.each([
  ['input-still-written', 4],
  ['file-unreadable', 3],
  ['usage', 3],
  ['a-warning-of-a-later-version', 4],
])('the warning %s is of code %i', (id, code) => {
  expect(ofReport({ warnings: [{ id: id as Report['warnings'][number]['id'], message: 'so' }] })).toEqual([
    [code, id, 'so'],
  ]);
});

test('files that say that they are logs and were not read: twenty are named, the others counted', () => {
  const skipped = (count: number): Report['skipped'] =>
    Array.from({ length: count }, (_, i) => ({
      path: `${i}.log`,
      reason: 'no points',
      saysLog: 'name' as const,
    }));
  const one = [4, 'unread', '0.log: its name says that it is a log, and it was not read: no points'];
  expect(ofReport({ skipped: skipped(1) })).toEqual([one]);
  expect(ofReport({ skipped: [{ path: 'a.txt', reason: 'no points' }] })).toEqual([]);
  expect(ofReport({ skipped: skipped(1) }, { unread: 'ignore' })).toEqual([]);
  expect(ofReport({ skipped: skipped(2) }, { unread: ['1.*'] })).toEqual([one]);
  expect(ofReport({ skipped: skipped(20) })).toHaveLength(20);
  expect(ofReport({ skipped: skipped(21) })).toHaveLength(21);
  expect(ofReport({ skipped: skipped(23) }).at(-1)).toEqual([4, 'unread', '3 more logs were not read']);
});

test('runs: none, fewer than expected, as many', () => {
  expect(ofReport({ runs: [] })).toEqual([[4, 'no-runs', 'there is no run to judge']]);
  expect(ofReport({ runs: [] }, { expect: { runs: 2 } })).toEqual([
    [4, 'no-runs', 'there is no run to judge'],
  ]);
  expect(ofReport({}, { expect: { runs: 2 } })).toEqual([[4, 'too-few-runs', '1 run, expected at least 2']]);
  expect(ofReport({}, { expect: { runs: 1 } })).toEqual([]);
});

const ofRun = (change: Partial<RunReport>, config: object = {}, run = healthyRun()): Told =>
  tell(runProblems(makeRunReport(run, change), configOf(config), false));
const eigen = (...converged: readonly boolean[]): CurvatureEntry => ({
  checkpoint: 'step-50',
  step: 50,
  method: 'lanczos',
  operator: 'hessian',
  block: 'head',
  task: 'all',
  eigenvalues: converged.map((one) => ({ value: 3, residualNorm: 1, converged: one, iterations: 30 })),
  largestMagnitude: 3,
  hvpCount: 30,
  hvpMethod: 'exact',
  stability: { learningRate: 0.1, limit: 20, ratio: 0.15 },
  seed: 1,
  backend: 'cpu',
  source: 'computed',
});
const unsure = { ...makeRunReport(healthyRun()).verdict, class: 'inconclusive', why: 'too short' } as const;
const notConverged = [4, 'not-converged', 'the eigenvalue of step-50 (head) did not converge'];

test.each<[string, Partial<RunReport>, readonly unknown[]]>([
  ['nothing', {}, []],
  ['a verdict that is inconclusive', { verdict: unsure }, [[4, 'inconclusive', 'too short']]],
  [
    'nothing told of what was looked for',
    { detectorsRun: undefined! },
    [[4, 'detectors-unknown', 'the report does not say what was looked for: analyze the inputs again']],
  ],
  [
    'a detector that failed',
    { failedDetectors: [{ id: 'drift', error: { id: 'usage', message: 'boom' } }] },
    [[4, 'detector-crashed', 'the detector drift failed: boom']],
  ],
  ['eigenvalues that converged', { curvature: [eigen(true, true)] }, []],
  ['one of two that did not', { curvature: [eigen(true, false)] }, [notConverged]],
  ['two of two entries', { curvature: [eigen(false), eigen(false)] }, [notConverged, notConverged]],
])('of a run with %s', (_, change, told) => {
  expect(ofRun(change)).toEqual(told);
});

test('a run has points if one of its series has', () => {
  const empty = chartSeries(makeRun('r', [makeSeries('loss', 'loss', [])]));
  expect(ofRun({ series: empty }).map(([, id]) => id)).toContain('no-points');
  expect(ofRun({ series: [...chartSeries(healthyRun()), ...empty] }).map(([, id]) => id)).not.toContain(
    'no-points',
  );
});

test('a series that contradicts itself is told', () => {
  const [loss, ...others] = chartSeries(healthyRun());
  expect(ofRun({ series: [{ ...loss!, points: 99 }, ...others] })).toEqual([
    [
      4,
      'report-contradicts-itself',
      expect.stringContaining('of the series loss there are 99 points and 100'),
    ],
  ]);
});

const series = (
  change: Readonly<Record<string, boolean>>,
  ...names: readonly string[]
): RunReport['series'] =>
  chartSeries(
    makeRun(
      'r',
      names.map((name) => makeSeries(name, /loss/.test(name) ? 'loss' : 'metric', [3, 2, 1])),
    ),
  ).map((one) => ({ ...one, endsEarly: change[one.name] ?? false }));

test('a loss that ends is a problem, but for one beside the loss that was judged to the end', () => {
  const ends = (change: Readonly<Record<string, boolean>>, ...names: readonly string[]): readonly string[] =>
    ofRun({ series: series(change, ...names) })
      .filter(([, id]) => id === 'series-ends')
      .map(([, , message]) => message);
  const told = (name: string): string => `the series ${name} ends at step 3 while others go on`;
  // The verdict is of `loss`.
  expect(ends({ loss: true }, 'loss', 'auc')).toEqual([told('loss')]);
  expect(ends({ 'train/loss': true }, 'loss', 'train/loss')).toEqual([]);
  expect(ends({ loss: true, 'train/loss': true }, 'loss', 'train/loss', 'auc')).toEqual([
    told('loss'),
    told('train/loss'),
  ]);
  expect(ends({ auc: true }, 'loss', 'auc')).toEqual([]);
  // No series decides: every loss counts.
  expect(ends({ 'train/loss': true }, 'a_loss', 'train/loss')).toEqual([told('train/loss')]);
  // One without points decides nothing.
  const [empty] = chartSeries(makeRun('r', [makeSeries('loss', 'loss', [])]));
  const beside = series({ 'train/loss': true }, 'train/loss');
  expect(
    ofRun({ series: [{ ...empty!, endsEarly: false }, ...beside] }).filter(([, id]) => id === 'series-ends'),
  ).toEqual([[4, 'series-ends', told('train/loss')]]);
});

test.each<[readonly number[], number, number, string | null]>([
  // Steps 1 … 5, and 20, 40, … 100: 5 and 100 steps done.
  [[1, 1, 1, 1, 1], 1, 5, null],
  [[1, 1, 1, 1, 1], 1, 6, '5 of 6 steps done'],
  [[1, 1, 1, 1, 1], 20, 100, null],
  [[1, 1, 1, 1, 1], 20, 101, '100 of 101 steps done'],
  // One point has no gap: what it stands for is its step.
  [[1], 7, 7, null],
  [[1], 7, 8, '7 of 8 steps done'],
  [[], 1, 1, 'NaN of 1 step done'],
])('of %j every %i, %i steps are expected', (values, every, steps, message) => {
  const run = makeRun('r', [makeSeries('loss', 'loss', values, every)]);
  const found = ofRun({}, { expect: { steps } }, run).filter(([, id]) => id === 'too-few-steps');
  expect(found.map(([, , text]) => text)).toEqual(message === null ? [] : [message]);
});

test('of several series the one that did most counts, and steps that count from 0', () => {
  const fromZero = { ...makeSeries('a', 'loss', [3, 2, 1]), step: Float64Array.from([0, 10, 20]) };
  const few = (steps: number, ...all: Parameters<typeof makeRun>[1]): boolean =>
    ofRun({}, { expect: { steps } }, makeRun('r', all)).some(([, id]) => id === 'too-few-steps');
  expect([few(30, fromZero), few(31, fromZero)]).toEqual([false, true]);
  const short = makeSeries('b', 'loss', [1, 1]);
  expect([few(30, fromZero, short), few(30, short, fromZero), few(31, short, fromZero)]).toEqual([
    false,
    false,
    true,
  ]);
});

test('a config that accepts guesses judges a loss found by its numbers alone', () => {
  const { inputs } = makeReport([makeRunReport(healthyRun())]);
  const guessed = inputs.map((input) => ({ ...input, readBy: { how: 'guess', statement: 's' } as const }));
  expect(ofReport({ inputs: guessed }, { acceptGuess: true })).toEqual([]);
  expect(ofReport({ inputs: guessed }).map(([code]) => code)).toEqual([4]);
});

test('loss records that were not judged keep a gate from passing, and so does a report that has no count', () => {
  const { verdict } = makeRunReport(healthyRun());
  const ofVerdict = (change: Partial<RunReport['verdict']>): Told =>
    tell(runProblems(makeRunReport(healthyRun(), { verdict: { ...verdict, ...change } }), configOf(), false));
  const judged = { holds: false, statement: '97 of 100 loss records judged; the first other is run.csv:41' };
  expect(ofVerdict({})).toEqual([]);
  expect(ofVerdict({ provenBy: { ...verdict.provenBy!, judged } })).toEqual([
    [4, 'not-all-judged', judged.statement],
  ]);
  const unknown = 'the report has no `verdict.coverage` and `verdict.provenBy`: analyze the inputs again';
  const { coverage: _coverage, ...uncounted } = verdict;
  const { provenBy: _proofs, ...unproven } = verdict;
  for (const lacking of [uncounted, unproven])
    expect(tell(runProblems(makeRunReport(healthyRun(), { verdict: lacking }), configOf(), false))).toEqual([
      [4, 'coverage-unknown', unknown],
    ]);
});
