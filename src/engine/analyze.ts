/** The main job: whatever lies under the paths, everything that the evidence allows, one report. */
import { createHash } from 'node:crypto';
import { dirname, relative, sep } from 'node:path';
import { adviceOf, rewindAdvice } from '../detectors/rewind.ts';
import { DiagError } from '../model/errors.ts';
import type { Report, ReportInput, RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { checkpointFindings } from './checkpoint-findings.ts';
import { type InspectedCheckpoint, inspectCheckpoint } from './checkpoint-inspect.ts';
import { type CollectOptions, collectInputs } from './collect.ts';
import { assembleReport, bySeverity, diagnoseRun, inputOf, type ThresholdOverrides } from './diagnose.ts';

export interface AnalyzeOptions extends CollectOptions {
  readonly thresholds?: ThresholdOverrides;
  readonly toolVersion: string;
  readonly now: () => Date;
  /** Seconds for what is expensive: statistics of checkpoints, replay, curvature. Default 60. */
  readonly budget?: number;
  /** Told what is being worked on, for a progress line. */
  readonly onProgress?: (what: string) => void;
}

export const DEFAULT_BUDGET = 60;

/**
 * Analyzes what lies under files and folders.
 *
 * @param paths files and folders; `-` is standard input
 * @returns the report. Damage of an input stands in its `inputs` entry, a path that could not be used at all in
 *   `warnings`
 * @throws DiagError where nothing at all could be read
 */
export async function analyze(paths: readonly string[], options: AnalyzeOptions): Promise<Report> {
  const { now, onProgress = () => {}, budget = DEFAULT_BUDGET } = options;
  const deadline = now().getTime() + 1000 * budget;
  const { logs, checkpoints, skipped, errors } = await collectInputs(paths, options);
  const warnings = errors.map((error) => error.toRecord());
  const inputs: ReportInput[] = logs.map(inputOf);
  const runs = logs.flatMap((log) => log.runs);
  const evidence = new Map<Run, Evidence>(runs.map((run) => [run, { checkpoints: [], late: 0 }]));

  for (const path of checkpoints) {
    // Headers are cheap; the statistics of every value are not.
    const late = now().getTime() > deadline;
    onProgress(path);
    try {
      const checkpoint = await inspectCheckpoint(path, late);
      inputs.push(inputOfCheckpoint(checkpoint));
      let run = closestRun([...evidence.keys()], path);
      if (run === undefined) {
        run = runWithoutLog(dirname(path));
        evidence.set(run, { checkpoints: [], late: 0 });
      }
      const found = evidence.get(run)!;
      if (late) found.late++;
      else found.checkpoints.push(checkpoint);
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      warnings.push(error.toRecord());
    }
  }
  if (inputs.length === 0 && errors[0] !== undefined) throw errors[0];
  const reports = [...evidence].map(([run, found]) => reportOf(run, found, options, budget));
  return assembleReport(inputs, reports, warnings, skipped, {
    toolVersion: options.toolVersion,
    createdAt: now().toISOString(),
  });
}

/** What lies beside a run's log. */
interface Evidence {
  readonly checkpoints: InspectedCheckpoint[];
  /** Checkpoints that the budget left no time for. */
  late: number;
}

function reportOf(
  run: Run,
  { checkpoints, late }: Evidence,
  options: AnalyzeOptions,
  budget: number,
): RunReport {
  const report = diagnoseRun(run, options);
  if (checkpoints.length === 0) return report;
  const { findings, lastGood } = checkpointFindings(checkpoints, report.verdict.lastGoodStep);
  const points = lastGood?.step == null ? [] : [{ path: lastGood.path, step: lastGood.step }];
  const rewind = rewindAdvice(run, report, points);
  const all = [...report.findings, ...findings].sort(bySeverity);
  return {
    ...report,
    findings: all,
    rewind,
    advice: adviceOf(all, rewind),
    notRun:
      late === 0
        ? report.notRun
        : [
            ...report.notRun,
            { id: 'checkpoints', reason: `${late} of them were not summed within ${budget} s (--budget)` },
          ],
  };
}

/** The run whose log lies nearest to a path: most folders shared, of several the first. */
function closestRun(runs: readonly Run[], path: string): Run | undefined {
  const away = (run: Run): number => relative(dirname(run.paths[0] ?? ''), dirname(path)).split(sep).length;
  return [...runs].sort((a, b) => away(a) - away(b))[0];
}

/** Stands for a run of which only checkpoints were left. */
const runWithoutLog = (folder: string): Run => ({
  id: folder,
  paths: [folder],
  format: 'none',
  stepUnit: 'step',
  series: [],
  attempts: [],
  hyperparameters: new Map(),
  notes: ['no log lies beside these checkpoints; what happened between them cannot be told'],
});

/** A checkpoint is hashed by what its header says: names, types and shapes. */
const inputOfCheckpoint = ({ path, format, errors, tensors }: InspectedCheckpoint): ReportInput => ({
  path,
  format,
  sha256: createHash('sha256')
    .update(JSON.stringify(tensors.map(({ name, dtype, shape }) => [name, dtype, shape])))
    .digest('hex'),
  errors,
});
