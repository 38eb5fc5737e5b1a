/** The best of one row against the best of another, seed by seed: cells of one seed begin at the same weights and take the same batches. */
import type { StudyCell, StudyMetric, StudyPaired } from '../../model/study.ts';

/** Student's t at 97.5 % for 1 to 10 degrees of freedom; above that close to the normal one. */
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228] as const;
const studentAt = (degrees: number): number => STUDENT[degrees - 1] ?? 1.96 * (1 + 1.3 / degrees);
/** Seeds that are counted up to. */
const MOST_SEEDS = 1000;

/** Mean, standard deviation and standard error of two values or more. */
export function meanAndError(values: readonly number[]): {
  readonly mean: number;
  readonly sd: number;
  readonly standardError: number;
} {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1));
  return { mean, sd, standardError: sd / Math.sqrt(values.length) };
}

/** Cells of one rule at one rate. */
export interface Side {
  readonly label: string;
  readonly learningRate: number;
}

/**
 * @param cells of one model
 * @returns null with fewer than two seeds that both sides have
 */
export function pairedWith(
  cells: readonly StudyCell[],
  own: Side,
  other: Side,
  metric: StudyMetric,
): StudyPaired | null {
  const qualityOf = (side: Side, seed: number): number => {
    const cell = cells.find(
      (one) => one.label === side.label && one.learningRate === side.learningRate && one.seed === seed,
    );
    return cell?.metrics[metric.task]?.[metric.name] ?? Number.NaN;
  };
  const seeds = [...new Set(cells.map(({ seed }) => seed))];
  const differences = seeds
    .map((seed) => qualityOf(own, seed) - qualityOf(other, seed))
    .filter(Number.isFinite);
  const count = differences.length;
  if (count < 2) return null;
  const { mean, sd, standardError } = meanAndError(differences);
  let needed = 2;
  while (needed < MOST_SEEDS && studentAt(needed - 1) * (sd / Math.sqrt(needed)) > Math.abs(mean)) needed++;
  return {
    against: other.label,
    learningRate: other.learningRate,
    difference: mean,
    standardError,
    seeds: count,
    smallestTold: studentAt(count - 1) * standardError,
    seedsToTell: { difference: Math.abs(mean), seeds: needed < MOST_SEEDS ? needed : null },
  };
}
