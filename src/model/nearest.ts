/** Did-you-mean: the name that was probably meant. */

/** Number of single-character insertions, deletions and replacements between two words. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

/** Of names that differ in more than half of their characters, or two of a short one, neither is a slip of the other. */
const MOST_DIFFERENT = 0.5;
const FEW = 2;

/** The candidate that was probably meant: the {@link closest}, unless it is too far off for a slip; then ''. */
export function nearest(name: string, candidates: Iterable<string>): string {
  const { found, distance } = measured(name, candidates);
  const most = Math.max(FEW, MOST_DIFFERENT * Math.max(name.length, found.length));
  return distance <= most && distance < name.length ? found : '';
}

/** What a hint begins with: `did you mean agc? `, or nothing where no candidate is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const found = nearest(name, candidates);
  return found === '' ? '' : `did you mean ${found}? `;
}

/** The candidate with the smallest edit distance (case does not count), the first of several; '' of none. */
export const closest = (name: string, candidates: Iterable<string>): string =>
  measured(name, candidates).found;

function measured(name: string, candidates: Iterable<string>): { found: string; distance: number } {
  let found = '';
  let distance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const edits = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (edits < distance) {
      distance = edits;
      found = candidate;
    }
  }
  return { found, distance };
}
