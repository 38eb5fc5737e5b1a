/** How a series of several attempts is judged: each by itself; a restart is no spike. */
import type { Incident, VerdictClass } from '../model/report.ts';
import { attemptOf, type Run, type TimeSeries } from '../model/run.ts';
import { type AttemptJudgement, badness, judgePoints, type SeriesIncident, worstOf } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { columnStop, deadStretch } from './signs.ts';

/** A series with the judgement of each of its attempts. */
export interface JudgedSeries {
  readonly series: TimeSeries;
  readonly class: VerdictClass;
  readonly attempts: readonly AttemptJudgement[];
}

/** Judges every attempt of a series. Zeros that stand for NaN (see dead-run) are judged as NaN. */
export function judgeSeries(run: Run, series: TimeSeries, settings: VerdictSettings): JudgedSeries {
  const attempts = series.attemptOffsets.map((offset, attempt) => {
    const { value } = attemptOf(series, attempt);
    const dead = deadStretch(run, series, attempt, settings);
    const points = dead === null ? value : value.slice().fill(Number.NaN, dead.from - offset);
    return judgePoints(isPerplexity(series.name) ? points.map(Math.log) : points, settings);
  });
  const judgeable = attempts.filter(
    ({ incidents, class: verdict }) => incidents.length > 0 || verdict === 'healthy',
  );
  // Of a loss that stops beside other columns the end is unknown.
  const unknown = judgeable.length === 0 || columnStop(run, series, settings) !== null;
  const classes = [...judgeable, { class: unknown ? ('inconclusive' as const) : ('healthy' as const) }];
  return { series, class: worstOf(classes)!.class, attempts };
}

const isPerplexity = (name: string): boolean => /(^|[^a-z])(ppl|perplexity)($|[^a-z])/i.test(name);

/** An incident in the words of the report. */
function describe(series: TimeSeries, attempt: number, incident: SeriesIncident): Incident {
  const offset = series.attemptOffsets[attempt] ?? 0;
  const step = (index: number | null): number | null =>
    index === null ? null : series.step[offset + index]!;
  return {
    class: incident.class,
    series: series.name,
    attempt,
    onsetStep: series.step[offset + incident.onset]!,
    lastGoodStep: step(incident.lastGood),
    recoveredStep: step(incident.recovered),
    peakStep: series.step[offset + incident.peak]!,
    peak: series.value[offset + incident.peak]!,
  };
}

/** Every incident of a series in file order, beside what was found about it. */
export const incidentsOf = (judged: JudgedSeries) =>
  judged.attempts.flatMap(({ incidents }, attempt) =>
    incidents.map((found) => ({ found, attempt, incident: describe(judged.series, attempt, found) })),
  );

/** Of the worst incidents the largest: it decides class and onset. */
export const decisive = (judged: JudgedSeries) =>
  worstOf(incidentsOf(judged).map((one) => ({ ...one, class: one.incident.class, size: one.found.size })));

/**
 * Whether a is worse than b. Of two that are lost the one that was so first leads: it may have pulled the other along. Of two that came
 * back the one with the larger incident does.
 */
export function comesFirst(a: JudgedSeries, b: JudgedSeries): boolean {
  if (a.class !== b.class) return badness(a.class) > badness(b.class);
  if (badness(a.class) < badness('full-divergence')) {
    const size = (judged: JudgedSeries): number => decisive(judged)?.found.size ?? 0;
    if (size(a) !== size(b)) return size(a) > size(b);
  }
  const onset = (judged: JudgedSeries): number => decisive(judged)?.incident.onsetStep ?? Infinity;
  return onset(a) < onset(b);
}
