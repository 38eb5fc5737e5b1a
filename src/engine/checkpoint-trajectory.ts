/** Checkpoints of one run in the order of their steps: how the norms of its tensors went. */
import type { InspectedCheckpoint } from '../model/checkpoint.ts';
import type { NormSeries, Trajectory } from '../model/inspection.ts';
import { layerOf } from './checkpoint-inspect.ts';

/** Names compared so that `ckpt-9` comes before `ckpt-10`. */
const byName = new Intl.Collator('en', { numeric: true }).compare;

/** Checkpoints by step; where one tells none, by name. */
function inOrder<T extends { readonly path: string; readonly step: number | null }>(
  checkpoints: readonly T[],
): readonly T[] {
  const bySteps = checkpoints.every(({ step }) => step !== null);
  return [...checkpoints].sort((a, b) => (bySteps ? a.step! - b.step! : 0) || byName(a.path, b.path));
}

/**
 * Sorts checkpoints into runs: those whose parameters (or, without any, whose tensors) have the same names and
 * shapes. Files without weights are left out.
 */
export function checkpointRuns(
  checkpoints: readonly InspectedCheckpoint[],
): (readonly InspectedCheckpoint[])[] {
  const runs = new Map<string, InspectedCheckpoint[]>();
  for (const checkpoint of checkpoints) {
    if (checkpoint.withoutWeights !== undefined || checkpoint.tensors.length === 0) continue;
    const parameters = checkpoint.tensors.filter(({ role }) => role === 'parameter');
    const key = JSON.stringify(
      (parameters.length > 0 ? parameters : checkpoint.tensors)
        .map(({ name, shape }) => [name, shape])
        .sort(),
    );
    runs.set(key, [...(runs.get(key) ?? []), checkpoint]);
  }
  return [...runs.values()].map((run) => inOrder(run));
}

/** Norms over the checkpoints of one run, which are in order. */
export function trajectoryOf(run: readonly InspectedCheckpoint[]): Trajectory {
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
