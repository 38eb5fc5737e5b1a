/**
 * Restarts: where in a log training began again. Judged on one series, because tags of one file may have different
 * step axes, and an evaluation loop may count its own batches.
 */
import { type Column, readerOf } from '../../model/column.ts';
import type { Attempt } from '../../model/run.ts';

/** A point that starts an attempt: its index in the series that was judged, and why. */
export interface Restart {
  readonly index: number;
  readonly reason: Exclude<Attempt['reason'], 'start'>;
}

/** So many points in a row below what was reached make a restart; fewer are late records. */
const RECOVERED_POINTS = 3;

/**
 * @param step the steps of the series, in file order
 * @param fileStarts indices at which a further file begins
 * @param marked indices at which the log says that it starts again (a banner, a repeated CSV header)
 */
export function findRestarts(
  step: Column,
  fileStarts: readonly number[],
  marked: readonly number[],
): Restart[] {
  const restarts: Restart[] = [];
  let first = step.at(0) ?? Number.NaN;
  let reached = first;
  const start = (index: number, reason: Restart['reason']): void => {
    if (index <= 0 || index >= step.length || restarts.at(-1)?.index === index) return;
    restarts.push({ index, reason });
    first = reached = step.at(index)!;
  };
  const files = new Set(fileStarts);
  const marks = new Set(marked);
  const at = readerOf(step);
  for (let k = 1; k < step.length; k++) {
    const here = at(k);
    if (marks.size > 0 && marks.has(k)) start(k, 'restart-line');
    else if (here > reached) reached = here;
    else if (here <= reached && files.has(k)) start(k, 'new-file');
    else if (here < reached && isRestart(step, k, first, reached)) start(k, 'step-went-back');
  }
  return restarts;
}

/** Whether the step back at k begins a stretch of its own, and is no late record. */
function isRestart(step: Column, k: number, first: number, reached: number): boolean {
  let points = 1;
  while (
    points < RECOVERED_POINTS &&
    k + points < step.length &&
    step.at(k + points)! >= step.at(k + points - 1)! &&
    step.at(k + points)! <= reached
  )
    points++;
  if (points === RECOVERED_POINTS) return true;
  // The log ends here, or the step goes on beyond what was reached, or falls again: only a fall to the very beginning counts, where it
  // goes over the same steps again or is stopped once more.
  const next = k + points;
  const begins = step.at(k)! <= first;
  if (next < step.length) return begins && (step.at(next)! <= first || step.at(next - 1)! === reached);
  return points > 1 || begins;
}
