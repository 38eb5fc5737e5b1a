/** The HTML report as text: its size, its policy, its data. What a browser makes of it: html-chromium.long.test.ts. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatNumber } from '../../src/model/format-number.ts';
import type { Report } from '../../src/model/report.ts';
import { html } from '../../src/reports/html.ts';
import { chartsOf } from '../../src/reports/html-charts.ts';
import { HTML_PARTS } from '../../src/reports/html-parts.ts';
import { fullReport } from './full-report.ts';

const render = (report: Report): string => html.render(report, { width: 80, colour: false, ascii: false });

test('400 kB hold everything but the data of a run of 100,000 steps, and the data are bounded', () => {
  const text = render(fullReport({}, 100_000));
  const data = /<script type="application\/json" id="charts">(.*?)<\/script>/s.exec(text)![1]!;
  expect(text.length - data.length).toBeLessThan(400_000);
  expect(data.length).toBeLessThan(400_000);
  expect(text).toContain('100,000 points as 400 buckets, each with its minimum and maximum');
});

test('a number under the mouse looks as it does in the tables', () => {
  const source = /const number = (\(value\) => \{.*?\n {2}\});/s.exec(HTML_PARTS.client)![1]!;
  const number = new Function(`return ${source}`)() as (value: number) => string;
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      expect(number(value)).toBe(formatNumber(value));
    }),
    { examples: [[0], [-0], [999_950], [1e-3], [0.00012], [1e16]] },
  );
});

test('what is inlined is what stands in the files', () => {
  const require = createRequire(import.meta.url);
  const text = (path: string): string => readFileSync(require.resolve(path), 'utf8').trim();
  expect(HTML_PARTS).toEqual({
    style: `${text('uplot/dist/uPlot.min.css')}\n${text('../../src/reports/assets/report.css')}`,
    uplot: `/*!\n${text('uplot/LICENSE')}\n*/\n${text('uplot/dist/uPlot.iife.min.js')}`,
    client: text('../../src/reports/assets/report.js'),
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
    loss!.lines[0]!.parts.flatMap((part) => part[key]).filter((v) => v !== null);
  expect(Math.max(...of('hi'))).toBeCloseTo(source.statistics.max!, 3);
  expect(Math.min(...of('lo'))).toBeCloseTo(source.statistics.min!, 3);
  const back = { ...source, firstStep: source.firstStep.map((s, i) => (i < 200 ? s : s - 15_000)) };
  const split = chartsOf({ ...run, series: [{ ...back, lastStep: back.firstStep }] })[0]!.lines[0]!;
  expect(split.parts.length).toBe(2);
  for (const { x } of split.parts) expect(x.every((v, i) => i === 0 || v > x[i - 1]!)).toBe(true);
});
