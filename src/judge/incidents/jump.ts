/** A recorded loss that is far above those before it, at an onset or shortly before. */
import { isRaised, USUAL, usualRange } from './unlike.ts';

/** Steps before an onset in which a jump of the loss may lie that a climb follows. */
const JUMP_WINDOW = 20;

/**
 * Position of the loss that jumped: that of the onset where it is far above those before it, else the highest such one
 * shortly before from which the loss came back. null where the loss only climbs.
 */
export function jumpOf(loss: readonly number[], onset: number): number | null {
  const usualAt = (i: number) => usualRange(loss.slice(Math.max(0, i - USUAL), i));
  if (isRaised(loss[onset]!, usualAt(onset))) return onset;
  let highest: number | null = null;
  for (let i = Math.max(0, onset - JUMP_WINDOW); i < onset; i++) {
    const usual = usualAt(i);
    // A jump that did not come back is the climb itself.
    const back = loss.slice(i + 1, onset).some((after) => !isRaised(after, usual));
    if (isRaised(loss[i]!, usual) && back && !(highest !== null && loss[i]! <= loss[highest]!)) highest = i;
  }
  return highest;
}
