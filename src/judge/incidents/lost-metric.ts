/** Metrics that had been learnt and are lost, an AUC or a reward: they make a run lost whose losses do not show it. */

import { arrayOf, varies } from '../../model/column.ts';
import { counted, formatNumber } from '../../model/format-number.ts';
import { largest, medianOf } from '../../model/order-statistics.ts';
import type { Incident, RunVerdict } from '../../model/report.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { incidentsOf, type JudgedSeries } from './attempts.ts';
import { badness } from './judge.ts';
import { fallOf, rewardsOf } from './rewards.ts';
import type { VerdictSettings } from './settings.ts';
import { aucsOf, collapseOf } from './signs.ts';

/** A metric that had been learnt and is lost to the end of an attempt. */
interface LostMetric {
  readonly series: TimeSeries;
  readonly attempt: number;
  /** Indices into the whole series. */
  readonly from: number;
  readonly lastGood: number | null;
  readonly peak: number;
  /** Its level before, and that of its last points; null where it is not known. */
  readonly before: number;
  readonly after: number | null;
  readonly why: string;
  /** Whether it leads where it fell before a loss was lost: of a policy the losses lie about zero by construction. */
  readonly leads: boolean;
}

function lostMetrics(run: Run, settings: VerdictSettings): LostMetric[] {
  const found = <Fall>(
    all: readonly TimeSeries[],
    look: (series: TimeSeries, attempt: number) => Fall | null,
    told: (series: TimeSeries, fall: Fall) => Omit<LostMetric, 'series' | 'attempt'>,
  ): LostMetric[] =>
    all.flatMap((series) =>
      series.attemptOffsets.flatMap((_, attempt) => {
        const fall = look(series, attempt);
        return fall === null ? [] : [{ series, attempt, ...told(series, fall) }];
      }),
    );
  const at = ({ step }: TimeSeries, index: number): string => `${run.stepUnit} ${step.at(index)}`;
  return [
    ...found(
      aucsOf(run),
      (series, attempt) => collapseOf(series, attempt, settings),
      (series, { from, best }) => ({
        from,
        lastGood: from - 1,
        peak: from,
        before: best,
        after: null,
        leads: false,
        why: `"${series.name}" is at chance from ${at(series, from)} to the end, after ${formatNumber(best)}.`,
      }),
    ),
    ...found(
      rewardsOf(run),
      (series, attempt) => fallOf(series, attempt, settings),
      (series, { from, lastGood, lowest, before, after }) => ({
        from,
        lastGood,
        peak: lowest,
        before,
        after,
        leads: true,
        why: `"${series.name}" falls from ${formatNumber(before)} at ${at(series, from)} and stays at ${formatNumber(after)} to the end.`,
      }),
    ),
  ];
}

/** Whether a metric, between an incident of a loss and its own fall, is as a rule higher than it had ever been. */
function wentOnToGrow(series: TimeSeries, attempt: number, onsetStep: number, fall: number): boolean {
  const begin = series.attemptOffsets[attempt]!;
  let onset = begin;
  while (onset < fall && series.step.at(onset)! < onsetStep) onset++;
  const before = arrayOf(series.value.subarray(begin, onset)).filter(Number.isFinite);
  const since = arrayOf(series.value.subarray(onset, fall)).filter(Number.isFinite);
  return before.length > 0 && since.length > 0 && medianOf(since) > largest(before);
}

const moves = ({ value }: TimeSeries): boolean => value.length < 2 || varies(value);

/** The verdict of a log without a loss, by the longest of its rewards: each of them came back. */
function byRewards(noLoss: RunVerdict, run: Run, { minimumPoints }: VerdictSettings): RunVerdict {
  const rewards = [...rewardsOf(run)].sort((a, b) => b.value.length - a.value.length);
  // Players that train against each other share a reward of 0: each one's own says more.
  const longest = rewards.find(moves) ?? rewards[0];
  if (longest === undefined) return noLoss;
  const last = arrayOf(attemptOf(longest, longest.attemptOffsets.length - 1).value);
  const finite = last.filter(Number.isFinite).length;
  const told = `No loss is logged. "${longest.name}"`;
  if (!Number.isFinite(last.at(-1)!)) return { ...noLoss, why: `${told} ends in NaN or infinity.` };
  if (!moves(longest))
    return {
      ...noLoss,
      why: `${told} is ${formatNumber(last[0]!)} at every point: it does not show how the run goes.`,
    };
  return finite < minimumPoints
    ? { ...noLoss, why: `${told} has ${counted(finite, 'point')}, too few to judge.` }
    : {
        ...noLoss,
        class: 'healthy',
        series: longest.name,
        why: `${told} does not fall permanently over ${finite} points.`,
      };
}

/**
 * An AUC that fell to chance, or a reward that fell far below its level, and stayed there makes a run lost whose losses do not
 * show it, or show it later. An incident of a loss that it fell in is where it began.
 *
 * @param judged the losses of the run, which may have led there
 */
export function withLostMetric(
  verdict: RunVerdict,
  run: Run,
  settings: VerdictSettings,
  judged: readonly JudgedSeries[],
): RunVerdict {
  if (verdict.class === 'non-finite') return verdict;
  const incidents = judged.flatMap(incidentsOf).map(({ incident }) => incident);
  const [lost] = lostMetrics(run, settings)
    .map((metric) => {
      const { series, attempt, from, lastGood } = metric;
      const fell = series.step.at(from)!;
      const led = incidents
        .filter(
          (one) =>
            one.attempt === attempt &&
            one.onsetStep <= fell &&
            // A policy that goes on to earn more was not harmed by a rise of its loss that came back.
            (one.recoveredStep === null ||
              (one.recoveredStep > fell && !wentOnToGrow(series, attempt, one.onsetStep, from))),
        )
        .sort((a, b) => a.onsetStep - b.onsetStep)[0];
      const onsetStep = led?.onsetStep ?? fell;
      // Its own last good point, but none after the onset.
      const begin = series.attemptOffsets[attempt]!;
      let good = lastGood ?? begin - 1;
      while (good >= begin && series.step.at(good)! >= onsetStep) good--;
      return { metric, onsetStep, lastGoodStep: good < begin ? null : series.step.at(good)! };
    })
    .sort((a, b) => a.onsetStep - b.onsetStep);
  if (lost === undefined) return verdict.series === null ? byRewards(verdict, run, settings) : verdict;
  const { metric, onsetStep, lastGoodStep } = lost;
  const already = badness(verdict.class) >= badness('full-divergence');
  const { series, attempt, peak, before, after, why, leads } = metric;
  if (already && !(leads && onsetStep < (verdict.onsetStep ?? Number.POSITIVE_INFINITY))) return verdict;
  const incident: Incident = {
    class: 'full-divergence',
    series: series.name,
    attempt,
    onsetStep,
    lastGoodStep,
    recoveredStep: null,
    peakStep: series.step.at(peak)!,
    peak: series.value.at(peak)!,
    before,
    after,
  };
  return {
    class: 'full-divergence',
    series: series.name,
    onsetStep,
    lastGoodStep,
    recoveredStep: null,
    why: `${why} By the loss alone: ${verdict.why}`,
    incidents: [...verdict.incidents, incident],
  };
}
