/** Whether the verdict of a saved report is one that its own series allow: a report is a file that anybody may have changed. */
import { resolveThresholds } from '../../judge/findings/thresholds.ts';
import { judgeRun } from '../../judge/incidents/verdict.ts';
import type { ChartSeries, RunReport, RunVerdict } from '../../model/report.ts';
import type { Run, TimeSeries } from '../../model/run.ts';

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
export function verdictContradiction(report: RunReport): string | null {
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
  const { settings } = resolveThresholds(report.thresholds ?? {});
  const found = judgeRun(run, settings).verdict.class;
  return LOST.includes(found)
    ? `the report contradicts itself: its verdict is ${verdict.class}, and its series ${judged.name} is a ${found}`
    : null;
}
