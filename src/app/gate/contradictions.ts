/** Whether what a report says of a series agrees with itself: a report is a file that anybody may have changed. */
import { counted } from '../../model/format-number.ts';
import type { ChartSeries } from '../../model/report.ts';

/** A mean is rounded at every addition; all other statistics are values of the series. */
const ROUNDING = 1e-9;

/** What in the statistics of a series and its own buckets contradicts the rest; null where all of it agrees. */
export function contradictionIn({ name, points, statistics, ...buckets }: ChartSeries): string | null {
  const { firstStep, lastStep, min, max, nonFinite } = buckets;
  const wrong = (what: string): string => `the report contradicts itself: of the series ${name} ${what}`;
  const lengths = [lastStep, min, max, nonFinite].map(({ length }) => length);
  if (lengths.some((length) => length !== firstStep.length))
    return wrong(`the buckets have different lengths (${[firstStep.length, ...lengths].join(', ')})`);
  if (points !== statistics.points)
    return wrong(`there are ${counted(points, 'point')} and ${statistics.points}`);
  if (firstStep.length > points || (firstStep.length === 0 && points > 0))
    return wrong(`there are ${counted(points, 'point')} in ${firstStep.length} buckets`);
  if (points === 0) return null;

  const odd = statistics.nan + statistics.posInf + statistics.negInf;
  const oddInBuckets = nonFinite.reduce((sum, count) => sum + count, 0);
  if (odd !== oddInBuckets)
    return wrong(
      `${counted(odd, 'value is', 'values are')} not finite by the statistics, ${oddInBuckets} by the buckets`,
    );
  const [low, high] = [extreme(min, 'min'), extreme(max, 'max')];
  if (statistics.min !== low) return wrong(`the least value is ${statistics.min}, and ${low} in the buckets`);
  if (statistics.max !== high)
    return wrong(`the largest value is ${statistics.max}, and ${high} in the buckets`);
  if ((low === null) !== (odd === points)) return wrong(`${odd} of ${points} values are not finite`);
  if (statistics.lastStep !== lastStep.at(-1))
    return wrong(`the last step is ${statistics.lastStep}, and ${lastStep.at(-1)} in the buckets`);
  for (const end of ['first', 'last'] as const)
    if (Number.isFinite(statistics[end]) ? !within(statistics[end], low, high, 0) : odd === 0)
      return wrong(`the ${end} value is ${statistics[end]}, and the values go from ${low} to ${high}`);
  // In their order: each lies between the one before it and the largest.
  let least = low;
  for (const rank of ['p50', 'p90', 'p95', 'p99'] as const) {
    const value = statistics[rank];
    if ((value === null) !== (low === null) || !within(value, least, high, 0))
      return wrong(`${rank} is ${value}, and must lie between ${least} and ${high}`);
    least = value;
  }
  return within(statistics.mean, low, high, ROUNDING)
    ? null
    : wrong(`the mean is ${statistics.mean}, and the values go from ${low} to ${high}`);
}

/** The extreme of buckets, of which those without a finite value have NaN; null where all of them do. */
function extreme(values: readonly number[], which: 'min' | 'max'): number | null {
  let found: number | null = null;
  for (const value of values)
    if (Number.isFinite(value) && (found === null || (which === 'min' ? value < found : value > found)))
      found = value;
  return found;
}

/** Whether a value that is known lies between two others; nothing is to be said of one that is null. */
const within = (value: number | null, low: number | null, high: number | null, slack: number): boolean => {
  if (value === null || low === null || high === null) return true;
  const room = slack * Math.max(Math.abs(low), Math.abs(high));
  return value >= low - room && value <= high + room;
};
