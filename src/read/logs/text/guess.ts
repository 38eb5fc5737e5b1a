/**
 * The loss that no word names: in a table whose rows are counted, the column that falls as losses do. What measures time,
 * size, speed or quality is never taken.
 */
import { wordsOf } from '../../../model/words.ts';
import { fromEnd } from './axis.ts';
import { cellsOf, picked, placesWhere, type Rows, type SlotOf } from './cells.ts';
import type { Described } from './described.ts';
import { gapsOf } from './names.ts';
import { means } from './words.ts';

/** Rows of the smallest table that is guessed at. */
export const LEAST_GUESSED = 10;
/** Share of the lines of the text that its rows are. */
const LEAST_SHARE = 0.25;
/** By how many standard errors the lowest stretch has to lie below the first. */
const LEAST_FALL = 4;

/** What parts the numbers of a line behind its first one. */
const inner = ({ template, slots }: Described, last: number): string =>
  gapsOf(template)
    .slice((slots.at(-last)?.column ?? 0) + 1)
    .join('#')
    .replace(/\s+/g, ' ');

/** Whether the slots of a table end with all slots of another: it has something before them. */
function endsWith(one: Described, base: Described): boolean {
  const last = base.slots.length;
  if (one.slots.length < last) return false;
  const tail = one.slots.slice(-last);
  const isNamed = base.slots.every(({ name }, k) => k === 0 || name !== '');
  const areSame = base.slots.every(({ name }, k) => {
    const other = tail[k]!.name;
    return name === other || (k === 0 && (other.endsWith(name) || name.endsWith(other)));
  });
  return areSame && (isNamed || inner(one, last) === inner(base, last));
}

/** Whether the numbers of one table end with those of another, parted by the same text. */
export const sameNumbers = (one: Described, base: Described): boolean =>
  inner(one, base.slots.length) === inner(base, base.slots.length);

/** Whether one of two tables is the other with something before each line. */
export const sameButForPrefix = (one: Described, other: Described): boolean =>
  endsWith(one, other) || endsWith(other, one);

/** Tables that are one but for what comes before their first slots, each with enough rows. */
export function families(all: readonly Described[], lines: number): Described[][] {
  const found: Described[][] = [];
  const sorted = all
    .filter(({ rows, slots }) => rows.count > 0 && slots.length > 1)
    .sort((a, b) => a.slots.length - b.slots.length || b.rows.count - a.rows.count);
  for (const one of sorted.slice(0, MOST_TABLES)) {
    const family = found.find(([base]) => endsWith(one, base!));
    if (family === undefined) found.push([one]);
    else family.push(one);
  }
  return found.filter((family) => {
    const rows = family.reduce((sum, one) => sum + one.rows.count, 0);
    return rows >= LEAST_GUESSED && rows >= LEAST_SHARE * lines;
  });
}
/** Tables that are compared with each other. */
const MOST_TABLES = 300;

/** Meanings of words that a name of a loss does not have. */
const NO_LOSS = ['resource', 'rate', 'norm', 'metric', 'eval', 'thing'] as const;

const isKnown = (name: string): boolean => {
  const words = wordsOf(name);
  if (words.some((word) => means(word, 'loss') || means(word, 'error'))) return false;
  return words.some((word) => NO_LOSS.some((meaning) => means(word, meaning)));
};

/** The mean of the finite numbers of [from, to); NaN where none is finite. */
function meanOf(cells: Float64Array, from: number, to: number): number {
  let sum = 0;
  let count = 0;
  for (let k = from; k < to; k++) {
    if (!Number.isFinite(cells[k]!)) continue;
    sum += cells[k]!;
    count++;
  }
  return sum / count;
}

/** The mean distance from one row to the next, and whether the column turns: both up and down. */
function scatterOf(cells: Float64Array): { scatter: number; turns: boolean } {
  let sum = 0;
  let up = 0;
  let down = 0;
  for (let k = 1; k < cells.length; k++) {
    const step = cells[k]! - cells[k - 1]!;
    if (!Number.isFinite(step)) continue;
    sum += Math.abs(step);
    if (step > 0) up++;
    else if (step < 0) down++;
  }
  return { scatter: sum / Math.max(1, up + down), turns: up > 0 && down > 0 };
}

/**
 * How far the lowest tenth of the cells lies below the first, in standard errors of their scatter from one row to the next.
 * A loss falls at some time, whatever becomes of it later.
 */
function fallOf(cells: Float64Array, scatter: number): number {
  const width = Math.max(2, Math.floor(cells.length / 10));
  const first = meanOf(cells, 0, width);
  if (Number.isNaN(first) || scatter === 0) return 0;
  const error = scatter * Math.sqrt(2 / width);
  let best = 0;
  for (let from = width; from + width <= cells.length; from += width) {
    const here = meanOf(cells, from, from + width);
    if (here < first) best = Math.max(best, (first - here) / error);
  }
  return best;
}

/** So many different numbers are no setting that changes now and then. */
const ENOUGH_DIFFERENT = 1000;

/** Room for the different numbers of {@link haveDifferent}: a power of two, and several times as many. */
const DIFFERENT_ROOM = 4096;

/** Whether cells have at least so many different numbers, up to {@link ENOUGH_DIFFERENT}. A set would keep an object for each cell. */
function haveDifferent(cells: Float64Array, enough: number): boolean {
  const seen = new Float64Array(DIFFERENT_ROOM).fill(Number.NaN);
  const bits = new Uint32Array(cells.buffer, cells.byteOffset, 2 * cells.length);
  let found = 0;
  for (let k = 0; k < cells.length && found < enough; k++) {
    let at = Math.imul(bits[2 * k]! ^ (bits[2 * k + 1]! * 31), 0x9e3779b1) >>> 20;
    while (!Number.isNaN(seen[at]!) && seen[at] !== cells[k]) at = (at + 1) % DIFFERENT_ROOM;
    if (seen[at] === cells[k]) continue;
    seen[at] = cells[k]!;
    found++;
  }
  return found >= enough;
}

/** How much a column looks like a loss: 0 where it does not. */
function likeness(cells: Float64Array, name: string): number {
  if (isKnown(name)) return 0;
  const finite = picked(
    cells,
    placesWhere(cells.length, (k) => Number.isFinite(cells[k]!)),
  );
  if (finite.length < LEAST_GUESSED / 2 || finite.every(Number.isInteger)) return 0;
  // A long log with few digits prints the same numbers again.
  const enough = Math.min(finite.length / 4, ENOUGH_DIFFERENT);
  if (!haveDifferent(finite, enough)) return 0;
  // A column that runs down as evenly as a clock is not a loss.
  const strides = new Set<string>();
  for (let k = 1; k < finite.length && strides.size < 3; k++)
    strides.add((finite[k]! - finite[k - 1]!).toPrecision(4));
  if (strides.size < 3) return 0;
  const { scatter, turns } = scatterOf(cells);
  const fall = fallOf(cells, scatter);
  // A schedule falls without a turn.
  return fall < LEAST_FALL ? 0 : turns ? 2 : 1;
}

/** The columns of rows that look like a loss, with how much they do; of equal ones the first is the best. */
export function candidates(
  rows: Rows<Described>,
): { slot: SlotOf<Described>; score: number; name: string }[] {
  const [base] = rows.members as [Described];
  return base.slots.flatMap(({ use, name }, at) => {
    if (use !== 'value') return [];
    const slot = fromEnd(base, at);
    const like = likeness(
      cellsOf(rows, (one) => slot(one)?.column),
      name,
    );
    return like === 0 ? [] : [{ slot, name, score: like * rows.count }];
  });
}
