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

/** A problem of no run and no series, unless it says so. */
const problem = (of: Pick<Raw, 'id' | 'message'> & Partial<Raw>): Raw => ({
  source: 'problem',
  severity: 'error',
  run: null,
  advice: null,
  steps: null,
  series: null,
  locations: [],
  ...of,
});

/** What is wrong with an input. */
function inputIssues(input: ReportInput): Raw[] {
  const { path, errors = [], unreadBytes = 0, grownBytes = 0 } = input;
  const raw = errors.map((error) =>
    problem({
      id: error.id,
      series: path,
      message: error.message,
      advice: error.hint ?? null,
      locations: [
        {
          path: error.path ?? path,
          ...(error.line === undefined ? {} : { line: error.line }),
          ...(error.byteOffset === undefined ? {} : { byteOffset: error.byteOffset }),
        },
      ],
    }),
  );
  const warn = (id: string, message: string, at: Partial<SourceRef> = {}): void => {
    raw.push(problem({ id, series: path, severity: 'warning', message, locations: [{ path, ...at }] }));
  };
  if (unreadBytes > 0)
    warn(
      'truncated',
      `the last ${counted(unreadBytes, 'byte is', 'bytes are')} no whole record`,
      tornAt(input),
    );
  if (grownBytes > 0) warn('still-growing', `grew by ${counted(grownBytes, 'byte')} while it was read`);
  return raw;
}

/** The findings of a run, and the detectors that failed. */
function runIssues(run: RunReport, report: Report): Raw[] {
  const known = knownOf(run, report);
  return [
    ...run.findings.map(
      (finding): Raw => ({
        source: 'finding',
        id: finding.id,
        severity: finding.severity,
        run: run.id,
        message: finding.message,
        advice: isLeading(finding, run) ? (known ?? finding.advice) : finding.advice,
        steps: finding.steps,
        series: finding.series,
        locations: finding.locations,
      }),
    ),
    ...run.failedDetectors.map(({ id, error }) =>
      problem({ id, run: run.id, message: `the detector failed: ${error.message}` }),
    ),
  ];
}

/** The rules that did not pass, and what keeps the gate from passing. */
function gateIssues(report: Report): Raw[] {
  const { rules = [], problems = [] } = report.gate ?? {};
  return [
    ...rules
      .filter(({ passed }) => !passed)
      .map(
        (rule): Raw => ({
          source: 'gate',
          id: rule.id,
          severity: rule.status === 'inconclusive' ? 'error' : rule.severity,
          run: rule.run,
          message: `${rule.status === 'fail' ? 'failed' : 'could not be judged'}: expected ${rule.expected}; ${rule.message}`,
          advice: ruleAdvice(rule, report),
          steps: rule.step === null ? null : [rule.step, rule.step],
          series: rule.series,
          locations: rule.locations,
        }),
      ),
    ...problems.map(({ id, run, message }) =>
      problem({ id: `gate-${id}`, run, message: `the gate cannot pass: ${message}` }),
    ),
  ];
}

const rawIssues = (report: Report): Raw[] => [
  ...report.inputs.flatMap(inputIssues),
  ...report.warnings.map(({ id, message, hint, path }) =>
    problem({
      id,
      severity: 'warning',
      message,
      advice: hint ?? null,
      locations: path === undefined ? [] : [{ path }],
    }),
  ),
  ...report.runs.flatMap((run) => runIssues(run, report)),
  ...gateIssues(report),
];

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
