/** Cells judged by what they have learnt, against the best of their model: a bump in the data raises every training loss alike. */
import { type CellVerdict, METRIC_NAMES, type StudyCell, type TaskQuality } from '../../model/study.ts';
import { meanAndError } from './paired.ts';

/** Share of what the best training has learnt from which a cell holds whatever the seeds tell, and below which it is lost. */
const HOLDS = 0.9;
const HURT = 0.5;
/** Paired standard errors that seeds take to tell a rule and rate from the best. */
const ERRORS = 3;
/** Area under the ROC curve of a constant. */
const CHANCE = 0.5;

interface Best {
  /** Best mean of a rule and rate, by task and metric: of several tasks not always of the same one. */
  readonly ofTask: ReadonlyMap<string, Partial<Record<keyof typeof METRIC_NAMES, number>>>;
  /**
   * The most that one rule and rate has of these in its worst task, at most 1. Where one task is learnt best at another rate than the
   * next, no training has all of each, and what one can have is the measure.
   */
  readonly ofOne: number;
  /** Rules and rates that the seeds do not tell from that one. */
  readonly near: ReadonlySet<string>;
}

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
    cell.verdict === 'holds' ? { ...cell, verdict: verdictBeside(cell, best.get(cell.model)!) } : cell,
  );
}

/**
 * The rules and rates of one model that are as good as the best in their worst task, as far as the seeds tell: those whose
 * paired difference from it is at most three standard errors. Of one seed the best alone.
 *
 * @param cells of one model, compared
 */
export function leadersOf(cells: readonly StudyCell[]): StudyCell[][] {
  const { near } = bestOf(cells);
  return [...pointsOf(cells)].flatMap(([key, seeds]) =>
    near.has(key) && seeds.every(({ verdict }) => verdict === 'holds') ? [seeds] : [],
  );
}

const keyOf = ({ label, learningRate }: StudyCell): string => JSON.stringify([label, learningRate]);

/** The seeds of each rule and rate. */
function pointsOf(cells: readonly StudyCell[]): Map<string, StudyCell[]> {
  const points = new Map<string, StudyCell[]>();
  for (const cell of cells) points.set(keyOf(cell), [...(points.get(keyOf(cell)) ?? []), cell]);
  return points;
}

/** What the trainings of a model are compared with; a rule and rate of which a seed has learnt nothing is left out. */
function bestOf(cells: readonly StudyCell[]): Best {
  const points = [...pointsOf(cells)].filter(([, seeds]) =>
    seeds.every(({ verdict }) => verdict === 'holds'),
  );
  const means = points.map(([, seeds]) => meansOf(seeds));
  const ofTask = new Map<string, Partial<Record<keyof typeof METRIC_NAMES, number>>>();
  for (const metrics of means)
    for (const [task, of] of Object.entries(metrics))
      for (const name of NAMES) {
        const mean = of[name] ?? Number.NaN;
        const own = ofTask.get(task) ?? {};
        const known = own[name];
        const isBetter = known === undefined || (name === 'auc' ? mean > known : mean < known);
        if (Number.isFinite(mean) && isBetter) ofTask.set(task, { ...own, [name]: mean });
      }
  const shares = means.map((metrics) => leastShare(metrics, ofTask));
  let top = -1;
  for (const [i, share] of shares.entries()) if (share > (shares[top] ?? 0)) top = i;
  if (top < 0) return { ofTask, ofOne: 1, near: new Set() };
  const bySeed = (seeds: readonly StudyCell[]): Map<number, number> =>
    new Map(seeds.map(({ seed, metrics }) => [seed, leastShare(metrics, ofTask)]));
  const best = bySeed(points[top]![1]);
  const near = points.filter(([, seeds], i) => i === top || isNear(best, bySeed(seeds)));
  return { ofTask, ofOne: shares[top]!, near: new Set(near.map(([key]) => key)) };
}

/** Whether the seeds that both have do not tell the second from the first. */
function isNear(best: ReadonlyMap<number, number>, own: ReadonlyMap<number, number>): boolean {
  const differences = [...best].flatMap(([seed, share]) => (own.has(seed) ? [share - own.get(seed)!] : []));
  if (differences.length < 2) return false;
  const { mean, standardError } = meanAndError(differences);
  return mean <= ERRORS * standardError;
}

type Means = Readonly<Record<string, Partial<Record<keyof typeof METRIC_NAMES, number | null>>>>;

/** Means over the seeds of one rule and rate. */
function meansOf(seeds: readonly StudyCell[]): Means {
  const mean = (task: string, name: keyof typeof METRIC_NAMES): number =>
    seeds.reduce((sum, { metrics }) => sum + (metrics[task]?.[name] ?? Number.NaN), 0) / seeds.length;
  return Object.fromEntries(
    Object.keys(seeds[0]!.metrics).map((task) => [
      task,
      Object.fromEntries(NAMES.map((name) => [name, mean(task, name)])),
    ]),
  );
}

/** What a training has of the best in its worst task; NaN where a quality is missing. */
function leastShare(metrics: Means, best: Best['ofTask']): number {
  let least = 1;
  for (const [task, of] of best)
    for (const name of NAMES) {
      const top = of[name];
      if (top === undefined) continue;
      const share = learntShare(name, metrics[task]?.[name] ?? Number.NaN, top);
      if (Number.isNaN(share)) return Number.NaN;
      least = Math.min(least, share);
    }
  return least;
}

function verdictBeside(cell: StudyCell, { ofTask, ofOne, near }: Best): CellVerdict {
  const share = leastShare(cell.metrics, ofTask) / ofOne;
  if (!(share >= HURT)) return 'lost';
  return share >= HOLDS || near.has(keyOf(cell)) ? 'holds' : 'hurt';
}

/** What a quality is of the best one: of an AUC the part above chance, of an error the inverse; NaN of NaN. */
const learntShare = (name: keyof Pick<TaskQuality, 'auc' | 'rmse'>, value: number, best: number): number => {
  if (name === 'auc') return best > CHANCE ? (value - CHANCE) / (best - CHANCE) : 1;
  return best === value ? 1 : best / value;
};
