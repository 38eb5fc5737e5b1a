/** What was lost of an input stands in every report for people, and nothing does of an input that is whole. */
import { describe, expect, it } from 'vitest';
import type { Account } from '../../src/model/log.ts';
import type { Report, ReportInput } from '../../src/model/report.ts';
import { PLAIN } from '../../src/report/format.ts';
import { briefOf, briefText } from '../../src/report/kilobyte-brief.ts';
import { REPORT_FORMATS, type ReportFormatId } from '../../src/report/registry.ts';
import { healthyRun, makeReport, makeRunReport } from '../support/make-report.ts';

const whole: Account = { bytes: 5_000, records: 4_000, overhead: 1_000, passedOver: 0, lost: [] };
const torn: Account = {
  ...whole,
  records: 3_800,
  lost: [
    { reason: 'hole', records: 3, bytes: 120, at: 700 },
    { reason: 'torn-record', records: 1, bytes: 80, at: 4_920 },
  ],
};
const input = (account: Account, change: Partial<ReportInput> = {}): ReportInput => ({
  path: 'run.csv',
  format: 'csv',
  sha256: null,
  kept: 40,
  lost: 0,
  unreadBytes: 0,
  account,
  errors: [],
  ...change,
});
const rendered = (format: ReportFormatId, one: ReportInput): string =>
  REPORT_FORMATS[format].render(makeReport([makeRunReport(healthyRun())], { inputs: [one] }), PLAIN);

describe('what was lost of an input', () => {
  it.each(['text', 'html', 'markdown', 'junit'] as const)('is told in %s', (format) => {
    // Without markup, escapes and line ends.
    const text = rendered(format, input(torn, { lost: 3, unreadBytes: 80 }))
      .replace(/\\/g, '')
      .replace(/\s+/g, ' ');
    expect(text).toContain('3 records, 120 bytes lost at byte 700: zero bytes where text should be');
    expect(text).toContain('80 bytes of an unfinished last record not read');
    expect(rendered(format, input(whole))).not.toMatch(/lost at byte|unfinished/);
  });
  it.each(['html', 'brief'] as const)('counts the logs of a folder that were not read in %s', (format) => {
    const [name, reason] = ['b.log', 'in no known format'];
    const page = (skipped: Report['skipped']): string => {
      const report = makeReport([makeRunReport(healthyRun())], { inputs: [input(whole)], skipped });
      return (
        format === 'brief' ? briefText(briefOf(report)) : REPORT_FORMATS[format].render(report, PLAIN)
      ).replace(/\s+/g, ' ');
    };
    const one = { path: `runs/${name}`, reason, saysLog: 'name' as const };
    expect(page([one])).toContain('One file that seems to be a log was not read (b.log: in no known format)');
    expect(page([one, one])).toContain('2 files that seem to be logs were not read (the first, b.log: ');
    expect(page([{ path: 'runs/README.md', reason }])).not.toContain('seem');
  });
  it('is a place in SARIF and in annotations', () => {
    const { runs } = JSON.parse(rendered('sarif', input(torn, { unreadBytes: 80 }))) as {
      runs: { results: { ruleId: string; locations: { physicalLocation: { region?: object } }[] }[] }[];
    };
    const result = runs[0]!.results.find(({ ruleId }) => ruleId === 'truncated')!;
    expect(result.locations[0]!.physicalLocation.region).toEqual({ byteOffset: 4_920 });
  });
});
