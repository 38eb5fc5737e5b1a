/**
 * `report` gives the bytes of the command that made the report: what is read back is what was written, whatever is in it.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { untried } from '../../src/experiment/cause/remedies.ts';
import { toJson } from '../../src/model/json.ts';
import type { ChartSeries, Report } from '../../src/model/report.ts';
import { PLAIN, type RenderOptions } from '../../src/report/format.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { REPORT_FORMATS, type ReportFormatId } from '../../src/report/registry.ts';
import { replayEntry, reportSchema, series } from '../../src/report/report-schema.ts';
import { skipListOf } from '../../src/report/skip-list.ts';
import { arbitraryOf } from '../support/arbitrary-of.ts';
import { closedValidator } from '../support/closed-schema.ts';
import { fullReport } from './full-report.ts';

/** Whether the long project runs this. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;
const FORMATS = Object.keys(REPORT_FORMATS) as ReportFormatId[];

/** Series whose lists are as long as each other, and whose points are counted once, as the schema asks. */
const anySeries = fc.tuple(arbitraryOf(series, {}), fc.nat(4)).map(([one, buckets]): ChartSeries => {
  const cut = (list: readonly number[]): readonly number[] =>
    Array.from({ length: buckets }, (_, i) => list[i % list.length] ?? i);
  return {
    ...one,
    firstStep: cut(one.firstStep),
    lastStep: cut(one.lastStep),
    min: cut(one.min),
    max: cut(one.max),
    nonFinite: cut(one.nonFinite),
    points: one.statistics.points,
  };
});
const anyReport = arbitraryOf(reportSchema, { series: anySeries }).map(
  (report): Report => ({ ...report, schemaVersion: '3.0' }),
);

/** One whose first run has a try that holds without some batches, whose list then is no empty one. */
const withSkips = fc.tuple(anyReport, arbitraryOf(replayEntry)).map(([report, entry]): Report => {
  const [run] = fullReport().runs;
  const arm = { steps: [], ...entry.arm, kind: 'skip-batches' };
  const remedies = [untried('skip-batches', 's', { tried: 'closed-loop', holds: true })];
  return {
    ...report,
    verdict: { ...report.verdict, run: run!.id },
    runs: [{ ...run!, remedies, replay: [{ ...entry, arm }] }, ...report.runs],
  };
});

const OPTIONS: readonly RenderOptions[] = [PLAIN, { width: 40, colour: true, ascii: true }];
const render = (format: ReportFormatId, report: Report, options: RenderOptions): string =>
  REPORT_FORMATS[format].render(report, options);
const again = (report: Report): Report => parseReport(toJson(report), 'report.json');

const wrongWith = closedValidator(z.toJSONSchema(reportSchema, { io: 'input' }));

test('a hyperparameter called __proto__ comes back as the number that it was', () => {
  const report = fullReport();
  const hyperparameters = JSON.parse('{"a": 1, "__proto__": 2, "b": "c"}') as Record<string, number>;
  Object.defineProperty(hyperparameters, '__proto__', {
    ...{ value: Number.NEGATIVE_INFINITY, enumerable: true, configurable: true, writable: true },
  });
  const made = { ...report, runs: [{ ...report.runs[0]!, hyperparameters }] };
  const read = again(made).runs[0]!.hyperparameters!;
  expect(Object.entries(read)).toEqual([
    ['a', 1],
    ['__proto__', Number.NEGATIVE_INFINITY],
    ['b', 'c'],
  ]);
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
});

describe('any report', () => {
  test('is what the published schema says, read by another validator, and has no member more', () => {
    fc.assert(
      fc.property(anyReport, (report) => {
        expect(wrongWith(JSON.parse(toJson(report)))).toBeNull();
      }),
    );
    expect(wrongWith(JSON.parse(toJson(fullReport())))).toBeNull();
  });

  // One report for all formats: to think it up costs more than to render it.
  test('has in every format the same bytes when it is read back', () => {
    fc.assert(
      fc.property(anyReport, (report) => {
        const back = again(report);
        for (const format of FORMATS)
          for (const options of OPTIONS)
            expect(render(format, back, options), format).toBe(render(format, report, options));
      }),
      { numRuns: LONG ? 200 : 40 },
    );
  });

  test('with batches to skip has the same skip list when it is read back', () => {
    let listed = 0;
    fc.assert(
      fc.property(withSkips, (report) => {
        if (skipListOf(report).steps.length > 0) listed++;
        expect(render('skip-list', again(report), PLAIN)).toBe(render('skip-list', report, PLAIN));
      }),
      { numRuns: 40 },
    );
    expect(listed).toBeGreaterThan(5);
  });
});
