/** The exit code of a report without a gate (docs/exit-codes.md). */
import { EXIT, type ExitCode } from '../model/errors.ts';
import { SEVERITIES, type Severity } from '../model/finding.ts';
import type { Report } from '../model/report.ts';

/**
 * 3 for damaged input (a torn last record is a warning only), 4 when nothing could be judged, 1 when `failOn` is
 * given and a finding is at least that severe or a detector crashed, else 0.
 */
export function exitCodeOf(report: Report, failOn?: Exclude<Severity, 'note'>): ExitCode {
  if (report.inputs.some((input) => (input.errors?.length ?? 0) > 0 || (input.lost ?? 0) > 0))
    return EXIT.input;
  const judged = report.runs.some(
    (run) => run.verdict.class !== 'inconclusive' || run.verdict.incidents.length > 0,
  );
  if (failOn !== undefined) {
    const bar = SEVERITIES.indexOf(failOn);
    if (report.runs.some((run) => run.findings.some((f) => SEVERITIES.indexOf(f.severity) >= bar)))
      return EXIT.gateFailed;
    // What was not looked at has not passed.
    if (report.runs.some((run) => run.failedDetectors.length > 0)) return EXIT.inconclusive;
  }
  return judged ? EXIT.done : EXIT.inconclusive;
}
