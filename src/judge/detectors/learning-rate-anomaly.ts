import { type Column, readerOf } from '../../model/column.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { RATIO, SHARE } from '../../model/options.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import type { JudgedRun } from '../incidents/verdict.ts';
import {
  type Detector,
  findingAt,
  firstOf,
  notApplicable,
  outcomeOf,
  quantity,
  seriesOf,
} from './detector.ts';
import { lossReaction } from './loss-reaction.ts';

const advice =
  'Check the schedule: a resume that starts it anew, a scheduler stepped twice, or a schedule shorter than the run.';

interface Anomaly {
  readonly series: TimeSeries;
  readonly from: number;
  /** Its last point: looked for only where it is shown. */
  readonly to: () => number;
  readonly message: (to: number) => string;
  readonly measured: number;
  readonly unit: string;
}

export const learningRateAnomaly = {
  id: 'learning-rate-anomaly',
  title: 'The learning rate jumps up, is zero, or is not a number',
  severity: 'note',
  thresholds: [
    {
      name: 'jump',
      value: 3,
      unit: 'ratio to the point before',
      range: RATIO,
      origin:
        'a linear warm-up at most doubles between its first logged points; where steps are sparse, twice the ratio of the steps is allowed',
    },
    {
      name: 'zeroShare',
      value: 0.05,
      unit: 'share of the points',
      range: SHARE,
      origin: 'schedules end at zero; this many points at zero are training that does nothing',
    },
  ],
  docs: {
    summary: 'The learning rate does something that a warm-up and a decay do not.',
    details: `Per attempt and series: a rise by more than \`jump\` from one point to the next (and more than twice what a warm-up in proportion to the step
would do). How long it stays so high and what the loss did follow it. Also: zero in the middle of training or for more than \`zeroShare\` of the points at its end, or a negative or non-finite value. Steps down are schedules.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const rates = seriesOf(run, 'learning_rate');
    if (rates.length === 0) return notApplicable('the log has no learning rate');
    const jump = threshold('jump');
    const zeroShare = threshold('zeroShare');
    const cases = function* (): Generator<Anomaly> {
      for (const series of rates)
        for (let attempt = 0; attempt < series.attemptOffsets.length; attempt++)
          yield* anomaliesOf(run, series, attempt, jump, zeroShare, judged);
    };
    return outcomeOf(
      firstOf(cases(), ({ series, from, to, message, measured, unit }) => {
        const last = to();
        return findingAt(run, series, from, last, {
          id: 'learning-rate-anomaly',
          severity: 'note',
          message: `"${series.name}" ${message(last)}.`,
          measured: quantity('learning rate', measured, unit),
          threshold: quantity('rise from one point to the next', threshold('jump'), 'ratio'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;

/** What is odd in an attempt, one after the other: a rate that is noise has an anomaly at every sixth point. */
function* anomaliesOf(
  run: Run,
  series: TimeSeries,
  attempt: number,
  jump: number,
  zeroShare: number,
  judged: JudgedRun,
): Generator<Anomaly> {
  const offset = series.attemptOffsets[attempt]!;
  const { value, step } = attemptOf(series, attempt);
  const at = (from: number, to: () => number) => ({ series, from: offset + from, to: () => offset + to() });
  const invalid = value.findIndex((rate) => !(rate >= 0 && rate < Infinity));
  if (invalid >= 0)
    yield {
      ...at(invalid, () => invalid),
      message: () => `is ${value.at(invalid)} at ${run.stepUnit} ${step.at(invalid)}`,
      measured: value.at(invalid)!,
      unit: 'learning rate',
    };
  const first = value.findIndex((rate) => rate > 0);
  if (first < 0) {
    if (value.length > 1 && invalid < 0)
      yield {
        ...at(0, () => value.length - 1),
        message: () => `is zero at all of ${countedPlain(value.length, 'point')}`,
        measured: 0,
        unit: 'learning rate',
      };
    return;
  }
  const rateAt = readerOf(value);
  let rate = rateAt(first);
  for (let i = first + 1; i < value.length; i++) {
    const before = rate;
    rate = rateAt(i);
    // Most schedules fall, and a fall to anything but zero is nothing.
    if (rate <= before && rate !== 0) continue;
    const rise = rate / before;
    if (before > 0 && rise > jump && !(rise <= 2 * (step.at(i)! / step.at(i - 1)!)))
      yield {
        ...at(i, () => lastAbove(value, i, jump * before)),
        message: (to) => {
          const last = to - offset;
          const long =
            last === value.length - 1
              ? ' and stays high to the end'
              : ` and stays high for ${countedPlain(last - i + 1, 'point')}`;
          return `rises ${formatNumber(rise, 'brief')}-fold to ${formatNumber(value.at(i)!, 'brief')} at ${run.stepUnit} ${step.at(i)}${long}${lossReaction(run, judged, attempt, step.at(i)!, step.at(i)!)}`;
        },
        measured: rise,
        unit: 'ratio',
      };
    if (rate !== 0 || before === 0) continue;
    let end = i;
    while (end + 1 < value.length && rateAt(end + 1) === 0) end++;
    const toTheEnd = end === value.length - 1;
    if (!toTheEnd || end - i + 1 > zeroShare * value.length + 1)
      yield {
        ...at(i, () => end),
        message: () =>
          `is zero from ${run.stepUnit} ${step.at(i)} ${toTheEnd ? 'to the end' : `to ${step.at(end)}`} (${countedPlain(end - i + 1, 'point')})`,
        measured: 0,
        unit: 'learning rate',
      };
  }
}

/** The last of the values from a position on that stay above a limit without a gap. */
function lastAbove(values: Column, from: number, limit: number): number {
  let last = from;
  while (last + 1 < values.length && values.at(last + 1)! > limit) last++;
  return last;
}
