/** Contract of every report format: pure, parsed by an independent parser or schema, and hostile names stay text. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { validateXML } from 'xmllint-wasm';
import { z } from 'zod';
import { explain } from '../../src/app/engine/pages.ts';
import { NO_CAUSE } from '../../src/experiment/cause/from-log.ts';
import { FINDINGS } from '../../src/judge/findings/registry.ts';
import type { Cause } from '../../src/model/cause.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { Report } from '../../src/model/report.ts';
import { issuesOf } from '../../src/report/issues.ts';
import { md } from '../../src/report/markdown.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { pathToUri } from '../../src/report/path-uri.ts';
import { REPORT_FORMATS, type ReportFormatId } from '../../src/report/registry.ts';
import { HOSTILE_NAMES } from '../support/hostile-names.ts';
import { healthyRun, makeReport, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';
import { fullReport, PLACES } from './full-report.ts';

const options = { width: 100, colour: false, ascii: false };
const render = (format: ReportFormatId, report: Report): string =>
  REPORT_FORMATS[format].render(report, options);

const hostile = HOSTILE_NAMES.flatMap((name) =>
  PLACES.map((place) => ({ name, place, report: fullReport({ [place]: name }) })),
);
const plainReports: Readonly<Record<string, Report>> = {
  full: fullReport(),
  'without a gate': (({ gate, ...report }) => report)(fullReport()),
  healthy: makeReport([makeRunReport(healthyRun())]),
  empty: makeReport([]),
};

describe.each(Object.keys(REPORT_FORMATS) as ReportFormatId[])('%s', (format) => {
  test('same report, same bytes, also after a round trip through its file', () => {
    for (const report of Object.values(plainReports)) {
      const text = render(format, report);
      expect(render(format, structuredClone(report))).toBe(text);
      expect(render(format, parseReport(render('json', report), 'report.json'))).toBe(text);
    }
  });

  test('twenty names in five places leave no control, bidi or broken character', () => {
    for (const { report } of hostile) {
      const text = render(format, report);
      if (format === 'json') continue;
      expect(text).not.toMatch(
        /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufff9-\ufffb\ufffe\uffff]|[\ud800-\udfff]/u,
      );
    }
  });
});

/** The members of SARIF 2.1.0 that are written here, as its specification defines them; anything else is refused. */
const uri = z.string().regex(/^(file:\/\/\/)?([A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*$/);
const sarifSchema = z.strictObject({
  $schema: z.url(),
  version: z.literal('2.1.0'),
  runs: z.array(
    z.strictObject({
      tool: z.strictObject({
        driver: z.strictObject({
          name: z.string().min(1),
          version: z.string(),
          rules: z.array(
            z.strictObject({
              id: z.string().min(1),
              shortDescription: z.strictObject({ text: z.string() }),
              fullDescription: z.strictObject({ text: z.string().min(1) }).optional(),
              help: z.strictObject({ text: z.string().min(1), markdown: z.string().min(1) }).optional(),
              defaultConfiguration: z
                .strictObject({ level: z.enum(['none', 'note', 'warning', 'error']) })
                .optional(),
            }),
          ),
        }),
      }),
      columnKind: z.enum(['utf16CodeUnits', 'unicodeCodePoints']),
      artifacts: z.array(
        z.strictObject({
          location: z.strictObject({ uri }),
          hashes: z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/)).optional(),
        }),
      ),
      results: z.array(
        z.strictObject({
          ruleId: z.string(),
          ruleIndex: z.int().min(0),
          level: z.enum(['none', 'note', 'warning', 'error']),
          message: z.strictObject({ text: z.string().min(1) }),
          locations: z.array(
            z.strictObject({
              physicalLocation: z.strictObject({
                artifactLocation: z.strictObject({ uri }),
                region: z
                  .union([
                    z.strictObject({ startLine: z.int().min(1) }),
                    z.strictObject({ byteOffset: z.int().min(0) }),
                  ])
                  .optional(),
              }),
              logicalLocations: z.array(z.strictObject({ name: z.string(), kind: z.string() })).optional(),
            }),
          ),
          partialFingerprints: z.record(z.string(), z.string()),
          properties: z.record(z.string(), z.unknown()),
        }),
      ),
    }),
  ),
});

test('SARIF follows the specification, its indices point at its rules, fingerprints are unique', () => {
  for (const report of [...Object.values(plainReports), ...hostile.map((h) => h.report)]) {
    const log = sarifSchema.parse(JSON.parse(render('sarif', report)));
    const [run] = log.runs;
    for (const { ruleId, ruleIndex } of run!.results)
      expect(run!.tool.driver.rules[ruleIndex]!.id).toBe(ruleId);
    const prints = run!.results.map(({ partialFingerprints }) => partialFingerprints['clippyDiag/v1']);
    expect(new Set(prints).size).toBe(prints.length);
    expect(run!.results.length).toBe(issuesOf(report).length);
    // GitHub refuses the file where one result has no place.
    if (report.inputs.length > 0) for (const { locations } of run!.results) expect(locations).not.toEqual([]);
  }
});

test('what the cause rests on stands on every page, each experiment with its numbers, and its names as text', () => {
  const at = { step: 400, batchStep: 400 };
  const one = { id: 'update-norm', value: 2.2, unit: 'norm', usual: null, at } as const;
  const statement = 'the norm of the update is 2.222 at step 400; by tensor 1.261 in "<b>k</b>|x"';
  const cause: Cause = {
    ...NO_CAUSE.cause,
    onsetStep: 400,
    trigger: 'data',
    evidence: [{ ...one, statement }],
  };
  const run = makeRunReport(healthyRun());
  const [told, without] = [makeReport([{ ...run, cause }]), makeReport([run])];
  const heads = {
    html: 'Evidence of the cause',
    markdown: 'evidence of the cause',
    text: 'Evidence',
  } as const;
  for (const format of ['html', 'markdown', 'text'] as const) {
    const given = { ...options, width: 200, verbose: true };
    const page = (report: Report) => REPORT_FORMATS[format].render(report, given);
    expect(page(told)).toContain(heads[format]);
    expect(page(told)).toContain('the norm of the update is 2.222 at step 400; by tensor 1.261 in ');
    if (format !== 'text') expect(page(told)).not.toMatch(/<b>k|k<\/b>\|x/);
    expect(page(without)).not.toContain(heads[format]);
  }
});

test('every finding brings its page to code scanning, and its advice to every tracker, as a finding and as a rule', async () => {
  const run = makeRun('a.csv', [makeSeries('loss', 'loss', [1, 2])]);
  for (const type of Object.values(FINDINGS)) {
    const { id, docs } = type;
    const finding = { id, severity: type.severity, message: 'm', steps: null, series: null };
    const rest = { measured: null, threshold: null, locations: [], advice: null };
    const rule = {
      id,
      run: 'a.csv',
      severity: 'error',
      passed: false,
      status: 'fail',
      expected: 'none',
    } as const;
    const none = { found: 1, series: null, step: null, message: 'm', locations: [] };
    const report = makeReport([makeRunReport(run, { findings: [{ ...finding, ...rest }] })], {
      gate: { passed: false, exitCode: 1, rules: [{ ...rule, ...none }], problems: [], skipped: [] },
    });
    const log = sarifSchema.parse(JSON.parse(render('sarif', report)));
    const { rules } = log.runs[0]!.tool.driver;
    expect(rules.map((one) => one.id)).toEqual([id, `gate/${id}`]);
    for (const { help, defaultConfiguration } of rules) {
      expect(help!.markdown).toBe(await explain(id));
      expect(defaultConfiguration!.level).toBe(type.severity);
    }
    expect(JSON.parse(render('gitlab', report))[1].content.body).toBe(docs.advice);
    expect(
      render('junit', report).replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code))),
    ).toContain(docs.advice);
    expect(render('github', report)).toContain(docs.advice.slice(0, 30).replace(/%/g, '%25'));
  }
});

test('text ends with the gate, where one was judged', () => {
  expect(render('text', plainReports.full!)).toMatch(
    /gate not judged: damaged input: 1 of 4 rules hold, 1 not judged, 1 left out\n$/,
  );
  expect(render('text', plainReports['without a gate']!)).not.toContain('gate');
});

test('paths become URIs that cannot be read as anything else', () => {
  expect(pathToUri('runs/a b/#1?.csv')).toBe('runs/a%20b/%231%3F.csv');
  expect(pathToUri('/tmp/x.csv')).toBe('file:///tmp/x.csv');
  expect(pathToUri('//host/x')).toBe('file:///host/x');
  expect(pathToUri('javascript:x')).toBe('javascript%3Ax');
});

test('JUnit is valid against the schema and counts what it holds', async () => {
  const schema = readFileSync(new URL('junit.xsd', import.meta.url), 'utf8');
  const contents = [...Object.values(plainReports), ...hostile.map((h) => h.report)].map((report, i) => ({
    fileName: `${i}.xml`,
    contents: render('junit', report),
  }));
  const result = await validateXML({ xml: contents, schema: [{ fileName: 'junit.xsd', contents: schema }] });
  expect(result.errors.map(({ message }) => message)).toEqual([]);
  const broken = contents[0]!.contents.replace(' failures="', ' failure="');
  expect(
    (await validateXML({ xml: broken, schema: [{ fileName: 'junit.xsd', contents: schema }] })).valid,
  ).toBe(false);
  const full = render('junit', plainReports.full!);
  expect(full.match(/<failure /g)).toHaveLength(1);
  expect(full.match(/<error /g)).toHaveLength(3);
  expect(full.match(/<skipped /g)).toHaveLength(1);
  expect(full).toContain('<testsuite name="runs/a/log.csv" tests="2" failures="1" errors="0" skipped="0"');
});

test('GitHub commands: one a line, escaped, ten of a kind at most, worst first', () => {
  for (const report of [...Object.values(plainReports), ...hostile.map((h) => h.report)])
    for (const line of render('github', report).split('\n').slice(0, -1)) {
      expect(line).toMatch(/^::(error|warning|notice) ([a-z]+=[^,:]*,)*title=[^,:]*(%3A)?[^,:]*::[^\r\n]+$/);
      expect(line.slice(line.indexOf('::', 2) + 2)).not.toMatch(/%(?!25|0D|0A)/);
      expect(Buffer.byteLength(line)).toBeLessThan(64 * 1024);
    }
  const many = fullReport();
  const findings = Array.from(
    { length: 40 },
    (_, i): Finding => ({
      ...many.runs[0]!.findings[0]!,
      severity: (['error', 'warning', 'note'] as const)[i % 3]!,
      message: `${'é%\n'.repeat(20_000)}`,
    }),
  );
  const text = render('github', { ...many, runs: [{ ...many.runs[0]!, findings }] });
  for (const kind of ['error', 'warning', 'notice'])
    expect(text.split('\n').filter((line) => line.startsWith(`::${kind} `))).toHaveLength(10);
  for (const line of text.split('\n')) expect(Buffer.byteLength(line)).toBeLessThan(64 * 1024);
  expect(text.split('\n')[0]).toContain('title=clippy-diag%3A gate%3A full-divergence');
  expect(text).toContain('7 more in the report');
});

test('GitLab code quality: required members, enum, unique fingerprints, paths inside', () => {
  const schema = z.array(
    z.strictObject({
      description: z.string().min(1),
      check_name: z.string().min(1),
      fingerprint: z.string().regex(/^[0-9a-f]{40}$/),
      severity: z.enum(['info', 'minor', 'major', 'critical', 'blocker']),
      content: z.strictObject({ body: z.string().min(1) }).optional(),
      location: z.strictObject({ path: z.string().min(1), lines: z.strictObject({ begin: z.int().min(1) }) }),
    }),
  );
  for (const report of [...Object.values(plainReports), ...hostile.map((h) => h.report)]) {
    const entries = schema.parse(JSON.parse(render('gitlab', report)));
    expect(new Set(entries.map(({ fingerprint }) => fingerprint)).size).toBe(entries.length);
    for (const { location } of entries) expect(location.path).not.toMatch(/^\.\//);
  }
});

test('fingerprints stay when steps, values and messages move, and differ between runs and series', () => {
  const prints = (report: Report): string[] => issuesOf(report).map(({ fingerprint }) => fingerprint);
  expect(prints(fullReport({}, 500))).toEqual(prints(fullReport({}, 400)));
  expect(prints(fullReport({ message: 'other words' }))).toEqual(prints(fullReport()));
  expect(prints(fullReport({ series: 'other' }))).not.toEqual(prints(fullReport()));
  expect(prints(fullReport({ run: 'other' }))).not.toEqual(prints(fullReport()));
});

/** Every construct of CommonMark and GitHub's extensions starts with one of these; escaped they are text. */
test('Markdown: hostile names are escaped text', () => {
  for (const name of [...HOSTILE_NAMES, '- item', '1. item', 'https://a.invalid www.a.invalid']) {
    const rest = md(name).replace(/\\[!-/:-@[-`{-~]|&(amp|lt|commat);/g, 'x');
    expect(rest).not.toMatch(/[\\`*_{}[\]()#!|~<>$^@\n&]|^[-+=]|^\d+\.|:\/\/|www\./i);
  }
  for (const { report } of hostile) {
    const text = render('markdown', report);
    expect(text).not.toMatch(/<(script|img|svg|!--)/i);
    expect(text).not.toMatch(/(^|[^\\])\]\(/);
    for (const line of text.split('\n').filter((l) => l.startsWith('|')))
      expect([5, 7, 8, 10, 11]).toContain(line.replace(/\\./g, '').split('|').length);
  }
});

test('Markdown stays within a job summary of 1 MiB', () => {
  const report = fullReport();
  const findings = new Array<Finding>(4000).fill({
    ...report.runs[0]!.findings[0]!,
    message: 'é'.repeat(400),
  });
  const text = render('markdown', { ...report, runs: [{ ...report.runs[0]!, findings }] });
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1024 * 1024);
  expect(Buffer.byteLength(text)).toBeGreaterThan(1_000_000);
});

describe('a saved report', () => {
  const text = render('json', plainReports.full!);

  test('keeps members that this version does not know, and non-finite numbers', () => {
    const value = JSON.parse(text) as {
      runs: { verdict: { incidents: { peak: unknown }[] } }[];
      later?: unknown;
    };
    expect(value.runs[0]!.verdict.incidents[1]!.peak).toBe('NaN');
    value.later = { a: [1, 'NaN'] };
    const again = render('json', parseReport(JSON.stringify(value), 'r.json'));
    expect(JSON.parse(again)).toEqual(value);
  });

  const since3 = ['coverage', 'provenBy', 'job', 'audit', 'preflight'];
  test.each([
    ['0.1.0', '1.0', ['account', 'cause', 'remedies', ...since3]],
    ['0.2.0', '2.0', since3],
  ])('of %s is read, and renders to the same bytes', (_, schemaVersion, later) => {
    const old = JSON.parse(text, (key, value: unknown) =>
      later.includes(key) ? undefined : value,
    ) as object;
    const json = JSON.stringify({ ...old, schemaVersion });
    const read = parseReport(json, 'r.json');
    expect(JSON.parse(render('json', read))).toEqual(JSON.parse(json));
    expect(render('html', read)).toContain('</html>');
    expect(render('markdown', read)).toContain(read.verdict.why);
  });

  test.each([
    ['', /Unexpected end/],
    ['[]', /no "schemaVersion"/],
    ['{"schemaVersion":"1.0"}', /no "schemaVersion" and "runs"/],
    ['{"schemaVersion":"4.0","runs":[]}', /schema version 4\.0, this tool reads 1\.0 to 3\.0/],
    ['{"schemaVersion":"1.0","runs":[]}', /toolVersion/],
    ['{"schemaVersion":"2.0","runs":[]}', /toolVersion/],
    ['{"schemaVersion":"3.0","runs":[]}', /toolVersion/],
  ])('%s is refused', (broken, problem) => {
    expect(() => parseReport(broken, 'r.json')).toThrow(problem);
  });

  test('is refused when any of its required members is gone', () => {
    const whole = JSON.parse(text) as object;
    const paths: (string | number)[][] = [];
    const walk = (value: unknown, path: (string | number)[]): void => {
      if (Array.isArray(value)) {
        if (value.length > 0) walk(value[0], [...path, 0]);
      } else if (typeof value === 'object' && value !== null)
        for (const [key, member] of Object.entries(value)) {
          paths.push([...path, key]);
          walk(member, [...path, key]);
        }
    };
    walk(whole, []);
    const optional =
      /gate$|detectorsRun|endsEarly$|task$|bottleneck|hyperparameters|options|line$|byteOffset$|tensor$|hint$|path$|errors$|missing$|refused$|account$|kept$|lost$|unreadBytes$|coverage$|provenBy$|levels$|job$|audit$/;
    let refused = 0;
    for (const path of paths) {
      if (optional.test(path.join('.'))) continue;
      const copy = structuredClone(whole) as Record<string | number, unknown>;
      let at = copy;
      for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
      delete at[path.at(-1)!];
      expect(() => parseReport(JSON.stringify(copy), 'r.json'), path.join('.')).toThrow(/report/);
      refused++;
    }
    expect(refused).toBeGreaterThan(100);
  });
});

test('the cause stands beside the verdict, with how sure it is; a calm run has none', () => {
  const withCause = (cause: Partial<Cause>): string => {
    const report = fullReport();
    const [run] = report.runs;
    return render('text', {
      ...report,
      runs: [{ ...run!, cause: { ...NO_CAUSE.cause, ...cause }, remedies: NO_CAUSE.remedies }],
    }).replace(/\s+/g, ' ');
  };
  const found = { trigger: 'data', onsetStep: 250, statement: 'batch 250 is unlike' } as const;
  expect(withCause({ ...found, confidence: 'shown' })).toContain(
    'why: the data changed (shown by experiment): batch 250 is unlike',
  );
  expect(withCause({ ...found, confidence: 'likely' })).toContain('why: the data changed (likely):');
  expect(withCause({ onsetStep: 250, statement: 'the log does not show it' })).toContain(
    'why: not found: the log does not show it',
  );
  expect(withCause({})).not.toContain('why:');
});
