/** The first section of a run's report: its verdict, and what the detectors and the checkpoints say. */
import { contextFor, type Detector } from '../detectors/detector.ts';
import { DETECTORS } from '../detectors/registry.ts';
import type { RestartPoint } from '../detectors/rewind.ts';
import { verdictSettings } from '../incidents/settings.ts';
import { type JudgedRun, judgeRun } from '../incidents/verdict.ts';
import { DiagError, diagError, type ErrorRecord } from '../model/errors.ts';
import type { Finding, Outcome } from '../model/finding.ts';
import type { RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { checkpointFindings } from './checkpoint-findings.ts';
import type { RunEvidence } from './evidence.ts';

/** Threshold overrides: detector id → threshold name → value. */
export type ThresholdOverrides = ReadonlyMap<string, ReadonlyMap<string, number>>;

export interface JudgeOptions {
  readonly thresholds?: ThresholdOverrides;
  /** Clipping limits to judge the logged gradient norms against; each is reported, also where it hardly acts. */
  readonly clipLimits?: readonly number[];
}

export interface Judgement {
  readonly judged: JudgedRun;
  readonly findings: readonly Finding[];
  readonly detectorsRun: readonly string[];
  readonly notRun: RunReport['notRun'];
  readonly failedDetectors: RunReport['failedDetectors'];
  /** Checkpoints that training could go on from. */
  readonly restartPoints: readonly RestartPoint[];
}

/** Judges a run. A detector that throws is listed under `failedDetectors`; the others still report. */
export function judgementOf({ run, checkpoints }: RunEvidence, options: JudgeOptions): Judgement {
  const judged = judgeRun(run, verdictSettings(options.thresholds));
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
  const ofCheckpoints = checkpointFindings(checkpoints);
  return {
    judged,
    findings: [...findings, ...ofCheckpoints.findings],
    detectorsRun,
    notRun,
    failedDetectors,
    restartPoints: ofCheckpoints.good,
  };
}

function detect(
  detector: Detector,
  run: Run,
  judged: JudgedRun,
  { thresholds, clipLimits }: JudgeOptions,
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
