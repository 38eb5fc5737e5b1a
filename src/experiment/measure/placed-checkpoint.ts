/** Checkpoints of a run in the order of its steps. */
import type { CheckpointFile } from '../../read/checkpoints/registry.ts';

/** A checkpoint of the captured run, with the learning rate that was logged there. */
export interface PlacedCheckpoint {
  readonly file: CheckpointFile;
  readonly step: number;
  readonly learningRate: number | undefined;
}

/** The path of the newest checkpoint at or before a step. */
export function newestBefore(checkpoints: readonly PlacedCheckpoint[], step: number): string | null {
  const before = checkpoints.filter((one) => one.step <= step).sort((a, b) => b.step - a.step);
  return before[0]?.file.path ?? null;
}
