/** The HTML report as text: its size, its policy, its data. What a browser makes of it: html-chromium.long.test.ts. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatNumber } from '../../src/model/format-number.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import { runsTable } from '../../src/model/runs-table.ts';
import { html } from '../../src/report/html.ts';
import { chartsOf, overlayOf } from '../../src/report/html-charts.ts';
import { HTML_PARTS } from '../../src/report/html-parts.ts';
import { makeReport, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';
import { fullReport } from './full-report.ts';
import { manyRuns } from './many-runs.ts';

const render = (report: Report): string => html.render(report, { width: 80, colour: false, ascii: false });

test('400 kB hold everything but the data of a run of 100,000 steps, and the data are bounded', () => {
  const text = render(fullReport({}, 100_000));
  const data = /<script type="application\/json" id="charts">(.*?)<\/script>/s.exec(text)![1]!;
  expect(text.length - data.length).toBeLessThan(400_000);
  expect(data.length).toBeLessThan(400_000);
  expect(text).toContain('100,000 points as 400 buckets, each with its minimum and maximum');
});

test('a number under the mouse looks as it does in the tables', () => {
  const source = /const number = (\(value\) => \{.*?\n\});/s.exec(HTML_PARTS.client)![1]!;
  const number = new Function(`return ${source}`)() as (value: number) => string;
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: -1e307, max: 1e307 }), (value) => {
      expect(number(value)).toBe(formatNumber(value));
    }),
    { examples: [[0], [-0], [999_950], [1e-3], [0.00012], [1e16]] },
  );
});

test.each([
  [50, 1_000_000],
  [200, 3_000_000],
])('%i runs of 1,000 points take at most %i bytes, and say what was joined', (count, limit) => {
  const runs = manyRuns(count);
  const text = render(makeReport(runs, { table: runsTable({ runs }) }));
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(limit);
  expect(text).toMatch(/1,000 points as \d+ buckets, each with its minimum and maximum/);
  expect(text.match(/<details class="card run"/g)).toHaveLength(count);
});

test('wide runs leave out charts before they grow too large, and say so', () => {
  const wide = (id: number): RunReport => {
    const loss = Array.from({ length: 1000 }, (_, k) => 0.4 + 1 / (k + 1) + id / 1e4);
    const series = [
      makeSeries('loss', 'loss', loss),
      ...Array.from({ length: 24 }, (_, i) =>
        makeSeries(
          `s${i}`,
          (['metric', 'grad_norm', 'other'] as const)[i % 3]!,
          loss.map((x, k) => x * Math.sin(k * i + id)),
        ),
      ),
    ];
    return makeRunReport(makeRun(`wide-${id}.csv`, series));
  };
  const runs = Array.from({ length: 60 }, (_, id) => wide(id));
  const text = render(makeReport(runs, { table: runsTable({ runs }) }));
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_133_000);
  expect(text).toMatch(/\d charts are left out to keep this file small/);
});

test('the ends of an axis are round, and hold the values', () => {
  const { client } = HTML_PARTS;
  const linear = client.slice(client.indexOf('const NICE ='), client.indexOf('const { charts, overlay }'));
  const log = client.slice(client.indexOf('function roundLogAxis('), client.indexOf('const logTicks ='));
  const { roundAxis, roundLogAxis } = new Function(
    `${linear}; ${log}; return { roundAxis, roundLogAxis };`,
  )() as Record<string, (low: number, high: number, most: number) => { ends: number[]; ticks: number[] }>;
  const round = (value: number): boolean => value === 0 || Number(value.toPrecision(3)) === value;
  const value = fc.double({ noNaN: true, min: 1e-6, max: 1e6 });
  fc.assert(
    fc.property(value, value, fc.integer({ min: 2, max: 12 }), (a, b, most) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b) * 1.01];
      const log = roundLogAxis!(low, high, most);
      for (const { ends, ticks } of [log, roundAxis!(0, high, most)]) {
        expect(ends.every(round), String(ends)).toBe(true);
        expect([ticks[0], ticks.at(-1)]).toEqual(ends);
        expect(ticks.length).toBeLessThanOrEqual(most + 3);
        expect(ends[1]! * (1 + 1e-6)).toBeGreaterThanOrEqual(high);
      }
      expect(log.ends[0]! * (1 - 1e-6)).toBeLessThanOrEqual(low);
    }),
  );
});

test('what is inlined is what stands in the files', () => {
  const require = createRequire(import.meta.url);
  const text = (path: string): string => readFileSync(require.resolve(path), 'utf8').trim();
  expect(HTML_PARTS).toEqual({
    style: `${text('uplot/dist/uPlot.min.css')}\n${text('../../src/report/assets/report.css')}`,
    uplot: `/*!\n${text('uplot/LICENSE')}\n*/\n${text('uplot/dist/uPlot.iife.min.js')}`,
    client: text('../../src/report/assets/report.js'),
  });
});

test('the policy allows what is inlined and nothing else', () => {
  const text = render(fullReport());
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/
    .exec(text)![1]!
    .replace(/&#39;/g, "'");
  const hashes = (tag: string): string[] =>
    [...text.matchAll(new RegExp(`<${tag}>(.*?)</${tag}>`, 'gs'))].map(
      (m) => `'sha256-${createHash('sha256').update(m[1]!).digest('base64')}'`,
    );
  expect(policy.split('; ')).toEqual([
    "default-src 'none'",
    `script-src ${hashes('script').join(' ')}`,
    `style-src ${hashes('style')[0]}`,
    "base-uri 'none'",
    "form-action 'none'",
  ]);
  expect(text).not.toMatch(/\son[a-z]+=|\sstyle=|<(link|img|iframe|object|embed)\b/);
});

test('buckets keep every extreme, restarts split a line, steps of a part rise', () => {
  const report = fullReport({}, 40_000);
  const run = report.runs[0]!;
  const source = run.series[0]!;
  const [loss] = chartsOf(run);
  const of = (key: 'lo' | 'hi'): number[] =>
    loss!.lines[0]!.parts.flatMap((part) => part[key] ?? part.hi).filter((v) => v !== null);
  expect(Math.max(...of('hi'))).toBeCloseTo(source.statistics.max!, 3);
  expect(Math.min(...of('lo'))).toBeCloseTo(source.statistics.min!, 3);
  const back = { ...source, firstStep: source.firstStep.map((s, i) => (i < 200 ? s : s - 15_000)) };
  const split = chartsOf({ ...run, series: [{ ...back, lastStep: back.firstStep }] })[0]!.lines[0]!;
  expect(split.parts.length).toBe(2);
  for (const { x } of split.parts) expect(x.every((v, i) => i === 0 || v > x[i - 1]!)).toBe(true);
});

test('values of a chart have five digits, as those that are written and parsed again', () => {
  const drawn = (value: number): number | null => {
    const run = makeRunReport(makeRun('a', [makeSeries('loss', 'loss', [1, value])]));
    return chartsOf(run)[0]!.lines[0]!.parts[0]!.hi[1]!;
  };
  for (const value of [0, 12_345.678, -12_345.678, 99_999.6, 9.999_996, 1e-300, 1e300, 2 ** 53, 1.234_56e-5])
    expect(drawn(value)).toBe(Number(value.toPrecision(5)));
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: -1e307, max: 1e307 }), (value) => {
      const [five, found] = [Number(value.toPrecision(5)), drawn(value)!];
      // A tie may go either way.
      expect(Math.abs(found - five)).toBeLessThanOrEqual(1.01e-4 * Math.abs(five));
      expect(Number(found.toPrecision(6))).toBe(found);
    }),
  );
});

test('curves overlaid take no longer for a bucket far away, and none where steps have no distance', () => {
  const [one, other] = ['a', 'b'].map((id) =>
    makeRunReport(makeRun(id, [makeSeries('loss', 'loss', [3, 2, 1])])),
  );
  const [series] = one!.series;
  const far = (lastStep: number): RunReport[] => [
    { ...one!, series: [{ ...series!, lastStep: [...series!.lastStep.slice(0, -1), lastStep] }] },
    other!,
  ];
  const overlay = overlayOf(far(1e300), 60)!;
  expect(overlay.curves.map((curve) => curve.length)).toEqual([60, 60]);
  expect(overlay.curves[0]!.filter((value) => value !== null).length).toBeGreaterThan(0);
  const apart = far(Number.MAX_VALUE).map((run) => ({
    ...run,
    series: run.series.map((one) => ({ ...one, firstStep: [-Number.MAX_VALUE, ...one.firstStep.slice(1)] })),
  }));
  expect(overlayOf(apart, 60)).toBeUndefined();
});
