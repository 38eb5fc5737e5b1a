import { formatCount, formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { levelSaysLittle } from '../incidents/verdict.ts';
import type { KnownFailure } from './failure.ts';
import { BETTER, type LogEvidence, levelBefore, rateEvidence } from './log-evidence.ts';

/** Times the first loss that it rises to, and times it that three points in a row are at least. */
const [HEIGHT, HIGH] = [8, 3];
/** Share of the run in which it has to come back below its first loss. */
const SOON = 0.2;
/** Points of a run that tell. */
const POINTS = 50;

export const firstStepsTooLong: KnownFailure = {
  id: 'first-steps-too-long',
  title: 'The first steps throw the loss far up, and then it learns',
  symptoms: [
    'warm-up',
    'warmup',
    'initial spike',
    'loss explodes at start',
    'learning rate too high',
    'first steps',
  ],
  docs: {
    summary:
      'The first steps are so long that they destroy the initial weights; training begins from what is left.',
    evidence: `The loss rises to ${HEIGHT} times its first value in the first tenth of the run, with three points in a row at ${HIGH} times it or more. It is below its first value again before ${100 * SOON} % of the run is over, and below ${BETTER} of it in the middle of what follows. A run of ${POINTS} points or more; losses whose level says little (reinforcement learning, adversarial training) are left out.`,
    notThis:
      'A loss that comes back to its first value and learns nothing (`dead-from-the-start`). A first batch that is easy by chance: the next losses are a little higher.',
    whatToDo:
      'Begin again with a tenth of the rate, or with a warm-up, and compare the losses at the same step: initial weights that survive often end lower.',
  },
  look(log) {
    const { run, onset, loss, rates } = log;
    const isLater = loss === null || onset > loss.value.length / 10;
    const peak = isLater ? null : peakOf(log);
    if (peak === null || loss === null) return null;
    const unit = run.stepUnit;
    const first = loss.value.at(0)!;
    const [at, back] = [loss.step.at(peak.at)!, loss.step.at(peak.back)!];
    const end = levelBefore(loss.value, loss.value.length);
    const rate = rates?.value.find((one) => one > 0);
    const statement = `the loss rises from ${formatNumber(first)} to ${formatNumber(loss.value.at(peak.at)!)} at ${unit} ${formatCount(at)}, is below its first value from ${unit} ${formatCount(back)} on, and ends at ${formatNumber(end)}`;
    const lead = `the learning rate${rate === undefined ? ', which is not logged,' : `, ${formatNumber(rate)},`} is too high for the first steps`;
    return {
      trigger: 'learning-rate',
      confidence: 'likely',
      lead,
      step: loss.step.at(0)!,
      factor: loss.value.at(peak.at)! / first,
      statement: `${statement}; the initial weights did not survive that, so a better end may be out of reach`,
      evidence: [{ ...rateEvidence(statement, loss.value.at(peak.at)!, at), id: 'loss-level', unit: 'loss' }],
      remedy: {
        action: 'lower-learning-rate',
        learningRateFactor: 0.1,
        ...(rate === undefined ? {} : { learningRate: rate / 10 }),
        statement: `begin again with a tenth of the rate${rate === undefined ? '' : ` (${formatNumber(rate / 10)})`} or a warm-up: a loss below ${formatNumber(end)} at the same ${unit} confirms it`,
      },
    };
  },
};

/** The highest point of the first tenth, where it is far above the first loss, and the first point below that again. */
function peakOf({ run, judged, loss }: LogEvidence): { readonly at: number; readonly back: number } | null {
  const { value } = loss!;
  const series = judged?.loss?.series;
  const first = value.at(0);
  if (series === undefined || levelSaysLittle(run, series) || value.length < POINTS) return null;
  if (first === undefined || !(first > 0 && Number.isFinite(first))) return null;
  // A loss that is infinite is an overflow, after which a scaler skips the step: it says nothing of the rate.
  let at = 0;
  for (let i = 0; i < value.length / 10; i++)
    if (Number.isFinite(value.at(i)!) && value.at(i)! > value.at(at)!) at = i;
  if (!(value.at(at)! >= HEIGHT * first)) return null;
  const isBroad = [at - 2, at - 1, at].some(
    (from) =>
      from >= 0 && value.subarray(from, from + 3).every((one) => Number.isFinite(one) && one >= HIGH * first),
  );
  let back = at;
  while (back < value.length && !(value.at(back)! < first)) back++;
  const stays = back <= SOON * value.length && medianOf(value.subarray(back)) < BETTER * first;
  return isBroad && stays ? { at, back } : null;
}
