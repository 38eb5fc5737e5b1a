/**
 * The loss that no word names: in a table whose rows are counted, the column that falls as losses do. What measures time,
 * size, speed or quality is never taken.
 */
import { wordsOf } from '../../../model/words.ts';
import { fallsAsLoss } from '../falls.ts';
import { fromEnd } from './axis.ts';
import { cellsOf, type Rows, type SlotOf } from './cells.ts';
import type { Described } from './described.ts';
import { gapsOf } from './names.ts';
import { means } from './words.ts';

/** Rows of the smallest table that is guessed at. */
export const LEAST_GUESSED = 10;
/** Share of the lines of the text that its rows are. */
const LEAST_SHARE = 0.25;

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

/** The columns of rows that look like a loss, with how much they do; of equal ones the first is the best. */
export function candidates(
  rows: Rows<Described>,
): { slot: SlotOf<Described>; score: number; name: string }[] {
  const [base] = rows.members as [Described];
  return base.slots.flatMap(({ use, name }, at) => {
    if (use !== 'value') return [];
    const slot = fromEnd(base, at);
    const like = isKnown(name) ? 0 : fallsAsLoss(cellsOf(rows, (one) => slot(one)?.column));
    return like === 0 ? [] : [{ slot, name, score: like * rows.count }];
  });
}
