import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { largest } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, type Points, rateEvidence } from './log-evidence.ts';

/** Share of the highest rate below which a step is lost in the rounding of float32 weights: as good as 0. */
const NOTHING = 2 ** -24;
/** Points of a rate of 0, and the share of the attempt that they are. */
const [POINTS, SHARE] = [20, 0.2];

export const rateZero: KnownFailure = {
  id: 'rate-is-zero',
  title: 'The learning rate is 0 for much of the training',
  symptoms: [
    'lr 0',
    'learning rate 0',
    'zero learning rate',
    'not learning',
    'stopped learning',
    'plateau',
    'frozen',
    'schedule',
  ],
  docs: {
    summary: 'From one step on every logged learning rate is 0, or next to nothing, so no weight changes.',
    evidence: `The last ${POINTS} logged rates of an attempt or more, and ${100 * SHARE} % of them or more, are 0 in every group, or at most 2⁻²⁴ of its highest, and not all of them. Where they are exactly 0, a last rate before that is a power of ten may hide a small rate that was printed with few digits: then evaluations have to be the same to the last digit.`,
    notThis:
      'A schedule that ends at 0 in its last steps; a group that is frozen while others train; a rate of 0 from the start (`dead-from-the-start`).',
    whatToDo:
      'Look at the number of steps that the schedule was given, and at what set the rate. Go on from the last weights with a rate above 0: two evaluations that differ confirm it.',
  },
  look(log) {
    const { run, onsetStep } = log;
    if (onsetStep !== null) return null;
    const zero = zeroFrom(log);
    if (zero === null) return null;
    const { rates, from } = zero;
    const [step, last] = [rates.step.at(from)!, rates.step.at(-1)!];
    const before = rates.value.at(from - 1)!;
    const rest = rates.value.at(from)!;
    const isZero = rest === 0;
    const after = isZero
      ? 'exactly 0'
      : `at most ${formatNumber(rest)}, a step too small for float32 weights,`;
    const share = (rates.step.length - from) / rates.step.length;
    const statement = `the learning rate is ${formatNumber(before)} up to ${run.stepUnit} ${rates.step.at(from - 1)} and ${after} from ${run.stepUnit} ${step} to ${last}, the last ${Math.round(100 * share)} % of the log`;
    return {
      trigger: 'learning-rate',
      confidence: 'likely',
      lead: `the learning rate is ${isZero ? '0' : 'next to nothing'}`,
      step,
      factor: rest / before,
      statement: `${statement}; no weight changes from there on`,
      evidence: [rateEvidence(statement, rest, step)],
      remedy: {
        action: 'restore-schedule',
        statement: `look at how many steps the schedule was given and at what set the rate at ${run.stepUnit} ${step}; go on with a rate above 0: two evaluations that differ confirm it`,
      },
    };
  },
};

/** The group whose rate was the last to become 0, and from where on; null where one still trains. */
function zeroFrom(log: LogEvidence): { readonly rates: Points; readonly from: number } | null {
  const groups = log.run.series
    .filter(({ role }) => role === 'learning_rate')
    .map((series): Points => ({ ...attemptOf(series, log.attempt), name: series.name }))
    .filter(({ value }) => value.some((rate) => rate !== 0))
    .map((rates) => ({ rates, from: lastThatTrains(rates) + 1 }));
  const [first] = groups;
  if (first === undefined) return null;
  const latest = groups.reduce(
    (most, next) => (next.rates.step.at(next.from - 1)! > most.rates.step.at(most.from - 1)! ? next : most),
    first,
  );
  const { length } = latest.rates.value;
  const zeros = length - latest.from;
  if (zeros < Math.max(POINTS, SHARE * length) || !(latest.rates.value.at(latest.from - 1)! > 0)) return null;
  const isRounded =
    latest.rates.value.at(latest.from) === 0 &&
    Number.isInteger(Math.log10(latest.rates.value.at(latest.from - 1)!));
  return isRounded && !evaluationStands(log, latest.rates.step.at(latest.from)!) ? null : latest;
}

/** Index of the last rate that changes weights; -1 where none does. */
function lastThatTrains({ value }: Points): number {
  const least = NOTHING * largest(arrayOf(value));
  return value.findLastIndex((rate) => !(rate <= least));
}

/** Whether the evaluations from a step on are two or more, and the same to the last digit. */
function evaluationStands({ run, attempt }: LogEvidence, from: number): boolean {
  return run.series.some((series) => {
    if (series.role !== 'eval_loss') return false;
    const { step, value } = attemptOf(series, attempt);
    const at = step.findIndex((one) => one >= from);
    const after = at < 0 ? [] : value.subarray(at);
    return after.length > 1 && after.every((one) => one === value.at(at)!);
  });
}
