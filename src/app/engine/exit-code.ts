/** The exit code of a report without a gate (docs/exit-codes.md). */
import { ERROR_TEXTS, type ErrorRecord, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { SEVERITIES, type Severity } from '../../model/finding.ts';
import type { Report } from '../../model/report.ts';

/** The code of the worst of some errors, 0 of none. */
export const exitCodeOfErrors = (errors: readonly ErrorRecord[]): ExitCode =>
  errors.reduce<ExitCode>((worst, { id }) => worstExitCode(worst, ERROR_TEXTS[id].exitCode), EXIT.done);

/**
 * 70 when a detector crashed, 3 for damaged input (a torn last record is a warning only), 4 when nothing could be
 * judged, 1 when `failOn` is given and a finding is at least that severe, else 0.
 */
export function exitCodeOf(report: Report, failOn?: Exclude<Severity, 'note'>): ExitCode {
  const { inputs, runs, warnings } = report;
  const bar = SEVERITIES.indexOf(failOn ?? 'error');
  const grave =
    failOn !== undefined &&
    runs.some((run) => run.findings.some((f) => SEVERITIES.indexOf(f.severity) >= bar));
  const judged = runs.some((run) => run.verdict.class !== 'inconclusive' || run.verdict.incidents.length > 0);
  return [
    exitCodeOfErrors([
      ...warnings,
      ...inputs.flatMap((input) => input.errors ?? []),
      ...runs.flatMap((run) => run.failedDetectors.map((f) => f.error)),
    ]),
    inputs.some((input) => (input.lost ?? 0) > 0) ? EXIT.input : EXIT.done,
    judged ? EXIT.done : EXIT.inconclusive,
    grave ? EXIT.gateFailed : EXIT.done,
  ].reduce(worstExitCode);
}
