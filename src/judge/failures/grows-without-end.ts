import { formatNumber } from '../../model/format-number.ts';
import { shorter } from './blow-up.ts';
import type { KnownFailure } from './failure.ts';
import { levelBefore, type Points } from './log-evidence.ts';

/** Points of the growth at least, how many times the level before its last one is, and how many times the first loss. */
const [POINTS, TIMES, OF_FIRST] = [4, 1000, 10];
/** Share of the growth, in decades, that one step may have: a jump is no growth. */
const ONE_STEP = 0.5;

export const growsWithoutEnd: KnownFailure = {
  id: 'grows-without-end',
  title: 'The loss grows by decades, from point to point',
  symptoms: ['diverges', 'exploding', 'exploding loss', 'blows up', 'huge loss', 'learning rate too high'],
  docs: {
    summary: 'The loss stays finite and grows to a thousand times its level, over several points.',
    evidence: `The loss grows over ${POINTS} points or more, to ${TIMES} times the level before and to ${OF_FIRST} times the first loss. It begins at the last point that is at most twice the level before. No single step makes up more than half of the growth, in decades.`,
    notThis:
      'A loss that jumps in one step (a batch, a restart), one that only loses what was learnt (data or labels may do that), and one that ends in NaN (`nan-after-a-rise`).',
    whatToDo:
      'Each step overshoots and makes the next one larger: go back to a checkpoint before the growth, and train on at half the rate or with a clipped gradient norm. A run that grows from its first steps began with a rate that is too high. The same batches at half the rate confirm it: the loss does not grow.',
  },
  look(log) {
    const { run, loss } = log;
    if (loss === null || log.onset < 0) return null;
    const growth = growthFrom(loss, log.onset);
    if (growth === null) return null;
    const [from, to] = [loss.step.at(growth.from)!, loss.step.at(growth.to)!];
    const peak = loss.value.at(growth.to)!;
    const statement = `the loss grows from ${formatNumber(loss.value.at(growth.from)!)} at ${run.stepUnit} ${from} to ${formatNumber(peak)} at ${run.stepUnit} ${to}, over ${growth.to - growth.from} points`;
    return {
      trigger: 'sharpness',
      confidence: 'likely',
      lead: 'the steps were too long',
      step: from,
      statement: `${statement}; data that changed move a loss once, and not on and on`,
      evidence: [
        {
          id: 'loss-level',
          statement,
          value: peak,
          unit: 'loss',
          usual: null,
          at: { step: from, batchStep: null },
        },
      ],
      remedy: shorter(log, from),
    };
  },
};

/** @returns positions of the last usual loss and of the largest one; null where the loss does not grow like that */
function growthFrom({ value }: Points, onset: number): { readonly from: number; readonly to: number } | null {
  const before = onset > 0 ? levelBefore(value, onset) : value.at(0)!;
  let to = onset;
  for (let i = onset; i < value.length; i++)
    if (value.at(i)! > value.at(to)! && Number.isFinite(value.at(i)!)) to = i;
  let from = to;
  while (from > 0 && !(value.at(from)! <= 2 * before)) from--;
  const [first, last] = [value.at(from)!, value.at(to)!];
  if (!(before > 0 && first > 0) || to - from < POINTS) return null;
  if (!(last >= TIMES * before && last >= OF_FIRST * value.at(0)!)) return null;
  const most = ONE_STEP * Math.log(last / first);
  for (let i = from; i < to; i++) if (Math.log(value.at(i + 1)! / value.at(i)!) > most) return null;
  return { from, to };
}
