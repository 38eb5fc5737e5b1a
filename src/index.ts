/** The public API: what semantic versioning covers. */
export { type AnalyzeOptions, analyze } from './engine/analyze.ts';
export { collectInputs } from './engine/collect.ts';
export { diagnoseRun } from './engine/diagnose.ts';
export { exitCodeOf } from './engine/exit-code.ts';
export { inspectInputs } from './engine/inspect.ts';
export {
  DiagError,
  ERROR_TEXTS,
  type ErrorCode,
  type ErrorRecord,
  EXIT,
  type ExitCode,
} from './model/errors.ts';
export type { Finding, Severity } from './model/finding.ts';
export { toJson } from './model/json.ts';
export type { Report, RunReport, VerdictClass } from './model/report.ts';
export type { Run, TimeSeries } from './model/run.ts';
export { drawChart } from './reports/charts.ts';
export { renderTerminal } from './reports/terminal.ts';
