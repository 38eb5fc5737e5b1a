/** What every finding about checkpoints and every detector says, each isolated from the others. */
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import { DiagError, diagError } from '../../model/errors.ts';
import type { Outcome, ThresholdsInForce } from '../../model/finding.ts';
import { checkpointRuns, isBroken, isWhole } from './checkpoint-run.ts';
import { CHECKPOINT_FINDINGS } from './registry.ts';

/** The outcome of a look; one that throws is an `error`, and the report still appears. */
export function isolated(id: string, look: () => Outcome): Outcome {
  try {
    return look();
  } catch (error) {
    const known =
      error instanceof DiagError
        ? error
        : diagError('detector-crashed', {
            id,
            problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
          });
    return { kind: 'error', error: known.toRecord() };
  }
}

/**
 * Judges the checkpoints in the folder of a log by their statistics alone.
 *
 * @param checkpoints in any order, with their statistics; sorted into runs by the names and shapes of their parameters
 */
export function checkpointOutcomes(
  checkpoints: readonly InspectedCheckpoint[],
  thresholds: ThresholdsInForce,
): Map<string, Outcome> {
  const runs = checkpointRuns(checkpoints);
  return new Map(
    Object.values(CHECKPOINT_FINDINGS).map(({ id, least, find }): [string, Outcome] => {
      const judged = runs.filter(({ length }) => length >= least);
      if (judged.length === 0) {
        const reason =
          runs.length === 0
            ? 'no checkpoint with weights is in the folder of the log'
            : `it compares checkpoints of one run, and there is one of each`;
        return [id, { kind: 'not-applicable', reason }];
      }
      return [
        id,
        isolated(id, () => {
          const findings = judged.flatMap((run) => find(run, thresholds));
          return findings.length === 0 ? { kind: 'pass' } : { kind: 'fail', findings };
        }),
      ];
    }),
  );
}

export interface RestartCheckpoint {
  readonly path: string;
  readonly step: number;
  /** Whether it holds state of the optimizer. */
  readonly optimizerState: boolean;
}

/**
 * Checkpoints that training could continue from, by step: those that have a step, were read whole, and lie before any of
 * their run that holds non-finite values.
 */
export function restartPoints(checkpoints: readonly InspectedCheckpoint[]): RestartCheckpoint[] {
  const good: RestartCheckpoint[] = [];
  for (const run of checkpointRuns(checkpoints)) {
    const broken = run.findIndex(isBroken);
    for (const one of run.slice(0, broken < 0 ? run.length : broken))
      if (one.step !== null && isWhole(one))
        good.push({
          path: one.path,
          step: one.step,
          optimizerState: one.tensors.some(({ role }) => role === 'optimizer_state'),
        });
  }
  return good.sort((a, b) => a.step - b.step);
}
