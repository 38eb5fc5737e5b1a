/** The main job: whatever lies under the paths, everything that the evidence allows, one report. */
import type { Report } from '../model/report.ts';
import { type CollectOptions, collectInputs } from './collect.ts';
import { assembleReport, diagnoseRun, inputOf, type ThresholdOverrides } from './diagnose.ts';

export interface AnalyzeOptions extends CollectOptions {
  readonly thresholds?: ThresholdOverrides;
  readonly toolVersion: string;
  readonly now: () => Date;
}

/**
 * Analyzes what lies under files and folders.
 *
 * @param paths files and folders; `-` is standard input
 * @returns the report. Damage of an input stands in its `inputs` entry, a path that could not be used at all in
 *   `warnings`
 * @throws DiagError where nothing at all could be read
 */
export async function analyze(paths: readonly string[], options: AnalyzeOptions): Promise<Report> {
  const { logs, skipped, errors } = await collectInputs(paths, options);
  const [first] = errors;
  if (logs.length === 0 && first !== undefined) throw first;
  return assembleReport(
    logs.map(inputOf),
    logs.flatMap((log) => log.runs).map((run) => diagnoseRun(run, options)),
    errors.map((error) => error.toRecord()),
    skipped,
    { toolVersion: options.toolVersion, createdAt: options.now().toISOString() },
  );
}
