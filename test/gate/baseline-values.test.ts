/** Which values a baseline keeps, what a ratchet keeps of an older one, and when a run is worse. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { judgeBaseline, updateBaseline } from '../../src/app/gate/baseline.ts';
import { type Baseline, formatBaseline, readBaseline } from '../../src/app/gate/baseline-file.ts';
import type { RunReport, VerdictClass } from '../../src/model/report.ts';
import type { Role } from '../../src/model/run.ts';
import { makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';
import { scratchFolders } from '../support/scratch.ts';

const NAN = Number.NaN;
type Given = readonly (readonly [string, Role, readonly number[]])[];
function reportOf(series: Given, of: VerdictClass = 'healthy', id = 'r'): RunReport {
  const run = makeRunReport(
    makeRun(
      id,
      series.map(([name, role, values]) => makeSeries(name, role, values, 10)),
    ),
  );
  return { ...run, verdict: { ...run.verdict, class: of, onsetStep: of === 'healthy' ? null : 20 } };
}
const loss = (...values: readonly number[]): Given => [['loss', 'loss', values]];
/** `series statistic better value step` of each. */
const inShort = ({ runs }: Baseline): readonly string[] =>
  runs.flatMap(({ values }) => values.map((one) => Object.values(one).join(' ')));
const fresh = (series: Given, of?: VerdictClass): Baseline =>
  updateBaseline({ runs: [reportOf(series, of)] }, null, true);

describe('a baseline', () => {
  test('has the last and the best value of each, with their steps, in the order of their names', () => {
    expect(inShort(fresh([['val/auc', 'metric', [0.5, 0.9, 0.7]], ...loss(3, 1, 2)]))).toEqual([
      'loss last lower 2 30',
      'loss min lower 1 20',
      'val/auc last higher 0.7 30',
      'val/auc max higher 0.9 20',
    ]);
  });
  test.each<[string, Role, 'lower' | 'higher' | undefined]>([
    ['x', 'loss', 'lower'],
    ['x', 'task_loss', 'lower'],
    ['x', 'eval_loss', 'lower'],
    ['x', 'grad_norm', undefined],
    ['auc', 'grad_norm', undefined],
    ['val/auc', 'metric', 'higher'],
    ['eval_top-5', 'metric', 'higher'],
    ['RMSE', 'metric', 'lower'],
    ['log_loss', 'metric', 'lower'],
    ['caucus', 'metric', undefined],
    ['x', 'metric', undefined],
  ])('takes %s as %s: %s', (name, role, better) => {
    const { runs } = fresh([[name, role, [1, 2]]]);
    expect([...new Set(runs[0]!.values.map((value) => value.better))]).toEqual(
      better === undefined ? [] : [better],
    );
  });
  test('leaves out what is not finite, and series without points', () => {
    expect(inShort(fresh(loss(3, 1, NAN)))).toEqual(['loss min lower 1 20']);
    expect(inShort(fresh(loss(NAN)))).toEqual([]);
    expect(inShort(fresh(loss()))).toEqual([]);
  });
  test('has the runs in the order of their names, and keeps those that a report has not', () => {
    const of = (...ids: readonly string[]) => ({ runs: ids.map((id) => reportOf(loss(1), 'healthy', id)) });
    const base = updateBaseline(of('b', 'a'), null, true);
    expect(base.runs.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(updateBaseline(of('c'), base, true).runs.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    expect(updateBaseline(of('c'), base, false).runs.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
  });
});

describe('a ratchet', () => {
  const base = fresh([...loss(3, 1, 2), ['auc', 'metric', [0.5, 0.9, 0.7]]], 'micro-divergence');
  const next = (series: Given, of: VerdictClass, ratchet = true): Baseline =>
    updateBaseline({ runs: [reportOf(series, of)] }, base, ratchet);
  test('keeps each value that is better, and takes each that is', () => {
    expect(inShort(next([...loss(3, 1.5, 1.2), ['auc', 'metric', [0.5, 0.8, 0.75]]], 'healthy'))).toEqual([
      'auc last higher 0.75 30',
      'auc max higher 0.9 20',
      'loss last lower 1.2 30',
      'loss min lower 1 20',
    ]);
  });
  test('keeps a value as good, and those of a series that is gone or not finite', () => {
    expect(inShort(next(loss(1, 2), 'healthy'))).toEqual([
      'auc last higher 0.7 30',
      'auc max higher 0.9 20',
      'loss last lower 2 20',
      'loss min lower 1 10',
    ]);
    expect(inShort(next(loss(NAN), 'healthy'))).toEqual(inShort(base));
  });
  test('keeps the better class', () => {
    const of = (found: VerdictClass, ratchet?: boolean): string =>
      next(loss(1), found, ratchet).runs[0]!.class;
    expect([of('healthy'), of('full-divergence'), of('micro-divergence')]).toEqual([
      'healthy',
      'micro-divergence',
      'micro-divergence',
    ]);
    expect(of('full-divergence', false)).toBe('full-divergence');
  });
  test('without one the new values stand alone', () => {
    expect(inShort(next(loss(9), 'healthy', false))).toEqual(['loss last lower 9 10', 'loss min lower 9 10']);
  });
});

describe('a run against its baseline', () => {
  const base = fresh(loss(3, 1, 2), 'micro-divergence');
  const none = { relative: 0, absolute: 0 };
  const judge = (
    series: Given,
    of: VerdictClass = 'healthy',
    tolerance = none,
    other: string | null = null,
  ) => judgeBaseline(reportOf(series, of), base, tolerance, other);
  test('says what is expected and what it is', () => {
    expect(judge(loss(3, 1, 2.5), 'drift')).toMatchObject([
      {
        status: 'fail',
        expected: 'micro-divergence or better',
        message: 'the run is drift, its baseline micro-divergence',
        step: 20,
        series: null,
        found: null,
        locations: [],
      },
      {
        status: 'fail',
        expected: 'last(loss) <= 2 with tolerance 0 + 0·|2|',
        message: 'last(loss) is 2.5 at step 30, its baseline 2 at step 30',
        series: 'loss',
        found: 2.5,
        step: 30,
      },
      { status: 'pass', series: 'loss', found: 1, step: 20 },
    ]);
    const auc = fresh([['auc', 'metric', [0.5]]]);
    expect(
      judgeBaseline(reportOf([['auc', 'metric', [0.5]]]), auc, { relative: 0.1, absolute: 0.2 }, null)[1],
    ).toMatchObject({ status: 'pass', expected: 'last(auc) >= 0.5 with tolerance 0.2 + 0.1·|0.5|' });
  });
  test.each<[VerdictClass, string]>([
    ['healthy', 'pass'],
    ['micro-divergence', 'pass'],
    ['full-divergence', 'fail'],
  ])('of class %s: %s', (of, status) => {
    expect(judge(loss(3, 1, 2), of)[0]!.status).toBe(status);
  });
  test('is worse beyond the tolerance only', () => {
    const status = (last: number, tolerance: typeof none): string =>
      judge(loss(3, 1, last), 'healthy', tolerance)[1]!.status;
    expect([
      status(2.2, { relative: 0.1, absolute: 0 }),
      status(2.3, { relative: 0.1, absolute: 0 }),
    ]).toEqual(['pass', 'fail']);
    expect([
      status(2.1, { relative: 0, absolute: 0.1 }),
      status(2.2, { relative: 0, absolute: 0.1 }),
    ]).toEqual(['pass', 'fail']);
    expect(status(NAN, { relative: 9, absolute: 9 })).toBe('fail');
  });
  test('that the baseline has not, or without the series, or with other thresholds is not judged', () => {
    expect(judgeBaseline(reportOf(loss(1), 'healthy', 'other'), base, none, null)).toMatchObject([
      {
        status: 'inconclusive',
        expected: 'a run of the baseline',
        message: 'the baseline has no run "other"',
      },
    ]);
    expect(judge([])).toMatchObject([
      { status: 'pass' },
      { status: 'inconclusive', series: 'loss', message: 'the run has no series "loss"' },
      { status: 'inconclusive' },
    ]);
    expect(judge(loss(3, 1, 2), 'healthy', none, 'made with others')).toMatchObject([
      { status: 'inconclusive', message: 'made with others' },
      { status: 'pass' },
      { status: 'pass' },
    ]);
  });
});

describe('the file', () => {
  const folder = scratchFolders('baseline-values');
  const read = (text: string): Promise<Baseline> => {
    const path = join(folder(), 'b.json');
    writeFileSync(path, text);
    return readBaseline(path);
  };
  test('reads back', async () => {
    const base = fresh([...loss(3, 1, 2), ['auc', 'metric', [0.5]]], 'drift');
    expect(await read(formatBaseline(base))).toEqual(base);
    expect(formatBaseline(base).endsWith('\n')).toBe(true);
  });
  test.each([
    ['', /JSON|end/],
    ['{"schemaVersion": "2.0", "runs": []}', /schemaVersion/],
    ['[]', /its top/],
    ['{"schemaVersion": "1.0", "runs": [{"id": "a"}]}', /runs\.0\.class/],
    ['{"schemaVersion": "1.0", "runs": [], "runs": []}', /twice/],
  ])('refuses %s', async (text, says) => {
    await expect(read(text)).rejects.toMatchObject({
      code: 'baseline-invalid',
      message: expect.stringMatching(says),
    });
  });
  test('is refused beyond a hundred levels', async () => {
    const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    await expect(read(nested(100))).rejects.toMatchObject({ code: 'baseline-invalid' });
    await expect(read(nested(101))).rejects.toMatchObject({ code: 'limit-exceeded' });
  });
  test('that is not there is missing; a folder is no baseline', async () => {
    const at = folder();
    await expect(readBaseline(join(at, 'none.json'))).rejects.toMatchObject({ code: 'baseline-missing' });
    await expect(readBaseline(at)).rejects.toMatchObject({ code: 'baseline-invalid' });
  });
});
