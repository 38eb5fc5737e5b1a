/** A `ranking` model as an objective on the net of a study, for trainings of many cells: several times as fast as tfjs on small nets. */
import type { Batch, BatchTensor, Objective } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective } from '../../differentiate/autodiff/open-objective.ts';
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import { type Rows, type StudyNet, studyNet } from './network.ts';

/**
 * The same objective with gradients on the dense kernels, to float32's rounding; everything else, and models of another kind, as it was.
 * The batches must be checked before: ids out of range are not reported here.
 */
export function onKernels(model: MatchedObjective): MatchedObjective {
  const { objective, ranking } = model;
  return ranking === undefined
    ? model
    : { ...model, objective: { ...objective, ...fast(objective, ranking) } };
}

function fast(objective: Objective, spec: RankingSpec): Pick<Objective, 'backend' | 'gradient'> {
  const known = new WeakMap<Batch, Rows>();
  let net: StudyNet | undefined;
  let capacity = 0;
  return {
    backend: 'kernels',
    async gradient(w, batches, task, into) {
      const [batch, ...more] = batches;
      if (batch === undefined || more.length > 0 || task !== undefined)
        return objective.gradient(w, batches, task, into);
      const rows = known.get(batch) ?? rowsIn(spec, batch);
      known.set(batch, rows);
      if (net === undefined || rows.count > capacity) {
        capacity = rows.count;
        net = studyNet(spec, capacity, 0);
      }
      for (const [t, { offset, size }] of objective.tensors.entries())
        net.parameters[t]!.set(w.subarray(offset, offset + size));
      net.load();
      const taskLosses = net.gradient(rows);
      const gradient = into ?? new Float32Array(objective.size);
      for (const [t, { offset }] of objective.tensors.entries()) gradient.set(net.gradients[t]!, offset);
      const loss = taskLosses.reduce((sum, one, t) => sum + spec.tasks[t]!.weight * one, 0);
      return { loss, taskLosses, gradient };
    },
  };
}

/** The features and labels of a batch in the order of the spec. */
function rowsIn(spec: RankingSpec, batch: Batch): Rows {
  const floats = ({ data }: BatchTensor): Float32Array =>
    data instanceof Float32Array ? data : Float32Array.from(data);
  const labels = spec.tasks.map(({ name }) => floats(batch.get(`label/${name}`)!));
  return {
    count: labels[0]!.length,
    features: spec.features.map(({ name, type }) => {
      const tensor = batch.get(name)!;
      return type === 'dense' ? floats(tensor) : Int32Array.from(tensor.data);
    }),
    labels,
  };
}
