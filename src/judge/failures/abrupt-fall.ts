import { arrayOf, type Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { smallest } from '../../model/order-statistics.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, lastBefore, levelBefore, levelFrom } from './log-evidence.ts';

/** Points before and after a fall that make its levels. */
const [BEFORE, AFTER] = [50, 20];
/** Training makes no fall by this factor from one point to the next. */
const FALL = 4;
/** Share of a level over which the points before the fall may have come down by themselves. */
const STEADY = 1.5;
/** Last printed digits that the lowest point before a fall is high at least. */
const DIGITS = 10;

export const abruptFall: KnownFailure = {
  id: 'loss-falls-abruptly',
  title: 'The loss falls by a factor from one step to the next',
  symptoms: [
    'too good',
    'loss drops',
    'sudden drop',
    'leakage',
    'label leak',
    'shuffle',
    'sorted data',
    'data order',
    'loss near zero',
    'saw-tooth',
  ],
  docs: {
    summary:
      'The loss falls abruptly and stays low: the task became easier, the model did not become better.',
    evidence: `The ${BEFORE} points before are steady (their halves differ by less than ${STEADY} times); from one point to the next the loss falls below all of them, and the median of the next ${AFTER} is ${FALL} times lower or more. They are at least ${DIGITS} of their last printed digits high. A logged learning rate does not fall there.`,
    notThis:
      'A step of the schedule, after which the loss falls as well; a network that suddenly generalises takes tens of steps and not one.',
    whatToDo:
      'Look at the batches from that step on: are their labels mixed as before (a loader that no longer shuffles gives one class at a time), does the input hold the answer, is a mask or the loss another one? The class counts of one batch before and one after confirm it. The run before that step is good.',
  },
  look(log) {
    const { run, loss } = log;
    if (loss === null) return null;
    const until = log.onset < 0 ? loss.value.length : log.onset;
    const at = fallIn(loss.value, Math.min(loss.value.length, until + AFTER));
    if (at === null || at > until || rateFell(log, at)) return null;
    const [before, after] = [levelBefore(loss.value, at, BEFORE), levelFrom(loss.value, at, AFTER)];
    const step = loss.step.at(at)!;
    const statement = `the loss falls from ${formatNumber(before)} to ${formatNumber(after)} at ${run.stepUnit} ${step}, ${after === 0 ? '' : `${formatNumber(before / after, 'brief')} times lower, `}from one point to the next`;
    return {
      trigger: 'order',
      confidence: 'likely',
      lead: 'the data or the loss changed',
      step,
      factor: after / before,
      statement: `${statement}; training does not do that: ${after === 0 ? 'the inputs hold the answer, the loss leaves out every row, or the trainer prints NaN as 0' : 'the batches are sorted or repeated from there on, or they hold the answer, or the loss or its mask changed'}`,
      evidence: [
        {
          id: 'loss-level',
          statement,
          value: after,
          unit: 'loss',
          usual: null,
          at: { step, batchStep: step },
        },
      ],
      remedy: {
        action: 'fix-data',
        statement:
          after === 0
            ? `look at one weight of a checkpoint from after ${run.stepUnit} ${step}: NaN there means that the loss is NaN, too; else at what the inputs and the mask of the loss are from there on; then go on from a checkpoint before ${run.stepUnit} ${step}`
            : `count the labels of a batch before and after ${run.stepUnit} ${step}: one class at a time confirms that the loader no longer shuffles; else look at what the loss, its mask and the inputs are from there on; then go on from a checkpoint before ${run.stepUnit} ${step}`,
      },
    };
  },
};

/** Position of the first abrupt fall before an end; null without one. */
function fallIn(value: Column, end: number): number | null {
  for (let at = BEFORE; at + AFTER <= end; at++) {
    const now = value.at(at)!;
    // Most points are no fall: the costly levels are for those that are.
    if (!(now >= 0 && now * FALL < value.at(at - 1)!)) continue;
    const before = levelBefore(value, at, BEFORE);
    const isSteady =
      levelBefore(value, at - BEFORE / 2, BEFORE / 2) <= STEADY * levelBefore(value, at, BEFORE / 2);
    const earlier = arrayOf(value.subarray(at - BEFORE, at).filter(Number.isFinite)).sort();
    const lowest = earlier[0]!;
    // A loss that reaches the last printed digit falls to 0 by itself.
    if (!(lowest >= DIGITS * smallest(gapsOf(earlier)))) continue;
    const next = value.subarray(at, at + AFTER);
    const stays = next.every((one) => one < lowest);
    if (isSteady && stays && FALL * levelFrom(value, at, AFTER) <= before) return at;
  }
  return null;
}

/** Distances between sorted values that differ. */
const gapsOf = (sorted: Float64Array): Float64Array =>
  sorted.map((one, i) => one - (sorted[i - 1] ?? Number.NaN)).filter((gap) => gap > 0);

function rateFell({ rates, loss }: LogEvidence, at: number): boolean {
  if (rates === null) return false;
  const index = lastBefore(rates, loss!.step.at(at)! + 1);
  return index > 2 && rates.value.at(index)! < 0.7 * levelBefore(rates.value, index - 2, 5);
}
