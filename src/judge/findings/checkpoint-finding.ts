/** What a finding about checkpoints is: one file in this folder and one line in registry.ts. */
import type { Finding, FindingType, ThresholdsInForce } from '../../model/finding.ts';
import type { CheckpointRun } from './checkpoint-run.ts';

export interface CheckpointFinding extends FindingType {
  /** Checkpoints that a run must have to be judged. */
  readonly least: number;
  /** Looks at the checkpoints of one run. Pure: same checkpoints and thresholds, same findings. */
  find(run: CheckpointRun, thresholds: ThresholdsInForce): readonly Finding[];
}
