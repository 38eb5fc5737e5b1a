/** Whether the first recorded batches are as those before the capture: one that begins with other data has nothing to tell it by. */

import { isUnlike, LEAST_STATES, usualRange } from '../../judge/incidents/unlike.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Observed } from './observe.ts';

/**
 * What is open about the data of the first recorded steps, and what to record.
 *
 * @param before losses right before the capture, in the order of their steps
 * @param onset position
 * @returns a clause; null where the losses up to the onset go on as those before, or the capture begins with the run
 */
export function openFirstSteps(
  before: readonly number[],
  { steps, loss }: Pick<Observed, 'steps' | 'loss'>,
  onset: number,
): string | null {
  const [first] = steps;
  if (first! <= 1) return null;
  const usual = usualRange(before);
  const record = `record from before step ${first} on`;
  if (usual === null)
    return `whether the data were others before step ${first} is not known: keep the log from before it, or ${record}`;
  const own = medianOf(loss.slice(0, Math.min(onset, LEAST_STATES)));
  return isUnlike(own, usual)
    ? `the first recorded losses are ${formatNumber(own)}, where ${formatNumber(usual[0])} to ${formatNumber(usual[1])} was usual before step ${first}: the data may have changed there, so ${record}`
    : null;
}
