/** Names of runs in few columns, such that no two read alike where their names differ and there is room to say so. */
import { pathParts } from '../model/path-parts.ts';
import { textWidth } from './text-width.ts';

const MARK = '…';

/** A text of at most `width` columns: beginnings and ends of names tell runs apart, so its middle goes. */
export const cutMiddle = (text: string, width: number): string =>
  textWidth(text) <= width
    ? text
    : `${text.slice(0, Math.floor((width - 1) / 2))}${MARK}${text.slice(-Math.ceil((width - 1) / 2))}`;

/**
 * The fewest folders (or the file) of paths that distinguish them, found one by one: always the one with the most different
 * names, until all differ. In the order of a path.
 */
function tellingParts(paths: readonly string[]): string[][] {
  const split = paths.map((path) => pathParts(path));
  const depth = Math.max(...split.map(({ length }) => length));
  // If depths differ, the last folders are compared: paths of one tool end alike.
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

/** Paths without the folders that all begin with and the file that all end with: they distinguish none of them. */
function withoutCommon(paths: readonly string[]): readonly string[] {
  const split = paths.map((path) => pathParts(path));
  const [first] = split;
  const least = Math.min(...split.map(({ length }) => length));
  if (first === undefined || split.length < 2) return paths;
  let from = 0;
  while (from < least - 1 && split.every((parts) => parts[from] === first[from])) from++;
  let end = 0;
  while (end < least - from - 1 && split.every((parts) => parts.at(-1 - end) === first.at(-1 - end))) end++;
  return split.map((parts) => parts.slice(from, parts.length - end).join('/'));
}

/**
 * Each name in at most `width` columns. Where one is longer, all lose what is common to them, then it loses its middle. Where two names would then read the
 * same, they are shown by the folders in which they differ: `…baseline/trial_1…`.
 */
export function shortNames(all: readonly string[], width: number): string[] {
  const fits = all.every((name) => textWidth(name) <= width);
  const names = fits ? all : withoutCommon(all);
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
