/** From runs to a report: every detector on every run, isolated from each other, and the verdict. */
import { contextFor, type Detector } from '../detectors/detector.ts';
import { DETECTORS } from '../detectors/registry.ts';
import { adviceOf, type RestartPoint, rewindAdvice } from '../detectors/rewind.ts';
import { verdictSettings } from '../incidents/settings.ts';
import { type JudgedRun, judgeRun } from '../incidents/verdict.ts';
import { DiagError, diagError, type ErrorRecord } from '../model/errors.ts';
import { type Finding, type Outcome, SEVERITIES } from '../model/finding.ts';
import type { LogInput } from '../model/log.ts';
import {
  type Report,
  type ReportInput,
  type RunReport,
  type RunVerdict,
  SCHEMA_VERSION,
  VERDICT_CLASSES,
} from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { summariseSeries } from '../model/series-summary.ts';
import { seriesThatEnd } from './series-end.ts';

/** Threshold overrides: detector id → threshold name → value. */
export type ThresholdOverrides = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Buckets kept per series for charts. Series that play no role keep fewer: a wide CSV has a hundred of them. */
const BUCKETS = 1000;
const BUCKETS_OF_OTHERS = 100;

/** The class that outranks: the worst incident decides. */
const rank = (verdict: RunVerdict): number => VERDICT_CLASSES.indexOf(verdict.class);

function detect(
  detector: Detector,
  run: Run,
  judged: JudgedRun,
  { thresholds, clipLimits }: DiagnoseOptions,
): Outcome {
  try {
    return detector.detect(run, contextFor(detector, judged, thresholds?.get(detector.id), clipLimits));
  } catch (error) {
    const known =
      error instanceof DiagError
        ? error
        : diagError('detector-crashed', {
            id: detector.id,
            problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
          });
    return { kind: 'error', error: known.toRecord() };
  }
}

/** Gravest first, then in the order of steps. */
export const bySeverity = (a: Finding, b: Finding): number =>
  SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity) ||
  (a.steps?.[0] ?? 0) - (b.steps?.[0] ?? 0);

export interface DiagnoseOptions {
  readonly thresholds?: ThresholdOverrides;
  /** Checkpoints that training could go on from. */
  readonly restartPoints?: readonly RestartPoint[];
  /** Clipping limits to judge the logged gradient norms against; each is reported, also where it hardly acts. */
  readonly clipLimits?: readonly number[];
}

/** Diagnoses one run. A detector that throws is listed under `failedDetectors`; the others still report. */
export function diagnoseRun(run: Run, options: DiagnoseOptions = {}): RunReport {
  const { thresholds, restartPoints = [] } = options;
  const judged = judgeRun(run, verdictSettings(thresholds));
  const ended = seriesThatEnd(run);
  const findings: Finding[] = [];
  const detectorsRun: string[] = [];
  const notRun: { id: string; reason: string }[] = [];
  const failedDetectors: { id: string; error: ErrorRecord }[] = [];
  for (const detector of Object.values(DETECTORS)) {
    const outcome = detect(detector, run, judged, options);
    if (outcome.kind === 'pass' || outcome.kind === 'fail') detectorsRun.push(detector.id);
    if (outcome.kind === 'fail') findings.push(...outcome.findings);
    else if (outcome.kind === 'not-applicable') notRun.push({ id: detector.id, reason: outcome.reason });
    else if (outcome.kind === 'error') failedDetectors.push({ id: detector.id, error: outcome.error });
  }
  findings.sort(bySeverity);
  const rewind = rewindAdvice(run, judged, restartPoints);
  return {
    id: run.id,
    paths: run.paths,
    stepUnit: run.stepUnit,
    attempts: run.attempts.length,
    attemptList: run.attempts,
    verdict: judged.verdict,
    tasks: judged.tasks,
    findings,
    detectorsRun,
    notRun,
    failedDetectors,
    advice: adviceOf(findings, rewind),
    rewind,
    series: run.series.map((s) => ({
      ...summariseSeries(s, s.role === 'other' ? BUCKETS_OF_OTHERS : BUCKETS),
      endsEarly: ended.has(s),
    })),
    // Defines own members, `__proto__` too.
    hyperparameters: Object.fromEntries(run.hyperparameters),
    notes: run.notes,
    replay: [],
    curvature: [],
  };
}

const NOTHING_JUDGED: RunVerdict = {
  class: 'inconclusive',
  series: null,
  onsetStep: null,
  lastGoodStep: null,
  recoveredStep: null,
  why: 'no run was found',
  incidents: [],
};

/** What the report says of a log it read: each file by itself, with its own hash, where several were joined. */
export const inputsOf = (log: LogInput): ReportInput[] =>
  (log.files ?? [log]).map(({ path, format, sha256, kept, lost, unreadBytes, grownBytes, errors }) => ({
    path,
    format,
    sha256,
    kept,
    lost,
    unreadBytes,
    ...(grownBytes === undefined ? {} : { grownBytes }),
    errors,
  }));

/**
 * Assembles the report; the verdict is the worst run's.
 *
 * @param createdAt ISO 8601: the clock comes in from outside
 */
export function assembleReport(
  inputs: readonly ReportInput[],
  runs: readonly RunReport[],
  warnings: readonly ErrorRecord[],
  skipped: Report['skipped'],
  about: Pick<Report, 'toolVersion' | 'createdAt' | 'budget'>,
): Report {
  const worst = runs.reduce<RunReport | undefined>(
    (a, b) => (a === undefined || rank(b.verdict) > rank(a.verdict) ? b : a),
    undefined,
  );
  return {
    schemaVersion: SCHEMA_VERSION,
    ...about,
    inputs,
    verdict: { run: worst?.id ?? null, ...(worst?.verdict ?? NOTHING_JUDGED) },
    runs,
    skipped,
    warnings,
  };
}
