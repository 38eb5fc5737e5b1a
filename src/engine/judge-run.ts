/** The first section of a run's report: its verdict, and what is found in its log, its checkpoints and its captures. */
import { contextFor } from '../detectors/detector.ts';
import { DETECTORS } from '../detectors/registry.ts';
import type { RestartPoint } from '../detectors/rewind.ts';
import { checkpointOutcomes, isolated, restartPoints } from '../findings/outcomes.ts';
import {
  type ResolvedThresholds,
  readThresholds,
  resolveThresholds,
  type ThresholdOverrides,
} from '../findings/thresholds.ts';
import { type JudgedRun, judgeRun } from '../incidents/verdict.ts';
import type { Finding, Outcome, Thresholds } from '../model/finding.ts';
import type { RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import type { RunEvidence } from './evidence.ts';
import { type CaptureLook, NO_CAPTURE } from './follow-captures.ts';

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
  readonly restartPoints: readonly RestartPoint[];
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
): Judgement {
  const { inForce, settings, changed } = thresholdsFor(run, options);
  const judged = judgeRun(run, settings);
  const outcomes: (readonly [string, Outcome, whole: boolean])[] = [
    ...Object.values(DETECTORS).map((detector) => {
      const context = contextFor(detector, judged, inForce, options.clipLimits);
      return [detector.id, isolated(detector.id, () => detector.detect(run, context)), true] as const;
    }),
    ...[...checkpointOutcomes(checkpoints, inForce)].map(
      ([id, outcome]) => [id, outcome, !unread.some((one) => one.id === 'checkpoints')] as const,
    ),
    ['capture-mismatch', captures.outcome, captures.unread.length === 0],
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
  return {
    judged,
    thresholds: changed,
    findings,
    detectorsRun,
    notRun: [...notRun, ...captures.unread.map((reason) => ({ id: 'captures', reason }))],
    failedDetectors,
    restartPoints: restartPoints(checkpoints),
  };
}
