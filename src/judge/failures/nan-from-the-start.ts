import { formatNumber } from '../../model/format-number.ts';
import { distanceToNext } from '../../model/order-statistics.ts';
import { LEAST_EARLIER } from '../incidents/unlike.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, type Points, rateEvidence } from './log-evidence.ts';

/** Losses before the first NaN from which on they show what is usual, and with them whether the loss left it. */
const FEW = 2 * LEAST_EARLIER;
/** Times the largest other loss, or in itself, that the last finite one is where the steps threw it up. */
const [THROWN, HUGE] = [10, 1e6];
/** Distances of two points after which the first one is at most. */
const FIRST = 3;

export const nanFromTheStart: KnownFailure = {
  id: 'nan-from-the-start',
  title: 'The loss is NaN or infinite from the first records on',
  symptoms: [
    'nan',
    'inf',
    'nan loss',
    'loss is nan',
    'nan from the start',
    'nan at first step',
    'not a number',
  ],
  docs: {
    summary:
      'The loss is not a number from one of its first points on, so no earlier points show what is usual.',
    evidence: `Fewer than ${FEW} finite losses come before the first one that is NaN or infinite, and none after it, in a log whose first point is at most ${FIRST} distances of two points after step 0. It is likely the learning rate where the last of them is ${THROWN} times the largest other one or more, or above ${formatNumber(HUGE)}. Otherwise the cause stays open.`,
    notThis:
      'A loss that was usual for longer (`nan-out-of-calm`) or grew point by point (`nan-after-a-rise`). A window from the middle of a log. A loss that is finite again later: a batch without rows, or a scaler that looks for its scale.',
    whatToDo:
      'Begin again; there is nothing to go back to. First compute the loss of one batch at the initial weights. No number there: look for NaN and infinity in features and labels (`torch.isfinite(x).all()`), then at logarithms, divisions and square roots of the loss. A number there: the steps are too long, so take a tenth of the rate, or a warm-up, and check features that are not scaled.',
  },
  look(log) {
    const { run, loss } = log;
    if (loss === null || log.onset < 0) return null;
    const broken = loss.value.findIndex((value) => !Number.isFinite(value));
    const isToTheEnd = broken >= 0 && !loss.value.subarray(broken).some(Number.isFinite);
    if (!isToTheEnd || broken >= FEW || log.attempt > 0 || !beginsWithTraining(loss)) return null;
    const at = `${run.stepUnit} ${loss.step.at(broken)}`;
    const before = [...loss.value.subarray(0, broken)];
    const last = before.at(-1);
    const others = Math.max(...before.slice(0, -1));
    const isThrown = last !== undefined && (last >= HUGE || (before.length > 1 && last >= THROWN * others));
    if (isThrown)
      return thrown(log, last, `the loss is ${formatNumber(last)} before ${at}, and no number from there on`);
    const seen =
      last === undefined
        ? `the first logged loss, at ${at}, is not a number already`
        : `only ${before.length === 1 ? 'one loss comes' : `${before.length} losses come`} before the first that is not a number, at ${at}`;
    return {
      trigger: 'none-found',
      confidence: null,
      step: null,
      statement: `${seen}; NaN in the data or in the initial weights, and first steps that are far too long, look alike from here`,
      evidence: [],
      remedy: { action: 'rewind', statement: BEGIN_AGAIN },
    };
  },
};

/** Whether the log begins where the training did, and is no window of its middle. */
const beginsWithTraining = ({ step }: Points): boolean => step.at(0)! <= FIRST * distanceToNext(step);

const BEGIN_AGAIN =
  'begin again, and compute the loss of one batch at the initial weights first: no number there means NaN in its features or labels, or a logarithm or division in the loss; a number means that the steps are too long: a tenth of the rate, or a warm-up';

function thrown({ rates, run }: LogEvidence, last: number, fact: string): FoundFailure {
  const rate = rates?.value.find((one) => one > 0);
  const known = rate === undefined ? ', which is not logged,' : `, ${formatNumber(rate)},`;
  return {
    trigger: 'learning-rate',
    confidence: 'likely',
    lead: `the learning rate${known} is far too high for the first steps`,
    step: run.attempts[0]?.firstStep ?? null,
    statement: `${fact}; NaN in the data ends in NaN at once and not by growing`,
    evidence: [
      { ...rateEvidence(fact, last, run.attempts[0]?.firstStep ?? 0), id: 'loss-level', unit: 'loss' },
    ],
    remedy: {
      action: 'lower-learning-rate',
      learningRateFactor: 0.1,
      ...(rate === undefined ? {} : { learningRate: rate / 10 }),
      statement: `begin again with a tenth of the rate${rate === undefined ? '' : ` (${formatNumber(rate / 10)})`} or a warm-up, and check that features are scaled: a loss that stays finite confirms it`,
    },
  };
}
