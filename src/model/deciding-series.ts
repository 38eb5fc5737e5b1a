/** The series that decided the verdict of a run. */
import type { ChartSeries, RunReport } from './report.ts';

/** Undefined where none decided. */
export const decidingSeries = ({
  series,
  verdict,
}: Pick<RunReport, 'series' | 'verdict'>): ChartSeries | undefined =>
  series.find(({ name }) => name === verdict.series);
