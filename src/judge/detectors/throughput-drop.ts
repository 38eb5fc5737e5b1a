import { formatNumber } from '../../model/format-number.ts';
import { COUNT, SHARE } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { withTimes } from '../../model/printed-times.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import type { JudgedRun } from '../incidents/verdict.ts';
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
    const series = ratedSeries(run, judged);
    if (series.length === 0) return notApplicable('the log has neither a throughput nor wall times');
    const findings = slowerStretches(run, judged, threshold('ratio'), threshold('points')).map((slow) =>
      findingAt(run, slow.series, slow.from, slow.to, {
        id: 'throughput-drop',
        severity: 'note',
        message: `${slow.isLogged ? `"${slow.series.name}" fell` : `The ${run.stepUnit}s per second fell`} from ${formatNumber(slow.usual)} to ${formatNumber(slow.last)} at ${run.stepUnit} ${slow.series.step.at(slow.from)}.`,
        measured: quantity('rate at the end over the usual one', slow.last / slow.usual, 'ratio'),
        threshold: quantity('rate at the end over the usual one', threshold('ratio'), 'ratio'),
        advice,
      }),
    );
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/** Logged throughputs, else the loss or the gradient norm with its times. */
function ratedSeries(run: Run, judged: Pick<JudgedRun, 'loss'>): readonly TimeSeries[] {
  const logged = run.series.filter(isThroughput);
  if (logged.length > 0) return logged;
  return [judged.loss?.series, ...seriesOf(run, 'grad_norm')]
    .filter((series) => series !== undefined)
    .map((series) => (series.wallTime === undefined ? evenEnough(withTimes(run, series)) : series))
    .filter(({ wallTime }) => wallTime !== undefined)
    .slice(0, 1);
}

/** Printed times are whole seconds: closer together they give no rate. */
const LEAST_SECONDS = 10;

function evenEnough(series: TimeSeries): TimeSeries {
  const { wallTime, ...untimed } = series;
  if (wallTime === undefined) return series;
  const distances = wallTime.subarray(1).map((time, k) => time - wallTime.at(k)!);
  return medianOf(distances) >= LEAST_SECONDS ? series : untimed;
}

/** Whether a series is a throughput of the training; an evaluation has one of its own. */
const isThroughput = ({ role, name }: TimeSeries): boolean =>
  role === 'other' && RATE.test(name) && !/^(eval|val|test)/i.test(name);

/** A stretch to the end of an attempt that is slower than its first half. */
export interface SlowerStretch {
  readonly series: TimeSeries;
  readonly attempt: number;
  /** Positions in the series of the first slow point and of the last one. */
  readonly from: number;
  readonly to: number;
  /** Median rates, in the unit of the series or in steps per second. */
  readonly usual: number;
  readonly last: number;
  /** Whether the rate was logged; else it is steps over times. */
  readonly isLogged: boolean;
}

/**
 * Where attempts of a run became slower and stayed so.
 *
 * @param ratio of the last tenth's rate to the usual one below which it is slow
 * @param points that an attempt needs
 */
export function slowerStretches(
  run: Run,
  judged: Pick<JudgedRun, 'loss'>,
  ratio: number,
  points: number,
): readonly SlowerStretch[] {
  return ratedSeries(run, judged).flatMap((series) =>
    series.attemptOffsets.flatMap((_, attempt) => slowerIn(series, attempt, ratio, points) ?? []),
  );
}

function slowerIn(series: TimeSeries, attempt: number, ratio: number, points: number): SlowerStretch | null {
  const { value, step, wallTime } = attemptOf(series, attempt);
  const isLogged = isThroughput(series);
  const rate = isLogged
    ? value
    : Float64Array.from(
        step.subarray(1),
        (next, i) => (next - step.at(i)!) / (wallTime!.at(i + 1)! - wallTime!.at(i)!),
      );
  if (rate.length < points) return null;
  const usual = medianOf(rate.subarray(rate.length >> 4, rate.length >> 1));
  const tail = rate.length - Math.floor(rate.length / 10);
  const last = medianOf(rate.subarray(tail));
  if (!(usual > 0 && last < ratio * usual)) return null;
  // From here on at least every second point is slow: where the count of slow less fast points behind is largest.
  let from = tail;
  let count = 0;
  let most = 0;
  for (let i = rate.length - 1; i >= 0; i--) {
    count += rate.at(i)! < ratio * usual ? 1 : -1;
    if (count > most) {
      most = count;
      from = i;
    }
  }
  const offset = series.attemptOffsets[attempt]!;
  const first = offset + from + (isLogged ? 0 : 1);
  return { series, attempt, from: first, to: offset + value.length - 1, usual, last, isLogged };
}
