/** Series that stop while the others of their run go on. */
import type { ChartSeries, RunReport } from '../../model/report.ts';

export const stopsEarly = (report: RunReport, series: ChartSeries): boolean =>
  series.endsEarly ?? lagsBehind(report, series);

/** For a report that does not say it: more than two usual gaps behind the last step of the run. */
function lagsBehind(report: RunReport, series: ChartSeries): boolean {
  const last = series.statistics.lastStep;
  const first = series.firstStep[0] ?? Number.NaN;
  const gap = series.points > 1 ? Math.abs(last - first) / (series.points - 1) : Math.abs(last);
  return report.series.some((other) => other.points > 0 && !(other.statistics.lastStep - last <= 2 * gap));
}

export const endsMessage = (series: ChartSeries): string =>
  series.points === 0
    ? `the series ${series.name} has no value while others go on`
    : `the series ${series.name} ends at step ${series.statistics.lastStep} while others go on`;
