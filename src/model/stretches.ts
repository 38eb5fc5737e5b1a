/** What follows one another without a gap, as stretches. */
import { formatCount } from './format-number.ts';
import { listed } from './listed.ts';

/** Items at neighbouring positions, joined; each stretch has one item at least. */
export function stretchesOf<Item>(
  items: readonly Item[],
  positionOf: (item: Item) => number,
): (readonly [Item, ...Item[]])[] {
  const stretches: [Item, ...Item[]][] = [];
  for (const item of items) {
    const last = stretches.at(-1);
    if (last !== undefined && positionOf(item) <= positionOf(last.at(-1)!) + 1) last.push(item);
    else stretches.push([item]);
  }
  return stretches;
}

/** Stretches that are named. */
const MOST = 3;

/**
 * Steps in words: `84, 90 to 92 and 104`; of many stretches `between 84 and 104`, for text that says how many steps they are.
 *
 * @param steps in order, each once, one at least
 */
export function stretchWords(steps: readonly number[]): { readonly text: string; readonly all: boolean } {
  const stretches = stretchesOf(steps, (step) => step);
  if (stretches.length > MOST)
    return { text: `between ${formatCount(steps[0]!)} and ${formatCount(steps.at(-1)!)}`, all: false };
  const words = stretches.map((one) =>
    one.length === 1 ? formatCount(one[0]) : `${formatCount(one[0])} to ${formatCount(one.at(-1)!)}`,
  );
  return { text: listed(words), all: true };
}
