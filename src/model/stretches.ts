/** Whole numbers in order, as stretches of those that follow one another. */
import { formatCount } from './format-number.ts';
import { listed } from './listed.ts';

/** First and last of each stretch. */
function stretchesOf(numbers: readonly number[]): (readonly [number, number])[] {
  const stretches: [number, number][] = [];
  for (const number of numbers) {
    const last = stretches.at(-1);
    if (last !== undefined && number === last[1] + 1) last[1] = number;
    else stretches.push([number, number]);
  }
  return stretches;
}

/** Stretches that are named. */
const MOST = 3;

/**
 * Steps in words: `84, 90 to 92 and 104`; of many stretches `between 84 and 104`, for text that tells how many steps they are.
 *
 * @param steps in order, each once, one at least
 */
export function stretchWords(steps: readonly number[]): { readonly text: string; readonly all: boolean } {
  const stretches = stretchesOf(steps);
  if (stretches.length > MOST)
    return { text: `between ${formatCount(steps[0]!)} and ${formatCount(steps.at(-1)!)}`, all: false };
  const words = stretches.map(([from, to]) =>
    from === to ? formatCount(from) : `${formatCount(from)} to ${formatCount(to)}`,
  );
  return { text: listed(words), all: true };
}
