/** The main job: all inputs under the paths, every analysis they allow, one report. */
import { withAudit } from '../../experiment/cause/from-audit.ts';
import { withLostRate } from '../../experiment/cause/lost-rate.ts';
import { readThresholds } from '../../judge/findings/thresholds.ts';
import type { RunComparison } from '../../model/comparison.ts';
import { diagError } from '../../model/errors.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { auditOf } from './audit-run.ts';
import { type CollectOptions, type Inputs, withInputs } from './collect.ts';
import { gatherEvidence, inputsOf, type Limits, type RunEvidence } from './evidence.ts';
import { followCaptures } from './follow-captures.ts';
import { type JudgeOptions, judgementOf, thresholdsFor } from './judge-run.ts';
import { assembleReport, diagnoseRun, runReport } from './report.ts';
import { whatIf } from './what-if.ts';

export interface AnalyzeOptions extends CollectOptions, JudgeOptions {
  readonly toolVersion: string;
  readonly now: () => Date;
  /** Seconds for what is expensive: statistics of checkpoints, replay, curvature. Default 60. */
  readonly budget?: number;
  /** Whether the two runs under the paths are compared. */
  readonly compare?: boolean;
  /** Called with the present work, for a progress line. */
  readonly onProgress?: (what: string) => void;
  /** Called with the result of a run's log alone, before checkpoints and captures in its folder are read. */
  readonly onFirst?: (report: Report) => Promise<void>;
}

export const DEFAULT_BUDGET = 60;

/**
 * Analyzes what lies under files and folders.
 *
 * @param paths files and folders; `-` is standard input
 * @returns the report. Damage of an input is in its `inputs` entry, a path that could not be used at all in `warnings`
 * @throws DiagError where nothing at all could be read; finding-unknown, threshold-unknown, threshold-range,
 *   threshold-conflict
 */
export async function analyze(paths: readonly string[], options: AnalyzeOptions): Promise<Report> {
  // Before anything is read: a mistake of the caller is not one of the inputs.
  if (typeof options.thresholds === 'object') readThresholds(options.thresholds);
  const { now, onProgress = () => {}, budget = DEFAULT_BUDGET } = options;
  const clock = (): number => now().getTime();
  // Reading counts: the time begins here.
  const late = `neither summed nor measured within ${budget} s (--budget)`;
  const limits: Limits = { clock, deadline: clock() + 1000 * budget, late, onProgress };
  return withInputs(paths, options, (found) => reportOn(found, paths, limits, { ...options, budget }));
}

/** What the logs alone tell. @param diagnose makes the report of a run */
export const reportOnLogs = (
  { logs, skipped, errors }: Pick<Inputs, 'logs' | 'skipped' | 'errors'>,
  options: JudgeOptions & Pick<AnalyzeOptions, 'toolVersion' | 'now'>,
  diagnose = (run: Run): RunReport => diagnoseRun(run, options),
): Report =>
  assembleReport({
    toolVersion: options.toolVersion,
    createdAt: options.now().toISOString(),
    inputs: logs.flatMap(inputsOf),
    runs: logs.flatMap(({ runs }) => runs.map(diagnose)),
    skipped,
    warnings: errors.map((error) => error.toRecord()),
  });

async function reportOn(
  found: Inputs,
  paths: readonly string[],
  limits: Limits,
  options: AnalyzeOptions & { readonly budget: number },
): Promise<Report> {
  const about = { toolVersion: options.toolVersion, createdAt: options.now().toISOString() };
  const logged = found.logs.flatMap(({ runs }) => runs);
  if (
    options.onFirst !== undefined &&
    options.compare !== true &&
    logged.length === 1 &&
    found.checkpoints.length + found.captures.length > 0
  )
    await options.onFirst(reportOnLogs(found, options));
  const comparesPaths = options.compare === true && paths.length === 2;
  const evidence = await gatherEvidence(found, limits, comparesPaths ? paths : []);
  if (evidence.inputs.length === 0 && found.errors[0] !== undefined) throw found.errors[0];
  if (options.compare === true && evidence.runs.length !== 2)
    // What is wrong with a path that was named says more than how many are left.
    throw (
      found.errors[0] ??
      diagError('usage', {
        problem: `--compare compares two runs, and ${evidence.runs.length === 1 ? 'one was' : `${evidence.runs.length} were`} found`,
        hint: 'name two logs or folders with one run each, e.g. analyze runs/a runs/b --compare',
      })
    );
  const [one, other] = evidence.runs;
  // Before what is expensive: it takes none of the time that experiments may use up.
  const comparison = options.compare === true ? await comparisonOf(one!, other!, paths, options) : undefined;
  const runs: RunReport[] = [];
  for (const run of evidence.runs) runs.push(await reportOf(run, options, limits));

  return assembleReport({
    inputs: evidence.inputs,
    runs,
    skipped: found.skipped,
    warnings: [...found.errors.map((error) => error.toRecord()), ...evidence.warnings],
    ...about,
    ...(comparison === undefined ? {} : { comparison }),
    ...(found.checkpoints.length + found.captures.length > 0 ? { budget: options.budget } : {}),
  });
}

/** The comparison that `compare` makes; of two runs under one path, or of standard input, of what was read already. */
async function comparisonOf(
  one: RunEvidence,
  other: RunEvidence,
  paths: readonly string[],
  options: AnalyzeOptions,
): Promise<RunComparison> {
  const { comparePaths, compareEvidence } = await import('./compare-inputs.ts');
  const [a, b] = paths;
  return a === undefined || b === undefined || paths.length > 2 || paths.includes('-')
    ? compareEvidence(one, other)
    : comparePaths({ a: [a], b: [b], picture: true }, options);
}

async function reportOf(evidence: RunEvidence, options: JudgeOptions, limits: Limits): Promise<RunReport> {
  const { inForce } = thresholdsFor(evidence.run, options);
  const captures = await followCaptures(evidence.captures, inForce, limits.onProgress);
  const look = await auditOf(evidence.captures, limits);
  const judgement = judgementOf(evidence, options, captures, look);
  const asked = await whatIf(evidence, judgement.judged, limits);
  const { audit } = look;
  const { class: found, onsetStep, incidents } = judgement.judged.verdict;
  const peakStep = incidents.find((one) => one.onsetStep === onsetStep)?.peakStep ?? null;
  const audited = withAudit(asked, audit, found === 'healthy', peakStep);
  const why = withLostRate(audited, judgement.findings);
  return runReport(evidence, judgement, { ...asked, ...why }, audit);
}
