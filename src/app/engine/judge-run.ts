/** The first section of a run's report: its verdict, and what is found in its log, its checkpoints and its captures. */
import { contextFor, type Detector } from '../../judge/detectors/detector.ts';
import { DETECTORS } from '../../judge/detectors/registry.ts';
import {
  checkpointOutcomes,
  isolated,
  type RestartCheckpoint,
  restartPoints,
} from '../../judge/findings/outcomes.ts';
import {
  type ResolvedThresholds,
  readThresholds,
  resolveThresholds,
  type ThresholdOverrides,
} from '../../judge/findings/thresholds.ts';
import { type JudgedRun, judgeRun } from '../../judge/incidents/verdict.ts';
import type { Finding, Outcome, Thresholds } from '../../model/finding.ts';
import type { RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { type AuditLook, NO_AUDIT } from './audit-run.ts';
import type { RunEvidence } from './evidence.ts';
import { type CaptureLook, NO_CAPTURE } from './follow-captures.ts';
import { coverageOfJudged, learntProof, withProofs } from './proofs.ts';
import { lossesApart } from './which-run.ts';

export interface JudgeOptions {
  /** Numbers in place of the defaults: for every run, or what a function says of each. */
  readonly thresholds?: ThresholdOverrides | ((run: Pick<Run, 'id' | 'paths'>) => Thresholds);
  /** Clipping limits to judge the logged gradient norms against; each is reported, also where it hardly acts. */
  readonly clipLimits?: readonly number[];
}

export interface Judgement {
  readonly judged: JudgedRun;
  /** Numbers other than the defaults by which it was judged. */
  readonly thresholds: Thresholds;
  readonly findings: readonly Finding[];
  readonly detectorsRun: readonly string[];
  readonly notRun: RunReport['notRun'];
  readonly failedDetectors: RunReport['failedDetectors'];
  /** Checkpoints that training could go on from. */
  readonly restartPoints: readonly RestartCheckpoint[];
}

/**
 * The numbers that a run is judged by.
 *
 * @throws finding-unknown, threshold-unknown, threshold-range, threshold-conflict
 */
export const thresholdsFor = (
  run: Pick<Run, 'id' | 'paths'>,
  { thresholds = {} }: JudgeOptions,
): ResolvedThresholds =>
  resolveThresholds(typeof thresholds === 'function' ? thresholds(run) : readThresholds(thresholds));

/**
 * Judges a run. What throws is listed under `failedDetectors`; the others still report. A kind of finding that could not
 * be looked for in all there is (a checkpoint that was not read) may have found something, but did not run.
 */
export function judgementOf(
  { run, checkpoints, notRun: unread }: RunEvidence,
  options: JudgeOptions,
  captures: CaptureLook = NO_CAPTURE,
  audits: AuditLook = NO_AUDIT,
): Judgement {
  const { inForce, settings, changed } = thresholdsFor(run, options);
  const judged = judgeRun(run, settings);
  const outcomes: (readonly [string, Outcome, whole: boolean])[] = [
    ...Object.values<Detector>(DETECTORS).map((detector) => {
      const context = contextFor(detector, judged, inForce, options.clipLimits);
      const looked = detector.reads === undefined ? run : withUpdates(run, captures);
      return [detector.id, isolated(detector.id, () => detector.detect(looked, context)), true] as const;
    }),
    ...[...checkpointOutcomes(checkpoints, inForce)].map(
      ([id, outcome]) => [id, outcome, !unread.some((one) => one.id === 'checkpoints')] as const,
    ),
    ...[...captures.outcomes].map(([id, outcome]) => [id, outcome, captures.unread.length === 0] as const),
    ...[...audits.outcomes].map(([id, outcome]) => [id, outcome, audits.unread.length === 0] as const),
  ];
  const findings: Finding[] = [];
  const detectorsRun: string[] = [];
  const notRun: RunReport['notRun'][number][] = [];
  const failedDetectors: RunReport['failedDetectors'][number][] = [];
  for (const [id, outcome, whole] of outcomes) {
    if (whole && (outcome.kind === 'pass' || outcome.kind === 'fail')) detectorsRun.push(id);
    if (outcome.kind === 'fail') findings.push(...outcome.findings);
    else if (outcome.kind === 'error') failedDetectors.push({ id, error: outcome.error });
    else if (whole && outcome.kind === 'not-applicable') notRun.push({ id, reason: outcome.reason });
  }
  const verdict = withProofs(
    judged.verdict,
    coverageOfJudged(run, judged),
    findings,
    detectorsRun,
    judged.verdict.provenBy?.learnt ?? learntProof(run, judged),
  );
  return {
    judged: { ...judged, verdict },
    thresholds: changed,
    findings,
    detectorsRun,
    notRun: [
      ...notRun,
      ...[...captures.unread, ...audits.unread].map((reason) => ({ id: 'captures', reason })),
    ],
    failedDetectors,
    restartPoints: restartPoints(checkpoints),
  };
}

/** The run with the update norms that a capture of it recorded, where its log has none and the two count steps alike. */
function withUpdates(run: Run, { updates }: CaptureLook): Run {
  if (run.series.some(({ role }) => role === 'update_norm')) return run;
  const own = updates.find(({ capture }) => run.format === 'capture' || lossesApart(run, capture) === null);
  if (own === undefined) return run;
  const { capture, step, value } = own;
  return {
    ...run,
    paths: [capture.path],
    series: [
      ...run.series,
      {
        name: 'update norm',
        role: 'update_norm',
        step,
        value,
        missing: 0,
        refused: 0,
        // Its points are of the last attempt.
        attemptOffsets: run.attempts.map(() => 0),
        pathOffsets: [0],
      },
    ],
  };
}
