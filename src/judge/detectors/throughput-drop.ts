import { formatNumber } from '../../model/format-number.ts';
import { COUNT, SHARE } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'Look at the data loader, a slower or throttled machine, and logging or evaluation that grew. It does not harm the model, only the clock.';

const RATE = /(per|\/)[-_ ]?s(ec(ond)?)?$|throughput|(^|[^a-z])(sps|tps|fps)$/i;

export const throughputDrop = {
  id: 'throughput-drop',
  title: 'Training got slower',
  severity: 'note',
  thresholds: [
    {
      name: 'ratio',
      value: 0.5,
      unit: 'ratio to the usual rate',
      range: SHARE,
      origin: 'evaluation and checkpoints cost less than half of the time',
    },
    {
      name: 'points',
      value: 40,
      unit: 'points',
      range: COUNT,
      origin: 'the last tenth must have a few points for its median',
    },
  ],
  docs: {
    summary: 'The rate of the last tenth of the run is less than half of what was usual.',
    details: `The rate is a logged throughput (samples, tokens, steps per second) or, where there is none, steps over wall time between the points of
the loss. The median of the last tenth of an attempt of at least \`points\` points must be above \`ratio\` times the
median of its first half, warm-up left out. Pauses are single points and
do not move a median.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const logged = run.series.filter(({ role, name }) => role === 'other' && RATE.test(name));
    const timed = [judged.loss?.series, ...seriesOf(run, 'grad_norm')].filter(
      (series) => series?.wallTime !== undefined,
    );
    const series = logged.length > 0 ? logged : timed.slice(0, 1).map((one) => one!);
    if (series.length === 0) return notApplicable('the log has neither a throughput nor wall times');
    const findings = series.flatMap((one) =>
      one.attemptOffsets.flatMap((offset, attempt) =>
        slower(run, one, offset, attempt, logged.length > 0, threshold),
      ),
    );
    return outcomeOf(findings);
  },
} as const satisfies Detector;

function slower(
  run: Run,
  series: TimeSeries,
  offset: number,
  attempt: number,
  isRate: boolean,
  threshold: (name: string) => number,
) {
  const { value, step, wallTime } = attemptOf(series, attempt);
  const rate = isRate
    ? value
    : Float64Array.from(
        step.subarray(1),
        (next, i) => (next - step.at(i)!) / (wallTime!.at(i + 1)! - wallTime!.at(i)!),
      );
  if (rate.length < threshold('points')) return [];
  const usual = medianOf(rate.subarray(rate.length >> 4, rate.length >> 1));
  const tail = rate.length - Math.floor(rate.length / 10);
  const last = medianOf(rate.subarray(tail));
  if (!(usual > 0 && last < threshold('ratio') * usual)) return [];
  // From here on at least every second point is slow: where the count of slow less fast points behind is largest.
  let from = tail;
  let count = 0;
  let most = 0;
  for (let i = rate.length - 1; i >= 0; i--) {
    count += rate.at(i)! < threshold('ratio') * usual ? 1 : -1;
    if (count > most) {
      most = count;
      from = i;
    }
  }
  const shift = isRate ? 0 : 1;
  return [
    findingAt(run, series, offset + from + shift, offset + value.length - 1, {
      id: 'throughput-drop',
      severity: 'note',
      message: `${isRate ? `"${series.name}" fell` : `The ${run.stepUnit}s per second fell`} from ${formatNumber(usual)} to ${formatNumber(last)} at ${run.stepUnit} ${step.at(from + shift)}.`,
      measured: quantity('rate at the end over the usual one', last / usual, 'ratio'),
      threshold: quantity('rate at the end over the usual one', threshold('ratio'), 'ratio'),
      advice,
    }),
  ];
}
