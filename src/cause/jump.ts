/** A recorded loss that jumps where no unusual update led to it: its batch is likely to be the news. */
import { isRaised, LEAST_STATES, USUAL, usualRange } from '../incidents/unlike.ts';
import { formatNumber } from '../model/format-number.ts';

/** Steps before an onset in which a jump of the loss may lie that a climb follows. */
const JUMP_WINDOW = 20;

/**
 * Position of the loss that is the news: that of the onset where it is far above those before it, else the highest such one shortly
 * before from which the loss came back. null where the loss only climbs.
 */
export function jumpOf(loss: readonly number[], onset: number): number | null {
  const usualAt = (i: number) => usualRange(loss.slice(Math.max(0, i - USUAL), i));
  if (isRaised(loss[onset]!, usualAt(onset))) return onset;
  let highest: number | null = null;
  for (let i = Math.max(0, onset - JUMP_WINDOW); i < onset; i++) {
    const usual = usualAt(i);
    // One that did not come back is the climb itself.
    const back = loss.slice(i + 1, onset).some((after) => !isRaised(after, usual));
    if (isRaised(loss[i]!, usual) && back && !(highest !== null && loss[i]! <= loss[highest]!)) highest = i;
  }
  return highest;
}

/** Steps before one whose updates say what is usual there. */
const UPDATES_BEFORE = 30;

/** The update that led to a position, and what was usual before it; null where fewer steps came before than make a level. */
export function updateBefore(
  updateNorm: readonly number[],
  at: number,
): { readonly last: number; readonly usual: readonly [number, number] } | null {
  if (at < LEAST_STATES) return null;
  const last = at - 1;
  const usual = usualRange(updateNorm.slice(Math.max(0, at - UPDATES_BEFORE), last));
  return usual === null ? null : { last: updateNorm[last]!, usual };
}

/** That a batch is the news: its loss is far above those before it, and no unusual update led to it. */
export const newsWords = (loss: number, step: number): string =>
  `the loss is ${formatNumber(loss)} at step ${step} while the updates up to there are of the usual size`;
