/** Cells judged by what they have learnt, against the best of their model: a bump in the data raises every training loss alike. */
import { type CellVerdict, METRIC_NAMES, type StudyCell, type TaskQuality } from '../../model/study.ts';

/** Share of what the best training has learnt from which a cell holds, and from which it is hurt and not lost. */
const HOLDS = 0.9;
const HURT = 0.5;
/** Area under the ROC curve of a constant. */
const CHANCE = 0.5;

type Best = ReadonlyMap<string, Partial<Record<keyof typeof METRIC_NAMES, number>>>;

const NAMES = Object.keys(METRIC_NAMES) as (keyof typeof METRIC_NAMES)[];

/**
 * Judges the cells that have learnt something against the best rule and rate of their model, on every task. What is lost, frozen or
 * crashed by itself stays so.
 *
 * @param cells all of a study: which is best depends on all of them
 */
export function compareCells(cells: readonly StudyCell[]): StudyCell[] {
  const models = [...new Set(cells.map(({ model }) => model))];
  const best = new Map(models.map((model) => [model, bestOf(cells.filter((cell) => cell.model === model))]));
  return cells.map((cell) =>
    cell.verdict === 'holds'
      ? { ...cell, verdict: verdictBeside(cell.metrics, best.get(cell.model)!) }
      : cell,
  );
}

/** Best mean over the seeds of one rule and rate, by task and metric; a rule and rate of which a seed has learnt nothing is left out. */
function bestOf(cells: readonly StudyCell[]): Best {
  const points = new Map<string, StudyCell[]>();
  for (const cell of cells) {
    const key = JSON.stringify([cell.label, cell.learningRate]);
    points.set(key, [...(points.get(key) ?? []), cell]);
  }
  const best = new Map<string, Partial<Record<keyof typeof METRIC_NAMES, number>>>();
  for (const seeds of points.values()) {
    if (seeds.some(({ verdict }) => verdict !== 'holds')) continue;
    for (const task of Object.keys(seeds[0]!.metrics))
      for (const name of NAMES) {
        const values = seeds.map(({ metrics }) => metrics[task]?.[name] ?? Number.NaN);
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        const own = best.get(task) ?? {};
        const known = own[name];
        const isBetter = known === undefined || (name === 'auc' ? mean > known : mean < known);
        if (Number.isFinite(mean) && isBetter) best.set(task, { ...own, [name]: mean });
      }
  }
  return best;
}

/** The worst over the tasks. */
function verdictBeside(metrics: StudyCell['metrics'], best: Best): CellVerdict {
  let least = 1;
  for (const [task, of] of best)
    for (const name of NAMES) {
      const top = of[name];
      if (top === undefined) continue;
      const share = learntShare(name, metrics[task]?.[name] ?? Number.NaN, top);
      if (Number.isNaN(share)) return 'lost';
      least = Math.min(least, share);
    }
  if (least >= HOLDS) return 'holds';
  return least >= HURT ? 'hurt' : 'lost';
}

/** What a quality is of the best one: of an AUC the part above chance, of an error the inverse; NaN of NaN. */
const learntShare = (name: keyof Pick<TaskQuality, 'auc' | 'rmse'>, value: number, best: number): number => {
  if (name === 'auc') return best > CHANCE ? (value - CHANCE) / (best - CHANCE) : 1;
  return best === value ? 1 : best / value;
};
