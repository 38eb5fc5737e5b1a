/** What the checkpoints beside a log say: which tensor broke, between which two of them, and where to go back to. */
import { checkpointOutcomes, restartPoints } from '../findings/outcomes.ts';
import { resolveThresholds } from '../findings/thresholds.ts';
import type { InspectedCheckpoint } from '../model/checkpoint.ts';
import type { Finding } from '../model/finding.ts';

export interface CheckpointFindings {
  readonly findings: readonly Finding[];
  /** Checkpoints that training could go on from, by step. */
  readonly good: readonly { readonly path: string; readonly step: number }[];
}

/** Judges checkpoints by their statistics alone. */
export function checkpointFindings(checkpoints: readonly InspectedCheckpoint[]): CheckpointFindings {
  const outcomes = checkpointOutcomes(checkpoints, resolveThresholds().inForce);
  const findings = [...outcomes].flatMap(([id, outcome]) => {
    if (outcome.kind === 'error') throw new Error(`${id}: ${outcome.error.message}`);
    return outcome.kind === 'fail' ? outcome.findings : [];
  });
  return { findings, good: restartPoints(checkpoints) };
}
