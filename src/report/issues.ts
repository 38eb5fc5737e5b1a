/** What a report complains about, in one list: what JUnit, SARIF, GitHub and GitLab have in common. */

import { createHash } from 'node:crypto';
import type { Severity } from '../model/finding.ts';
import { counted } from '../model/format-number.ts';
import type { GateRule } from '../model/gate.ts';
import type { Report, ReportInput, RunReport } from '../model/report.ts';
import type { SourceRef } from '../model/source-ref.ts';
import { answerOf } from './brief-answer.ts';
import { adviceOnKind } from './finding-words.ts';
import { isLeading } from './where-it-ends.ts';

export interface Issue {
  /** What complains: a finding, a rule of the gate (`gate/…`), or what is wrong with the evidence itself. */
  readonly source: 'finding' | 'gate' | 'problem';
  readonly id: string;
  readonly severity: Severity;
  /** Null where it is about the inputs as a whole. */
  readonly run: string | null;
  readonly message: string;
  readonly advice: string | null;
  readonly steps: readonly [number, number] | null;
  readonly locations: readonly SourceRef[];
  /**
   * The same for the same complaint in the next report: 40 hex digits over source, id, run, series and the number
   * among its equals. Steps and values are left out, they move from run to run.
   */
  readonly fingerprint: string;
}

type Raw = Omit<Issue, 'fingerprint'> & { readonly series: string | null };

/** Where the last record begins that is not whole. */
function tornAt({ account }: ReportInput): { readonly byteOffset: number } | undefined {
  const torn = account?.lost.find(({ reason }) => reason === 'torn-record');
  return torn && { byteOffset: torn.at };
}

/** What the page says of the cause and the remedy of a run's incident, where experiments or the log show a cause; else null. */
export function knownOf(
  run: RunReport,
  report: Report,
  labels: readonly string[] = ['Why', 'Fix'],
): string | null {
  if (run.cause === undefined || run.cause.trigger === 'none-found') return null;
  const parts = answerOf(run, report).parts.filter(({ label }) => labels.includes(label));
  if (parts.length === 0) return null;
  return parts
    .map(({ label, text, code, after }) =>
      [
        `${label}: ${text}`,
        ...(code === undefined ? [] : [`    ${code}`]),
        ...(after === undefined ? [] : [after]),
      ].join('\n'),
    )
    .join('\n');
}

/** What to do about a rule that failed: of the incident that the cause is of what the page says, its message says why. */
export function ruleAdvice({ id, run, step, status }: GateRule, report: Report): string | null {
  if (status !== 'fail') return null;
  const of = report.runs.find((one) => one.id === run);
  const leading = of !== undefined && isLeading({ id, steps: step === null ? null : [step, step] }, of);
  return (leading ? knownOf(of, report, ['Fix']) : null) ?? adviceOnKind(id);
}

function rawIssues(report: Report): Raw[] {
  const raw: Raw[] = [];
  for (const input of report.inputs) {
    const place = {
      source: 'problem',
      severity: 'error',
      run: null,
      steps: null,
      series: input.path,
    } as const;
    for (const error of input.errors ?? [])
      raw.push({
        ...place,
        id: error.id,
        message: error.message,
        advice: error.hint ?? null,
        locations: [
          {
            path: error.path ?? input.path,
            ...(error.line === undefined ? {} : { line: error.line }),
            ...(error.byteOffset === undefined ? {} : { byteOffset: error.byteOffset }),
          },
        ],
      });
    if ((input.unreadBytes ?? 0) > 0)
      raw.push({
        ...place,
        severity: 'warning',
        id: 'truncated',
        message: `the last ${counted(input.unreadBytes!, 'byte is', 'bytes are')} no whole record`,
        advice: null,
        locations: [{ path: input.path, ...tornAt(input) }],
      });
    if ((input.grownBytes ?? 0) > 0)
      raw.push({
        ...place,
        severity: 'warning',
        id: 'still-growing',
        message: `grew by ${counted(input.grownBytes!, 'byte')} while it was read`,
        advice: null,
        locations: [{ path: input.path }],
      });
  }
  for (const warning of report.warnings)
    raw.push({
      source: 'problem',
      severity: 'warning',
      id: warning.id,
      run: null,
      message: warning.message,
      advice: warning.hint ?? null,
      steps: null,
      series: null,
      locations: warning.path === undefined ? [] : [{ path: warning.path }],
    });
  for (const run of report.runs) {
    const known = knownOf(run, report);
    for (const finding of run.findings)
      raw.push({
        source: 'finding',
        id: finding.id,
        severity: finding.severity,
        run: run.id,
        message: finding.message,
        advice: isLeading(finding, run) ? (known ?? finding.advice) : finding.advice,
        steps: finding.steps,
        series: finding.series,
        locations: finding.locations,
      });
    for (const { id, error } of run.failedDetectors)
      raw.push({
        source: 'problem',
        id,
        severity: 'error',
        run: run.id,
        message: `the detector failed: ${error.message}`,
        advice: null,
        steps: null,
        series: null,
        locations: [],
      });
  }
  for (const rule of report.gate?.rules ?? [])
    if (!rule.passed)
      raw.push({
        source: 'gate',
        id: rule.id,
        severity: rule.status === 'inconclusive' ? 'error' : rule.severity,
        run: rule.run,
        message: `${rule.status === 'fail' ? 'failed' : 'could not be judged'}: expected ${rule.expected}; ${rule.message}`,
        advice: ruleAdvice(rule, report),
        steps: rule.step === null ? null : [rule.step, rule.step],
        series: rule.series,
        locations: rule.locations,
      });
  for (const problem of report.gate?.problems ?? [])
    raw.push({
      source: 'problem',
      id: `gate-${problem.id}`,
      severity: 'error',
      run: problem.run,
      message: `the gate cannot pass: ${problem.message}`,
      advice: null,
      steps: null,
      series: null,
      locations: [],
    });
  return raw;
}

/**
 * Every complaint of a report, in its order. One without a place has the first file of its run, or of the report: code
 * scanning refuses a result that has none.
 */
export function issuesOf(report: Report): Issue[] {
  const seen = new Map<string, number>();
  const files = (run: string | null): readonly string[] =>
    report.runs.find(({ id }) => id === run)?.paths ?? report.inputs.map(({ path }) => path);
  return rawIssues(report).map(({ series, ...raw }) => {
    const locations =
      raw.locations.length > 0
        ? raw.locations
        : files(raw.run)
            .slice(0, 1)
            .map((path) => ({ path }));
    const issue = { ...raw, locations };
    const key = JSON.stringify([issue.source, issue.id, issue.run, series]);
    const ordinal = seen.get(key) ?? 0;
    seen.set(key, ordinal + 1);
    const fingerprint = createHash('sha256').update(`${key}#${ordinal}`).digest('hex').slice(0, 40);
    return { ...issue, fingerprint };
  });
}
