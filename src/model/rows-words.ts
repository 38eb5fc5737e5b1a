/** Rows of batches that are left out, in words. */
import { formatCount } from './format-number.ts';
import type { SkippedRows } from './replay.ts';
import { stretchWords } from './stretches.ts';

/** How many rows of batches there are. */
export const countRows = (skipped: readonly SkippedRows[]): number =>
  skipped.reduce((sum, { rows }) => sum + rows.length, 0);

/** `row 17 of the batch of step 212`, `rows 3, 17 and 40 of …`, `24 rows of the batches of steps 20 to 27`. */
export function rowsWords(skipped: readonly SkippedRows[]): string {
  const steps = skipped.map(({ step }) => step);
  const batches =
    steps.length === 1
      ? `the batch of step ${formatCount(steps[0]!)}`
      : `the batches of steps ${stretchWords(steps).text}`;
  if (skipped.length === 1) {
    const { rows } = skipped[0]!;
    const { text, all } = stretchWords(rows);
    if (all) return `${rows.length === 1 ? 'row' : 'rows'} ${text} of ${batches}`;
  }
  return `${formatCount(countRows(skipped))} rows of ${batches}`;
}
