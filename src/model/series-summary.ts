/** What a report keeps of a series: exact statistics over all points, and buckets that keep every extreme. */
import { blocksOf, readerOf } from './column.ts';
import { countNonFiniteIn, percentilesOf } from './order-statistics.ts';
import type { ChartSeries, SeriesStatistics } from './report.ts';
import type { TimeSeries } from './run.ts';

type Counted = Pick<TimeSeries, 'step' | 'value'> & Partial<Pick<TimeSeries, 'missing' | 'refused'>>;

/** Exact statistics of a series. Percentiles are nearest-rank over the finite values; nothing finite gives null. */
export function seriesStatistics(series: Counted): SeriesStatistics {
  const found = unorderedStatistics(series);
  const { points, nan, posInf, negInf, min, max } = found;
  const count = points - nan - posInf - negInf;
  const held = { count, least: min ?? Number.NaN, most: max ?? Number.NaN };
  const [p50, p90, p95, p99] = percentilesOf(series.value, [50, 90, 95, 99], undefined, held);
  return {
    ...found,
    p50: p50 ?? null,
    p90: p90 ?? null,
    p95: p95 ?? null,
    p99: p99 ?? null,
  };
}

/** Those of them that take one pass. */
export function unorderedStatistics({
  value,
  step,
  missing,
  refused,
}: Counted): Omit<SeriesStatistics, 'p50' | 'p90' | 'p95' | 'p99'> {
  let count = 0;
  let sum = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const block of blocksOf(value))
    for (let i = 0; i < block.length; i++) {
      const x = block[i]!;
      if (!Number.isFinite(x)) continue;
      count++;
      sum += x;
      if (x < min) min = x;
      if (x > max) max = x;
    }
  return {
    points: value.length,
    ...(count === value.length ? { nan: 0, posInf: 0, negInf: 0 } : countNonFiniteIn(value)),
    ...(missing === undefined ? {} : { missing }),
    ...(refused === undefined ? {} : { refused }),
    first: value.at(0) ?? Number.NaN,
    last: value.at(value.length - 1) ?? Number.NaN,
    lastStep: step.at(step.length - 1) ?? Number.NaN,
    min: count === 0 ? null : min,
    max: count === 0 ? null : max,
    // The sum of finite values may itself overflow; a mean of ±Infinity would be a lie.
    mean: count === 0 || !Number.isFinite(sum) ? null : sum / count,
  };
}

/**
 * Splits a series into at most `maxBuckets` (and one more per restart) runs of neighbouring points in file order. It keeps
 * the minimum and the maximum of each, so no spike is averaged away, and the number of its non-finite points. A bucket
 * without finite values has NaN for both.
 */
export function summariseSeries(series: TimeSeries, maxBuckets: number): ChartSeries {
  const { step, value } = series;
  const size = Math.max(1, Math.ceil(value.length / maxBuckets));
  const firstStep: number[] = [];
  const lastStep: number[] = [];
  const minimum: number[] = [];
  const maximum: number[] = [];
  const nonFinite: number[] = [];
  const restarts = series.attemptOffsets.filter((offset) => offset > 0 && offset < value.length);
  let next = 0;
  const at = readerOf(value);
  for (let from = 0; from < value.length; ) {
    while (next < restarts.length && restarts[next]! <= from) next++;
    const to = Math.min(from + size, restarts[next] ?? value.length, value.length);
    let min = Number.NaN;
    let max = Number.NaN;
    let odd = 0;
    for (let k = from; k < to; k++) {
      const x = at(k);
      if (!Number.isFinite(x)) odd++;
      else {
        // Written so that the NaN they start with loses.
        if (!(min <= x)) min = x;
        if (!(max >= x)) max = x;
      }
    }
    firstStep.push(step.at(from)!);
    lastStep.push(step.at(to - 1)!);
    minimum.push(min);
    maximum.push(max);
    nonFinite.push(odd);
    from = to;
  }
  return {
    name: series.name,
    role: series.role,
    ...(series.task === undefined ? {} : { task: series.task }),
    points: value.length,
    firstStep,
    lastStep,
    min: minimum,
    max: maximum,
    nonFinite,
    statistics: seriesStatistics(series),
  };
}
