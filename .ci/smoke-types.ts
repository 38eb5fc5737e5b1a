// What a user's program names, compiled with the types of the packed tarball and `skipLibCheck: false`.
// clippy-diag/tfjs: smoke-tfjs-types.ts.
import { type AnalyzeOptions, analyze, parseReport, type Report, renderTerminal } from 'clippy-diag';
import { clippyRecorder, type RecordedOptimizer } from 'clippy-diag/recorder';

const options: AnalyzeOptions = { toolVersion: '1', now: () => new Date() };
export const report: Promise<Report> = analyze(['runs/'], options);
export const page: string = renderTerminal(parseReport('{}', 'report.json'), {
  width: 100,
  colour: false,
  ascii: false,
});
export const record = (optimizer: RecordedOptimizer) =>
  clippyRecorder({ variables: [], optimizer, folder: 'capture' });
