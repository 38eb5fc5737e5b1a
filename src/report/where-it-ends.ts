/** Where a run ends, against the level before its incident: what the page, its chart and its orders go by. */

import { decidingSeries } from '../model/deciding-series.ts';
import type { Finding } from '../model/finding.ts';
import { type ChartSeries, type Incident, isBack, type RunReport } from '../model/report.ts';

/** How much above the level before a run ends that is not well, and above a run under a remedy one for which that is offered. */
export const WORSE = 1.1;

/** Share of a run at its end, and buckets of its chart at least, that tell where it ends. */
const END_SHARE = 0.1;
const END_LEAST = 5;

/** The incident that decided, as the verdict names it. */
export const leading = ({ verdict }: RunReport): Incident | undefined =>
  verdict.incidents.find(
    (one) =>
      one.onsetStep === verdict.onsetStep && one.series === verdict.series && one.class === verdict.class,
  ) ?? verdict.incidents.find((one) => one.onsetStep === verdict.onsetStep);

/** Whether a finding is of that incident, which the cause is of. */
export const isLeading = ({ id, steps }: Pick<Finding, 'id' | 'steps'>, { verdict }: RunReport): boolean =>
  id === verdict.class && steps !== null && steps[0] === verdict.onsetStep;

/** Of the deciding loss, the buckets of its chart at the end of the run. */
export const endOf = (series: ChartSeries): number =>
  -Math.max(END_LEAST, Math.ceil(END_SHARE * series.min.length));

/** The least loss of the last tenth of a run, where that never came down to the level before its incident; else null. */
export function higherAtEnd(run: RunReport): number | null {
  const { before, recoveredIn } = leading(run) ?? {};
  const series = decidingSeries(run);
  // A column that ended before the run was back does not tell where the run ends.
  if (recoveredIn !== undefined || before == null || !(before > 0) || series === undefined) return null;
  const end = series.min.slice(endOf(series));
  const lowest = Math.min(...end);
  return end.length >= END_LEAST && lowest > WORSE * before ? lowest : null;
}

/** Whether a run rose, and nothing is to be done now: it came back, or ends as low as before though it was long above it. */
export const isOver = (run: RunReport): boolean =>
  run.verdict.class === 'micro-divergence' && (isBack(run.verdict) || higherAtEnd(run) === null);
