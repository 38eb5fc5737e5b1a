/** Quality of predictions on rows that were not trained on. */
import type { TaskQuality } from '../../model/study.ts';
import type { StudyTask } from './study-data.ts';
import { isBinary, TASK_LOSSES } from './task-losses.ts';

/**
 * The area under the ROC curve: how often a row of label 1 is above one of label 0, ties counting half.
 *
 * @returns null where a label is neither 0 nor 1, or all are the same; NaN where an output is NaN
 */
export function areaUnderCurve(outputs: ArrayLike<number>, labels: ArrayLike<number>): number | null {
  const n = outputs.length;
  let positives = 0;
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(outputs[i]!)) return Number.NaN;
    if (labels[i] === 1) positives++;
    else if (labels[i] !== 0) return null;
  }
  if (positives === 0 || positives === n) return null;
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => outputs[a]! - outputs[b]! || 0);
  let ranks = 0;
  for (let from = 0; from < n; ) {
    let to = from;
    let here = 0;
    while (to < n && outputs[order[to]!] === outputs[order[from]!]) here += labels[order[to++]!]!;
    // Ranks from 1; of ties their mean.
    ranks += here * ((from + 1 + to) / 2);
    from = to;
  }
  return (ranks - (positives * (positives + 1)) / 2) / (positives * (n - positives));
}

export interface TestResult {
  readonly quality: TaskQuality;
  /** Mean loss on the test rows, and that of the best constant of the training rows. */
  readonly loss: number;
  readonly constantLoss: number;
  /** Whether the outputs order rows no better than chance, as those of a dead net: the AUC is not two standard errors above 0.5. */
  readonly atChance: boolean;
}

/** @param trained labels of the rows that were trained on before the test */
export function testTask(
  { loss }: StudyTask,
  outputs: ArrayLike<number>,
  labels: ArrayLike<number>,
  trained: ArrayLike<number>,
): TestResult {
  const { evaluate, prediction, constant } = TASK_LOSSES[loss];
  const best = constant(meanOf(trained.length, (i) => trained[i]!));
  const losses = new Float64Array(labels.length);
  const meanLossOf = (z: Float64Array): number => {
    evaluate(z, labels, losses, new Float64Array(labels.length));
    return meanOf(labels.length, (i) => losses[i]!);
  };
  const meanLoss = meanLossOf(Float64Array.from(outputs));
  const binary = isBinary(loss);
  const auc = binary ? areaUnderCurve(outputs, labels) : null;
  return {
    atChance: auc !== null && auc - 0.5 <= 2 * chanceError(labels),
    quality: {
      auc,
      logloss: binary ? meanLoss : null,
      rmse: binary
        ? null
        : Math.sqrt(meanOf(labels.length, (i) => (prediction(outputs[i]!) - labels[i]!) ** 2)),
    },
    loss: meanLoss,
    constantLoss: meanLossOf(new Float64Array(labels.length).fill(best)),
  };
}

/** Standard error of the AUC of outputs that do not depend on the labels (Mann and Whitney 1947). */
function chanceError(labels: ArrayLike<number>): number {
  const n = labels.length;
  const positives = n * meanOf(n, (i) => labels[i]!);
  return Math.sqrt((n + 1) / (12 * positives * (n - positives)));
}

function meanOf(count: number, at: (i: number) => number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += at(i);
  return sum / count;
}

/** Means over the windows; null where no window has the metric. */
export function meanQuality(each: readonly TaskQuality[]): TaskQuality {
  const mean = (name: keyof TaskQuality): number | null => {
    const known = each.flatMap((one) => (one[name] === null ? [] : [one[name]]));
    return known.length === 0 ? null : meanOf(known.length, (i) => known[i]!);
  };
  return { auc: mean('auc'), logloss: mean('logloss'), rmse: mean('rmse') };
}
