/** Incidents of one attempt of one series: where its level leaves the best before, and what becomes of it. */
import { VERDICT_CLASSES, type VerdictClass } from '../../model/report.ts';
import type { PlannedRise } from './schedule-restart.ts';

/** Indices count from the attempt's first point. */
export interface SeriesIncident {
  readonly class: VerdictClass;
  /** `jump`: rose at once; `climb`: little by little. */
  readonly form: 'jump' | 'climb';
  /** First point above the best level on the way to what is clear. */
  readonly onset: number;
  /** Last point before the onset; null where there is none. */
  readonly lastGood: number | null;
  /** First point of the level that is back. */
  readonly recovered: number | null;
  /** Where the series ends before the level is back, and another column of the same loss, which goes on, shows it back: the step of its first such point. */
  readonly backIn?: { readonly series: string; readonly step: number };
  /** Position after its last point: its recovery, a new level that is the normal from there on, or the end of the series. */
  readonly end: number;
  /** The worst point: the first non-finite one, else the largest. */
  readonly peak: number;
  /** Best level before the incident, in units of the series; NaN where too few points came before. */
  readonly before: number;
  /** The highest level that is back, in units of the series; NaN where too few points came before. */
  readonly high: number;
  /** Median of the last points of the incident, in units of the series (before the recovery if it recovered). */
  readonly after: number;
  /** Peak over the best level before; Infinity where the peak is not finite. */
  readonly size: number;
  /** Whether `size` is a ratio of two values of the series. */
  readonly byRatio: boolean;
}

/** A point that is more than noise and no incident. */
export interface Spike {
  readonly index: number;
  readonly scales: number;
  /** Best level before, in units of the series. */
  readonly before: number;
}

export interface AttemptJudgement {
  readonly points: number;
  readonly nonFinite: number;
  readonly class: VerdictClass;
  readonly incidents: readonly SeriesIncident[];
  readonly spikes: readonly Spike[];
  /** Rises that are left out of the incidents, because this series comes back from rises like them again and again. */
  readonly usual?: number;
  /** Rises that are left out of the incidents, because the schedule restarted and the loss is what it was at that rate. */
  readonly planned?: readonly PlannedRise[];
  /** What is said of rises that are left out of the incidents, because evaluations show that the rows became harder. */
  readonly rows?: string;
  /** Level after the last point, and the highest that is usual there, in units of the series; NaN where too few points make one. */
  readonly band: { readonly median: number; readonly high: number };
}

/** Position in the order from harmless to worst. */
export const badness = (verdict: VerdictClass): number => VERDICT_CLASSES.indexOf(verdict);

/** An incident that is open where the log ends has no class yet: its size decides between it and one that came back. */
const rank = (incident: VerdictClass): number =>
  badness(incident === 'inconclusive' ? 'micro-divergence' : incident);

/** Of the worst class the largest, of those the first: it decides class and onset. */
export const worstOf = <T extends Pick<SeriesIncident, 'class' | 'size'>>(
  incidents: readonly T[],
): T | undefined =>
  incidents.reduce<T | undefined>((worst, next) => {
    if (worst === undefined) return next;
    const worse = rank(next.class) - rank(worst.class);
    return worse > 0 || (worse === 0 && next.size > worst.size) ? next : worst;
  }, undefined);
