/** Whether what a report says of a series agrees with itself: a report is a file that anybody may have changed. */
import type { VerdictSettings } from '../../judge/incidents/settings.ts';
import { judgeRun } from '../../judge/incidents/verdict.ts';
import { counted } from '../../model/format-number.ts';
import type { ChartSeries, RunReport, RunVerdict } from '../../model/report.ts';
import type { Run, TimeSeries } from '../../model/run.ts';

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

/** As many buckets as points: the report holds the series itself. */
const isWhole = ({ points, firstStep }: ChartSeries): boolean => points > 0 && firstStep.length === points;

/** A series as far as the buckets of a report hold it: of each bucket the least value. */
function asLogged(series: ChartSeries): TimeSeries {
  const { name, role, firstStep, min, nonFinite } = series;
  return {
    name,
    role,
    step: Float64Array.from(firstStep),
    // A bucket with a value that is not finite is one only where nothing else is in it.
    value: Float64Array.from(min, (value, k) => (nonFinite[k]! > 0 && isWhole(series) ? Number.NaN : value)),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  };
}

/** Classes that buckets show as well as points do. */
const LOST: readonly RunVerdict['class'][] = ['full-divergence', 'non-finite'];

/**
 * What of a verdict its own series contradicts; null where they agree, or where the report holds too little. A verdict is
 * on a series that the report has, and a run that is said to be no worse than a drift did not end diverged.
 */
export function verdictContradiction(report: RunReport, settings: VerdictSettings): string | null {
  const { verdict, series, attempts } = report;
  if (verdict.class === 'inconclusive') return null;
  const judged = series.find(({ name }) => name === verdict.series);
  if (judged === undefined)
    return `the report contradicts itself: its verdict is ${verdict.class}, and it has no series ${verdict.series ?? 'that was judged'}`;
  if (attempts !== 1 || judged.role !== 'loss' || LOST.includes(verdict.class)) return null;
  // Of a column like that a report does not keep what the reader knew, such as the player of a GAN.
  if (series.some(({ name, role }) => role === 'other' && /loss/i.test(name))) return null;
  const [first] = judged.firstStep;
  const run: Run = {
    id: report.id,
    format: 'report',
    paths: report.paths,
    stepUnit: report.stepUnit,
    series: series.filter(({ points }) => points > 0).map(asLogged),
    attempts: [{ index: 0, firstStep: first ?? 0, lastStep: judged.lastStep.at(-1) ?? 0, reason: 'start' }],
    hyperparameters: new Map(),
    notes: [],
  };
  const found = judgeRun(run, settings).verdict.class;
  return LOST.includes(found)
    ? `the report contradicts itself: its verdict is ${verdict.class}, and its series ${judged.name} is a ${found}`
    : null;
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
