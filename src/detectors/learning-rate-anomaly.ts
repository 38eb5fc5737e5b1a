import { formatNumber } from '../model/format-number.ts';
import { RATIO, SHARE } from '../model/options.ts';
import { attemptOf, type TimeSeries } from '../model/run.ts';
import {
  counted,
  type Detector,
  findingAt,
  firstOf,
  notApplicable,
  outcomeOf,
  quantity,
  seriesOf,
} from './detector.ts';

const advice =
  'Check the schedule: a resume that starts it anew, a scheduler stepped twice, or a schedule shorter than the run.';

interface Anomaly {
  readonly series: TimeSeries;
  readonly from: number;
  readonly to: number;
  readonly message: string;
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
would do), zero in the middle of training or for more than \`zeroShare\` of the points at its end, or a negative or non-finite value. Steps down are schedules.`,
    advice,
    references: [],
  },
  detect(run, { threshold }) {
    const rates = seriesOf(run, 'learning_rate');
    if (rates.length === 0) return notApplicable('the log has no learning rate');
    const cases = rates.flatMap((series) =>
      series.attemptOffsets.flatMap((offset, attempt) => {
        const { value, step } = attemptOf(series, attempt);
        const found: Anomaly[] = [];
        const report = (from: number, to: number, message: string, measured: number, unit: string): void => {
          found.push({ series, from: offset + from, to: offset + to, message, measured, unit });
        };
        const invalid = value.findIndex((rate) => !(rate >= 0 && rate < Infinity));
        if (invalid >= 0)
          report(
            invalid,
            invalid,
            `is ${value[invalid]} at ${run.stepUnit} ${step[invalid]}`,
            value[invalid]!,
            'learning rate',
          );
        const first = value.findIndex((rate) => rate > 0);
        if (first < 0) {
          if (value.length > 1 && invalid < 0)
            report(
              0,
              value.length - 1,
              `is zero at all of ${counted(value.length, 'point')}`,
              0,
              'learning rate',
            );
          return found;
        }
        for (let i = first + 1; i < value.length; i++) {
          const before = value[i - 1]!;
          const rise = value[i]! / before;
          const warmUp = step[i]! / step[i - 1]!;
          if (before > 0 && rise > threshold('jump') && !(rise <= 2 * warmUp))
            report(
              i,
              i,
              `rises ${formatNumber(rise)}-fold to ${formatNumber(value[i]!)} at ${run.stepUnit} ${step[i]}`,
              rise,
              'ratio',
            );
          if (value[i] !== 0 || before === 0) continue;
          let end = i;
          while (end + 1 < value.length && value[end + 1] === 0) end++;
          const toTheEnd = end === value.length - 1;
          if (!toTheEnd || end - i + 1 > threshold('zeroShare') * value.length + 1)
            report(
              i,
              end,
              `is zero from ${run.stepUnit} ${step[i]} ${toTheEnd ? 'to the end' : `to ${step[end]}`} (${counted(end - i + 1, 'point')})`,
              0,
              'learning rate',
            );
        }
        return found;
      }),
    );
    return outcomeOf(
      firstOf(cases, ({ series, from, to, message, measured, unit }) =>
        findingAt(run, series, from, to, {
          id: 'learning-rate-anomaly',
          severity: 'note',
          message: `"${series.name}" ${message}.`,
          measured: quantity('learning rate', measured, unit),
          threshold: quantity('rise from one point to the next', threshold('jump'), 'ratio'),
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;
