/** What the loss did while another series was unusual: what a reader asks of every oddity that is no incident. */

import { attemptOf, type Run } from '../../model/run.ts';
import { windowFor } from '../incidents/bands.ts';
import type { JudgedRun } from '../incidents/verdict.ts';

/** Points of the loss after the last odd one that may still answer it: arXiv 2304.13013 finds spikes of the loss one to eight steps after. */
export const ANSWERS_WITHIN = 8;

/**
 * In words, as the last clause of a message.
 *
 * @param attempt of the odd series
 * @param from first and `to` last odd step
 * @returns empty where the loss is not known there, or too few points came before to know what is usual
 */
export function lossReaction(
  { stepUnit }: Pick<Run, 'stepUnit'>,
  { loss }: Pick<JudgedRun, 'loss'>,
  attempt: number,
  from: number,
  to: number,
): string {
  const judged = loss?.attempts[attempt];
  if (loss === null || loss.series.role === 'eval_loss' || judged === undefined) return '';
  const { step } = attemptOf(loss.series, attempt);
  const first = step.findIndex((one) => one >= from);
  if (first < windowFor(step.length).start) return '';
  const end = step.findLastIndex((one) => one <= to);
  const last = step.at(Math.min(step.length - 1, Math.max(first, end) + ANSWERS_WITHIN))!;
  const under = judged.incidents.find(({ onset, end: after }) => onset < first && after > first);
  if (under !== undefined) return `; the loss was high already, since ${stepUnit} ${step.at(under.onset)}`;
  const answers = [...judged.spikes.map(({ index }) => index), ...judged.incidents.map(({ onset }) => onset)];
  const answer = Math.min(...answers.filter((index) => step.at(index)! >= from && step.at(index)! <= last));
  return answer === Number.POSITIVE_INFINITY
    ? '; the loss stayed in its usual range'
    : `; the loss rose at ${stepUnit} ${step.at(answer)}`;
}
