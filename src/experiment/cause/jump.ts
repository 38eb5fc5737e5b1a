/** Where no unusual update led to a recorded loss that jumps, its batch is the likely cause. */
import { isRaised, LEAST_STATES, usualRange } from '../../judge/incidents/unlike.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { References } from '../replay/reference.ts';

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

/** That a batch is the cause: its loss is far above those before it, and no unusual update led to it. */
export const newsWords = (loss: number, step: number): string =>
  `the loss is ${formatNumber(loss)} at step ${step} while the updates up to there are of the usual size`;

/** Whether the batch whose loss jumped has a usual one at weights of a few steps before: the weights made the jump, not the batch. */
export const isJumpOfWeights = ({ jumped }: Pick<References, 'jumped'>): boolean =>
  jumped !== undefined &&
  jumped.at < jumped.index &&
  jumped.usual !== null &&
  !isRaised(jumped.loss, jumped.usual);
