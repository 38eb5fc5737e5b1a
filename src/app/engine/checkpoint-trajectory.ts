/** Checkpoints of one run in the order of their steps: how the norms of its tensors went. */
import { checkpointRuns } from '../../judge/findings/checkpoint-run.ts';
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import type { NormSeries, Trajectory } from '../../model/inspection.ts';
import { layerOf } from './checkpoint-inspect.ts';

/** Those of all runs that left several checkpoints. */
export const trajectoriesOf = (checkpoints: readonly InspectedCheckpoint[]): Trajectory[] =>
  checkpointRuns(checkpoints)
    .filter((run) => run.length > 1)
    .map(trajectoryOf);

/** Norms over the checkpoints of one run, which are in order. */
function trajectoryOf(run: readonly InspectedCheckpoint[]): Trajectory {
  const series = (
    kindOf: (tensor: InspectedCheckpoint['tensors'][number]) => string | undefined,
  ): NormSeries[] => {
    const names = new Set<string>();
    for (const { tensors } of run)
      for (const tensor of tensors) {
        const kind = kindOf(tensor);
        if (kind !== undefined) names.add(kind);
      }
    return [...names].map((name) => {
      const members = run.map(({ tensors }) =>
        tensors.filter((tensor) => tensor.norm !== undefined && kindOf(tensor) === name),
      );
      return {
        name,
        norm: members.map((found) =>
          found.length === 0 ? null : Math.sqrt(found.reduce((sum, tensor) => sum + tensor.norm! ** 2, 0)),
        ),
        nonFinite: members.map((found) =>
          found.reduce((sum, { nan, posInf, negInf }) => sum + nan! + posInf! + negInf!, 0),
        ),
      };
    });
  };
  return {
    checkpoints: run.map(({ path, step }) => ({ path, step })),
    bySteps: run.every(({ step }) => step !== null),
    totals: series(({ role, slot }) =>
      role === 'parameter'
        ? 'parameters'
        : role === 'optimizer_state' && slot !== undefined && slot !== 'step'
          ? `optimizer ${slot}`
          : undefined,
    ),
    layers: series(({ role, name }) => (role === 'parameter' ? layerOf(name) : undefined)),
  };
}
