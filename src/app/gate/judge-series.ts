/** Rules that are thresholds of series. Pure. */
import { formatNumber } from '../../model/format-number.ts';
import { isGlob, matchesGlob } from '../../model/glob.ts';
import { nearest } from '../../model/nearest.ts';
import type { ChartSeries, RunReport, SeriesStatistics } from '../../model/report.ts';
import { placeOf, ROLES, type Run, type TimeSeries } from '../../model/run.ts';
import { seriesStatistics } from '../../model/series-summary.ts';
import type { SourceRef } from '../../model/source-ref.ts';
import { endsMessage, stopsEarly } from './ends-early.ts';
import { asJudged, inconclusive, type Judgement, notInWindow, windowOf, worst } from './judgement.ts';
import type { RuleConfig } from './resolve-config.ts';
import { holds, statisticOf, type Threshold, touches } from './thresholds.ts';

/** Series by name, then by glob over names, then by role. */
function seriesFor(metric: string, report: RunReport): readonly ChartSeries[] {
  const all = [...report.series, ...curvatureSeries(report)];
  const named = all.filter(({ name }) => name === metric);
  if (named.length > 0) return named;
  return all.filter(isGlob(metric) ? ({ name }) => matchesGlob(name, metric) : ({ role }) => role === metric);
}

/** Numbers of the curvature entries under names that a threshold can use. */
function curvatureSeries(report: RunReport): readonly ChartSeries[] {
  const quantities = [
    { name: 'curvature.ratio', of: (k: number) => report.curvature[k]!.stability.ratio },
    { name: 'curvature.eigenvalue', of: (k: number) => report.curvature[k]!.eigenvalues[0]?.value ?? null },
  ];
  return quantities.flatMap(({ name, of }) => {
    const entries = report.curvature.map((entry, k) => ({ step: entry.step ?? k, value: of(k) }));
    const known = entries.filter((entry): entry is { step: number; value: number } => entry.value !== null);
    if (known.length === 0) return [];
    const step = Float64Array.from(known, (entry) => entry.step);
    const value = Float64Array.from(known, (entry) => entry.value);
    const steps = [...step];
    const values = [...value];
    return [
      {
        name,
        role: 'other' as const,
        points: known.length,
        firstStep: steps,
        lastStep: steps,
        min: values,
        max: values,
        nonFinite: values.map((x) => (Number.isFinite(x) ? 0 : 1)),
        endsEarly: false,
        statistics: seriesStatistics({ step, value }),
      },
    ];
  });
}

/** Series that a threshold reads and that have cells of text, which are no values: how many. */
export const refusedIn = ({ metric, statistic }: Threshold, report: RunReport): ReadonlyMap<string, number> =>
  new Map(
    seriesFor(metric, report).flatMap(({ name, statistics }) =>
      statistic !== 'refused' && (statistics.refused ?? 0) > 0 ? [[name, statistics.refused!] as const] : [],
    ),
  );

/** A threshold must hold on every series that it names. */
export function judgeThreshold(
  rule: RuleConfig & { threshold: Threshold },
  report: RunReport,
  run: Run | undefined,
): Judgement {
  const { metric } = rule.threshold;
  const matching = seriesFor(metric, report);
  const unmeasured = report.notRun.find(({ id }) => /^(curvature|checkpoints)\b/.test(id));
  if (metric.startsWith('curvature.') && unmeasured !== undefined)
    return inconclusive(
      `${rule.threshold.statistic}(${metric}) ${rule.threshold.operator} ${rule.threshold.limit}`,
      metric,
      `not all curvature was measured: ${unmeasured.id}: ${unmeasured.reason}`,
    );
  if (matching.length === 0) {
    const names = report.series.map(({ name }) => name);
    const near = nearest(metric, [...names, ...ROLES]);
    const what = isGlob(metric) ? `no series matches "${metric}"` : `no series "${metric}"`;
    return {
      missing: `${what}; nearest: ${near === '' ? 'none' : near}; found: ${names.join(', ') || 'none'}`,
    };
  }
  const judged = matching.map((series) => judgeSeries(rule, series, report, run));
  const absent = judged.find((judgement) => 'missing' in judgement);
  return absent ?? worst(judged.map((judgement) => asJudged(judgement, rule)));
}

function judgeSeries(
  rule: RuleConfig & { threshold: Threshold },
  series: ChartSeries,
  report: RunReport,
  run: Run | undefined,
): Judgement {
  const { statistic, operator, limit } = rule.threshold;
  const expected = `${statistic}(${series.name}) ${operator} ${limit}${windowOf(rule)}`;
  const logged = run?.series.find(({ name }) => name === series.name);
  const unknown = notInWindow(rule, [series], logged === undefined ? null : [logged]);
  if (unknown !== null && series.points > 0) return inconclusive(expected, series.name, unknown);
  const statistics = statisticsIn(rule, series, logged);
  const value = statisticOf(statistics, statistic);
  const countsCells = statistic === 'missing' || statistic === 'refused';
  if (countsCells && value === undefined)
    return inconclusive(
      expected,
      series.name,
      windowOf(rule) === ''
        ? `the report does not say how many cells of ${series.name} are ${statistic}: analyze the inputs again`
        : `where cells are ${statistic} is not kept, so they cannot be counted in a window of steps`,
    );
  if (value === undefined || (statistics.points === 0 && !countsCells)) {
    const message = `the series ${series.name} has no points${windowOf(rule)}`;
    return series.points === 0 ? { missing: message } : inconclusive(expected, series.name, message);
  }
  // A window that ends before the series does is complete, however the series ends.
  if (!(rule.to <= series.statistics.lastStep) && stopsEarly(report, series))
    return inconclusive(expected, series.name, endsMessage(series));
  const nonFinite = statistics.nan + statistics.posInf + statistics.negInf;
  const { step, location } = pointOf(rule, logged, run);
  // A failed warning lets the gate pass; a value that is not finite must not, so it counts as not judged there.
  const failed = Number.isFinite(value) || rule.severity === 'error' ? 'fail' : 'inconclusive';
  return {
    status: holds(value, operator, limit) ? 'pass' : failed,
    expected,
    found: value,
    series: series.name,
    step:
      statistics.points > 0 && (statistic === 'last' || statistic === 'count') ? statistics.lastStep : step,
    message:
      `${statistic}(${series.name}) is ${formatNumber(value, 'lookup')}` +
      (Number.isFinite(value) || nonFinite === 0
        ? ''
        : `: ${nonFinite} of ${statistics.points} values are not finite`),
    locations: location === undefined ? [] : [location],
  };
}

/** Statistics over the rule's window, in which all of a series lies whose points are not known. */
function statisticsIn(
  rule: RuleConfig,
  series: ChartSeries,
  logged: TimeSeries | undefined,
): SeriesStatistics {
  if (logged === undefined || windowOf(rule) === '') return series.statistics;
  const inside = logged.step.map((step) => (touches(step, step, rule.from, rule.to) ? 1 : 0));
  return seriesStatistics({
    step: logged.step.filter((_, i) => inside.at(i) === 1),
    value: logged.value.filter((_, i) => inside.at(i) === 1),
  });
}

/** Where the compared value was logged, for the statistics that are one point of the series. */
function pointOf(
  rule: RuleConfig & { threshold: Threshold },
  logged: TimeSeries | undefined,
  run: Run | undefined,
): { step: number | null; location?: SourceRef } {
  const { statistic } = rule.threshold;
  if (run === undefined || logged === undefined) return { step: null };
  let at = -1;
  for (let i = 0; i < logged.value.length; i++) {
    if (!touches(logged.step.at(i)!, logged.step.at(i)!, rule.from, rule.to)) continue;
    const value = logged.value.at(i)!;
    if (at === -1 && statistic !== 'nan') at = i;
    else if (statistic === 'last') at = i;
    else if (statistic === 'max' && value > logged.value.at(at)!) at = i;
    else if (statistic === 'min' && value < logged.value.at(at)!) at = i;
    // The first non-finite value is the reason.
    if (!Number.isFinite(value) && statistic !== 'first' && statistic !== 'last' && statistic !== 'count') {
      at = i;
      break;
    }
  }
  const point = statistic === 'first' || statistic === 'last' || statistic === 'max' || statistic === 'min';
  if (at === -1 || !(point || !Number.isFinite(logged.value.at(at)!))) return { step: null };
  return { step: logged.step.at(at)!, location: placeOf(run, logged, at) };
}
