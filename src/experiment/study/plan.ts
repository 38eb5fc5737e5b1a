/** Which cells a study has, and which are trained next. */
import type { StudyCell, StudyPlan, StudyResult } from '../../model/study.ts';
import type { CellKey } from './train-cell.ts';

/** A cell's name: of it a shard, a result and a job of a queue know the cell. */
export const idOf = ({ model, rule, label, learningRate, seed }: CellKey): string =>
  JSON.stringify([model, rule, label, learningRate, seed]);

export type Results = ReadonlyMap<string, StudyCell>;

/** Which part of a study: the index-th of count, counted from 1. */
export type Shard = NonNullable<StudyResult['shard']>;

/** Cells of one model under one rule: what a search for its largest stable rate needs together. */
interface Unit {
  readonly model: string;
  readonly rule: string;
  readonly label: string;
}

const unitsOf = ({ models, rules }: StudyPlan): Unit[] =>
  models.flatMap((model) =>
    rules.flatMap(({ rule, labels }) => labels.map((label) => ({ model, rule, label }))),
  );

/** All cells that may be trained; a search tries some of them. Model by model, rule by rule, rates, then seeds. */
export const cellsOf = (study: StudyPlan): CellKey[] =>
  unitsOf(study).flatMap((unit) => study.learningRates.flatMap((rate) => seedsOf(study, unit, rate)));

const seedsOf = ({ seeds }: StudyPlan, unit: Unit, learningRate: number): CellKey[] =>
  Array.from({ length: seeds }, (_, seed) => ({ ...unit, learningRate, seed }));

/** The most cells that can be trained, before the list is made. */
export const cellCount = ({ models, rules, learningRates, searched, seeds }: StudyPlan): number =>
  models.length *
  rules.reduce((sum, { labels }) => sum + labels.length, 0) *
  (searched
    ? Math.min(learningRates.length, 2 + Math.ceil(Math.log2(learningRates.length)))
    : learningRates.length) *
  seeds;

/**
 * The cells to train next, given what has been trained; none when the study is done. Of a grid all that are missing; of a
 * search those of the next rate of each model and rule.
 */
export function nextCells(
  study: StudyPlan,
  results: Results,
  shard: Shard = { index: 1, count: 1 },
): CellKey[] {
  const mine = <T>(all: readonly T[]): T[] => all.filter((_, i) => i % shard.count === shard.index - 1);
  const missing = (cells: readonly CellKey[]): CellKey[] => cells.filter((cell) => !results.has(idOf(cell)));
  if (!study.searched) return missing(mine(cellsOf(study)));
  return mine(unitsOf(study)).flatMap((unit) => {
    const rate = nextRate(study, unit, results);
    return rate === null ? [] : missing(seedsOf(study, unit, rate));
  });
}

/**
 * The rate that a bisection tries next: the lowest, the highest, then halfway between the highest that holds and the lowest
 * that does not; null once these are neighbours.
 */
function nextRate(study: StudyPlan, unit: Unit, results: Results): number | null {
  const { learningRates: rates } = study;
  const holds = (k: number): boolean | null => {
    const cells = seedsOf(study, unit, rates[k]!).map((cell) => results.get(idOf(cell)));
    return cells.some((cell) => cell === undefined) ? null : cells.every((cell) => cell!.verdict === 'holds');
  };
  let [low, high] = [0, rates.length - 1];
  for (const k of [low, high]) {
    const end = holds(k);
    if (end === null) return rates[k]!;
    if (end === (k === high)) return null;
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const found = holds(middle);
    if (found === null) return rates[middle]!;
    if (found) low = middle;
    else high = middle;
  }
  return null;
}
