/** Whether the training without a rule has the incident that was recorded: where it does not, no rule can be judged by it. */
import { endBeside, judgeLosses } from '../../judge/incidents/losses.ts';
import { formatNumber } from '../../model/format-number.ts';
import { suddenDeparture } from './departure.ts';
import type { Judgement } from './verdict.ts';

/**
 * Compares the losses of the training under the recorded clipping with the recorded ones.
 *
 * @param baseline one loss for each recorded step; NaN after a non-finite state
 * @param recorded one for each step; null where none was recorded
 * @param onset position of the first loss of the recorded incident
 * @param history losses before the first recorded step
 * @returns why the recorded incident is not in the training, as a clause; null where it is, or begins before the record
 */
export function whyNotShown(
  baseline: readonly number[],
  recorded: readonly (number | null)[],
  onset: number,
  steps: readonly number[],
  history: readonly number[] = [],
): string | null {
  const again = 'trained again without the rule,';
  const unseen = 'what caused the incident is not in this training, so the rule was not tried on it';
  const judged = judgeLosses(baseline, history);
  if (judged.began) return null;
  const at = `step ${steps[onset]}`;
  const there = recorded[onset] ?? null;
  if (
    judged.incident === null ||
    (there !== null && !Number.isFinite(there) && Number.isFinite(baseline[onset]))
  )
    return `${again} the run does not have the incident of ${at}: ${unseen}`;
  const left = suddenDeparture(baseline, recorded, onset);
  if (left !== null)
    return `${again} the loss at step ${steps[left]} is ${formatNumber(baseline[left]!)} where ${formatNumber(recorded[left]!)} was recorded: ${unseen}`;
  const losses = recorded.map((loss) => loss ?? Number.NaN);
  const { band } = judged;
  const recordedEnd = recorded.includes(null) ? null : endBeside(losses, judgeLosses(losses, history), band);
  return recordedEnd === 'out' && endBeside(baseline, judged, band) === 'in-band'
    ? `${again} the run comes back from the incident of ${at}, and the recorded one did not: ${unseen}`
    : null;
}

/** The verdict of every rule where the incident is not shown. */
export const notShown = (why: string): Judgement => ({ verdict: 'cannot-tell', confidence: 'exact', why });
