/** Counting what could not be read, with the first places; memory does not grow with the damage. */
import { formatCount } from '../../model/format-number.ts';

const SHOWN = 5;

export interface Tally {
  count: number;
  readonly first: number[];
}

export const tally = (): Tally => ({ count: 0, first: [] });

export function countAt(tally: Tally, line: number): void {
  tally.count++;
  if (tally.first.length < SHOWN) tally.first.push(line);
}

/** "3, 17, 20 …" */
export const placesOf = (tally: Tally): string =>
  tally.first.map(formatCount).join(', ') + (tally.count > tally.first.length ? ' …' : '');
