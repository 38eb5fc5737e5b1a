/** Names of runs in few columns, such that no two read alike where their names differ and there is room to say so. */
import { textWidth } from './text-width.ts';

const MARK = '…';

/** A text of at most `width` columns: beginnings and ends of names tell runs apart, so its middle goes. */
export const cutMiddle = (text: string, width: number): string =>
  textWidth(text) <= width
    ? text
    : `${text.slice(0, Math.floor((width - 1) / 2))}${MARK}${text.slice(-Math.ceil((width - 1) / 2))}`;

/**
 * Of paths the fewest folders (or the file) that tell them apart, found one by one: first that which has the most
 * different names, until all differ. In the order in which they stand in a path.
 */
function tellingParts(paths: readonly string[]): string[][] {
  const split = paths.map((path) => path.split('/'));
  const depth = Math.max(...split.map(({ length }) => length));
  // Of different depths the last folders are held against each other: paths of one tool end alike.
  const padded = split.map((parts) => [...Array<string>(depth - parts.length).fill(''), ...parts]);
  const chosen: number[] = [];
  const keysWith = (at: number): number =>
    new Set(padded.map((parts) => JSON.stringify([...chosen, at].map((one) => parts[one])))).size;
  let told = 1;
  while (told < new Set(paths).size) {
    const counts = Array.from({ length: depth }, (_, at) => keysWith(at));
    told = Math.max(...counts);
    chosen.push(counts.indexOf(told));
  }
  chosen.sort((a, b) => a - b);
  return padded.map((parts) => chosen.map((at) => parts[at]!).filter((part) => part !== ''));
}

/** Parts joined by slashes in at most `width` columns: each may have an equal share of what the shorter ones leave. */
function joinWithin(parts: readonly string[], width: number): string {
  const shares = new Map<number, number>();
  let left = width - (parts.length - 1);
  for (const [done, i] of [...parts.keys()]
    .sort((a, b) => textWidth(parts[a]!) - textWidth(parts[b]!))
    .entries()) {
    const share = Math.min(textWidth(parts[i]!), Math.floor(left / (parts.length - done)));
    shares.set(i, share);
    left -= share;
  }
  return parts.map((part, i) => cutMiddle(part, shares.get(i)!)).join('/');
}

/**
 * Each name in at most `width` columns. A name that is longer loses its middle. Where two names would then read the
 * same, they are shown by the folders in which they differ: `…baseline/trial_1…`.
 */
export function shortNames(names: readonly string[], width: number): string[] {
  const short = names.map((name) => cutMiddle(name, width));
  const alike = new Map<string, number[]>();
  for (const [i, text] of short.entries()) alike.set(text, [...(alike.get(text) ?? []), i]);
  for (const group of alike.values()) {
    if (new Set(group.map((i) => names[i])).size < 2) continue;
    const telling = tellingParts(group.map((i) => names[i]!));
    for (const [k, i] of group.entries())
      short[i] = `${MARK}${joinWithin(telling[k]!, width - 2 * MARK.length)}${MARK}`;
  }
  return short;
}
