/** The conclusion of a sweep: which setting separates the runs that failed from those that did not. */

import type { Cell } from './cell.ts';
import { formatNumber } from './format-number.ts';
import type { RunsTable, TableRow } from './report.ts';
import { FIRST_COLUMNS } from './runs-table.ts';

/** Classes of a run that is lost or has learnt nothing. */
export const FAILED: ReadonlySet<Cell> = new Set(['drift', 'never-learned', 'full-divergence', 'non-finite']);
/** Chance that a split as clear as the best one arises among settings that do nothing, times how many splits were tried. */
const BEYOND_CHANCE = 0.01;

interface Split {
  /** `lr = 1`, `lr ≥ 0.1`. */
  readonly words: string;
  readonly inside: number;
  readonly failedInside: number;
  /** Probability of so many failures inside by chance alone. */
  readonly chance: number;
}

/** Logarithms of the factorials that were asked for, and of all below them. */
const logFactorials = [0];
function logFactorial(n: number): number {
  for (let k = logFactorials.length; k <= n; k++) logFactorials.push(logFactorials[k - 1]! + Math.log(k));
  return logFactorials[n]!;
}

const logChoose = (n: number, k: number): number => logFactorial(n) - logFactorial(k) - logFactorial(n - k);

/** Fisher's exact test, one-sided: the probability of `hit` failures or more among `inside` of `all` runs of which `failed` failed. */
export function fisher(all: number, failed: number, inside: number, hit: number): number {
  let sum = 0;
  for (let k = hit; k <= Math.min(failed, inside); k++)
    if (inside - k <= all - failed)
      sum += Math.exp(logChoose(failed, k) + logChoose(all - failed, inside - k) - logChoose(all, inside));
  return sum;
}

/** Every way in which one setting splits the runs: a value, and of numbers from a value up or down. */
function splitsOf(column: string, rows: readonly TableRow[]): [string, (value: Cell) => boolean][] {
  const values = [...new Set(rows.map((row) => row[column] ?? null))].filter((value) => value !== null);
  if (values.length < 2) return [];
  const numbers = values.filter((value): value is number => typeof value === 'number');
  const equal = values.map((value): [string, (cell: Cell) => boolean] => [
    `${column} = ${typeof value === 'number' ? formatNumber(value) : String(value)}`,
    (cell) => cell === value,
  ]);
  if (numbers.length < values.length || numbers.length < 3) return equal;
  const sorted = [...numbers].sort((a, b) => a - b);
  return [
    ...equal,
    ...sorted.slice(1, -1).flatMap((limit): [string, (cell: Cell) => boolean][] => [
      [`${column} ≥ ${formatNumber(limit)}`, (cell) => typeof cell === 'number' && cell >= limit],
      [`${column} ≤ ${formatNumber(limit)}`, (cell) => typeof cell === 'number' && cell <= limit],
    ]),
  ];
}

/**
 * What the failed runs of a table share, with its counts; that nothing separates them where no setting does so beyond chance.
 *
 * Each value of a setting, and of numbers each threshold, is a split; the clearest one is reported where Fisher's exact
 * test, times the number of splits, is below 1 %.
 *
 * @returns null where no run failed, all did, or the runs differ in no setting
 */
export function sweepSentence({ columns, rows }: RunsTable): string | null {
  const failed = rows.filter((row) => FAILED.has(row.class ?? null));
  const settings = columns.filter((column) => !(FIRST_COLUMNS as readonly string[]).includes(column));
  if (failed.length === 0 || failed.length === rows.length || settings.length === 0) return null;
  const splits = settings.flatMap((column) =>
    splitsOf(column, rows).map(([words, isInside]): Split => {
      const inside = rows.filter((row) => isInside(row[column] ?? null));
      const failedInside = inside.filter((row) => FAILED.has(row.class ?? null)).length;
      const chance = fisher(rows.length, failed.length, inside.length, failedInside);
      return { words, inside: inside.length, failedInside, chance };
    }),
  );
  const [best] = splits.sort((a, b) => a.chance - b.chance);
  if (best === undefined || best.chance * splits.length >= BEYOND_CHANCE)
    return `${failsWords(failed.length, rows.length)}; no setting separates ${failed.length === 1 ? 'it' : 'them'} from the others beyond chance.`;
  const others = rows.length - best.inside;
  const failedOthers = failed.length - best.failedInside;
  return `${best.failedInside} of ${best.inside} runs with ${best.words} fail; of the ${others} others ${failedOthers === 0 ? 'none does' : failsOthers(failedOthers)}.`;
}

const failsWords = (failed: number, all: number): string =>
  `${failed} of ${all} runs ${failed === 1 ? 'fails' : 'fail'}`;
const failsOthers = (failed: number): string => `${failed} ${failed === 1 ? 'does' : 'do'}`;
