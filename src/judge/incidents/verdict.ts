/** The verdict of a run: which series is the loss, what its incidents say, and the same for each task. */

import { arrayOf } from '../../model/column.ts';
import { counted, formatNumber } from '../../model/format-number.ts';
import { NOT_BACK } from '../../model/incident-words.ts';
import { largest, medianOf } from '../../model/order-statistics.ts';
import type { Incident, RunVerdict, TaskVerdict } from '../../model/report.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import {
  comesFirst,
  decisive,
  growsFromZero,
  incidentsOf,
  type JudgedSeries,
  judgeSeries,
  risesInFew,
} from './attempts.ts';
import { badness, type SeriesIncident, worstOf } from './judge.ts';
import { isPlayer, isPlayerLost, isRegularizer, isScored } from './little-level.ts';
import { decidingLoss, growsWithTheTotal, isSmallPart } from './loss-columns.ts';
import { type NeverLearned, neverLearned } from './never-learned.ts';
import { fallOf, growsWithRewards, rewardsOf } from './rewards.ts';
import { DEFAULT_VERDICT_SETTINGS, type VerdictSettings } from './settings.ts';
import { aucsOf, collapseOf, columnStop } from './signs.ts';

/** Whether a loss may rise in a run that goes well: one that grows with rewards, holds back what is learnt, or is of a player of a GAN. */
export const levelSaysLittle = (run: Run, series: TimeSeries): boolean =>
  growsWithRewards(run, series) || isRegularizer(series) || isPlayer(run, series);

/** What {@link judgeRun} found, with what the detectors need to say where and why. */
export interface JudgedRun {
  readonly verdict: RunVerdict;
  /** In the order of their onsets; tasks without one last. */
  readonly tasks: readonly TaskVerdict[];
  readonly settings: VerdictSettings;
  /** The series that stands for the run's loss, where there is one. */
  readonly loss: JudgedSeries | null;
  /** The series that decided: the loss, or a task that is lost. */
  readonly decides: JudgedSeries | null;
  /** Other columns of the loss with an incident that counts. */
  readonly otherLosses: readonly JudgedSeries[];
  readonly taskLosses: readonly JudgedSeries[];
  /** Why the last attempt is said to have learnt nothing; null where the verdict is not that. */
  readonly neverLearned: NeverLearned | null;
}

/**
 * Judges a run by its loss, attempt by attempt, and each task by its own.
 *
 * The loss is the series of role `loss` (of several the longest), or another column of it that goes on or is worse: see {@link decidingLoss}. Where there is none, the verdict is that of the worst
 * task loss, else of the eval loss, else inconclusive; `why` says which. Perplexities are judged by their logarithm,
 * which is the loss. An AUC that fell to chance, a reward that fell and stayed there, and a task that is lost (full divergence or non-finite) and no small part of the total, make the run lost even if the
 * total hides it.
 *
 * Attempts: see {@link judgeSeries}.
 */
export function judgeRun(run: Run, settings: VerdictSettings = DEFAULT_VERDICT_SETTINGS): JudgedRun {
  const judge = (series: TimeSeries): JudgedSeries => {
    const saysLittle = levelSaysLittle(run, series);
    const own = judgeSeries(run, series, settings, !saysLittle);
    if (!saysLittle)
      return own.class === 'healthy' &&
        series.role === 'loss' &&
        isZero(series) &&
        rewardsOf(run).length === 0
        ? { ...own, class: 'inconclusive' }
        : own;
    if (growsWithRewards(run, series)) return grown(own, rewardsOf(run).length > 0);
    if (isRegularizer(series))
      return only(
        own,
        isNonFinite,
        'holds back what is learnt and grows with it, and all its values are finite',
      );
    return isScored(run)
      ? only(
          own,
          isNonFinite,
          'is the score of a player of a GAN, which has no level, and all its values are finite',
        )
      : only(
          own,
          isPlayerLost,
          'is the loss of a player of a GAN, and does not end above ten times its level',
        );
  };
  const losses = run.series
    .filter(({ role }) => role === 'loss')
    .sort((a, b) => b.step.length - a.step.length);
  const taskLosses = run.series.filter(({ role }) => role === 'task_loss').map(judge);
  const evals = run.series.filter(({ role }) => role === 'eval_loss');
  const chosen = losses[0] === undefined ? null : decidingLoss(run, judge(losses[0]), judge);
  const total = chosen?.judged ?? null;
  // A loss that never moves (one of a class that the data have not) stands for none that does.
  const moves = taskLosses.filter(({ series: { value } }) => value.some((one) => one !== value.at(0)));
  const worstTask = worstSeriesOf([...moves, ...taskLosses]);
  const longestEval = evals.sort((a, b) => b.step.length - a.step.length)[0];
  const loss = total ?? worstTask ?? (longestEval === undefined ? null : judge(longestEval));
  const lostTask = lostTaskOf(run, taskLosses, total);
  const decides =
    loss !== null && lostTask !== null && badness(lostTask.class) > badness(loss.class) ? lostTask : loss;
  const instead =
    total !== null || loss === null
      ? ''
      : loss === worstTask
        ? ' The log has no total loss; the worst task decides.'
        : ' The log has no training loss; the eval loss was judged instead.';
  const ended = (chosen?.ended ?? [])
    .map(({ name, lastStep }) => ` "${name}" is logged to ${run.stepUnit} ${lastStep} only.`)
    .join('');
  const beyond = decides === loss ? '' : ` The total loss "${loss?.series.name}" alone is ${loss?.class}.`;
  const judgedLosses = [...new Set([loss, decides, ...taskLosses])].filter((one) => one !== null);
  const byIncidents = verdictOf(decides, instead + ended + beyond, run, settings);
  return {
    ...withLearning(withLostMetric(byIncidents, run, settings, judgedLosses), run, loss, settings),
    tasks: taskLosses
      .map((judged) => ({
        name: judged.series.task ?? judged.series.name,
        class: judged.class,
        onsetStep: decisive(judged)?.incident.onsetStep ?? null,
      }))
      // Of those that began at one step the worse first: the beginning of a smaller rise is known less well.
      .sort(
        (a, b) =>
          (a.onsetStep ?? Infinity) - (b.onsetStep ?? Infinity) || badness(b.class) - badness(a.class),
      ),
    settings,
    loss,
    decides,
    otherLosses: chosen?.others ?? [],
    taskLosses,
  };
}

const worstSeriesOf = (all: readonly JudgedSeries[]): JudgedSeries | null =>
  all.reduce<JudgedSeries | null>(
    (worst, next) => (worst === null || comesFirst(next, worst) ? next : worst),
    null,
  );

/** The worst of the tasks that are lost by themselves, whatever the total says; null without one. */
function lostTaskOf(
  run: Run,
  taskLosses: readonly JudgedSeries[],
  total: JudgedSeries | null,
): JudgedSeries | null {
  // Of rewards, and not of the total, it depends whether a value loss may grow.
  const mayGrow = rewardsOf(run).length === 0;
  return worstSeriesOf(
    taskLosses.filter(
      (task) =>
        badness(task.class) >= badness('full-divergence') &&
        !isSmallPart(task, total) &&
        !(mayGrow && growsWithTheTotal(task, total)),
    ),
  );
}

/** A verdict by incidents, or that nothing was learnt: a rise that stays, or a loss that is no number, says more. */
function withLearning(
  verdict: RunVerdict,
  run: Run,
  loss: JudgedSeries | null,
  settings: VerdictSettings,
): Pick<JudgedRun, 'verdict' | 'neverLearned'> {
  if (loss === null || badness(verdict.class) >= badness('drift') || levelSaysLittle(run, loss.series))
    return { verdict, neverLearned: null };
  const found = neverLearned(run, loss, settings);
  if (found === null) return { verdict, neverLearned: null };
  const onsetStep = loss.series.step.at(loss.series.attemptOffsets.at(-1)! + found.from)!;
  return {
    neverLearned: found,
    verdict: {
      ...verdict,
      class: 'never-learned',
      series: loss.series.name,
      onsetStep,
      lastGoodStep: null,
      recoveredStep: null,
      why: `Nothing is learnt from ${run.stepUnit} ${onsetStep} on: ${found.why}. By its rises alone: ${verdict.why}`,
    },
  };
}

/** Names that are offered where none is that of a loss. */
const MOST_OFFERED = 5;

function noLoss({ series }: Run): string {
  if (series.length === 0) return 'This log has no series; nothing can be said about divergence.';
  const names = series.slice(0, MOST_OFFERED).map(({ name }) => name);
  const more = series.length > names.length ? ` and ${series.length - names.length} more` : '';
  const likely = series.filter(({ name, role }) => role === 'other' && isTotal(name)).map(({ name }) => name);
  const offer =
    likely.length === 1
      ? `If "${likely[0]}" is one, --map loss=${likely[0]} judges it.`
      : 'If one is, --map loss=NAME judges it.';
  return `No series of this log is taken for a loss: ${names.join(', ')}${more}. ${offer}`;
}

/** Whether a name says a total and not of what: a loss mostly, and as well the seconds or the memory of a step. */
const isTotal = (name: string): boolean =>
  /^[\w./-]+$/.test(name) && /^(?:(?:train|training) )?(?:total|overall)$/.test(wordsOf(name).join(' '));

const isNonFinite = ({ class: found }: SeriesIncident): boolean => found === 'non-finite';

/**
 * Of a loss whose level says little: the incidents that count, and none else.
 *
 * @param instead what is said of it where that leaves none
 */
function only(
  judged: JudgedSeries,
  counts: (incident: SeriesIncident) => boolean,
  instead: string,
): JudgedSeries {
  const attempts = judged.attempts.map((attempt) => {
    const incidents = attempt.incidents.filter(counts);
    return incidents.length === attempt.incidents.length
      ? attempt
      : { ...attempt, incidents, class: worstOf(incidents)?.class ?? ('healthy' as const) };
  });
  const worst = worstOf(attempts.flatMap((one) => one.incidents));
  const had = judged.attempts.some((one) => one.incidents.length > 0);
  const grows = judged.class === 'inconclusive' && growsFromZero(judged.series.value) > 0;
  if (worst !== undefined) return { ...judged, attempts, class: worst.class };
  return had || grows ? { ...judged, attempts, class: 'healthy', instead } : { ...judged, attempts };
}

/** A loss that grows with rewards: where none is logged, nothing shows whether it does. */
function grown(own: JudgedSeries, hasRewards: boolean): JudgedSeries {
  if (hasRewards)
    return only(own, isNonFinite, 'grows with the rewards that it predicts, and all its values are finite');
  const rest = only(
    own,
    isNonFinite,
    'grows, as a loss does that predicts returns that grow, and no reward tells how the run goes',
  );
  if (own.class === 'healthy') return own;
  return rest.class === 'healthy' ? { ...rest, class: 'inconclusive' } : rest;
}

/** What is said of a series without an incident where the judge of its values is not all. */
const insteadOf = ({ class: found, instead }: JudgedSeries): string | null =>
  found === 'healthy' || instead !== undefined ? (instead ?? 'stays in its band') : null;

/** Whether a loss is exactly zero at every point: printed with too few digits, or of nothing. */
const isZero = ({ value }: TimeSeries): boolean => value.every((one) => one === 0);

function verdictOf(
  judged: JudgedSeries | null,
  remark: string,
  run: Run,
  settings: VerdictSettings,
): RunVerdict {
  if (judged === null)
    return {
      class: 'inconclusive',
      series: null,
      onsetStep: null,
      lastGoodStep: null,
      recoveredStep: null,
      why: noLoss(run),
      incidents: [],
    };
  const worst = decisive(judged);
  const points = judged.attempts.reduce((sum, attempt) => sum + attempt.points, 0);
  const open = incidentsOf(judged).find(({ incident }) => incident.class === 'inconclusive');
  const stillOpen =
    open === undefined || judged.class === 'inconclusive'
      ? ''
      : ` A further incident begins at ${run.stepUnit} ${open.incident.onsetStep}, and the log ends before it could come back.`;
  const why =
    worst === undefined
      ? insteadOf(judged) !== null
        ? `"${judged.series.name}" ${insteadOf(judged)} over ${points} points.`
        : judged.shortEnd !== null && judged.attempts.some((one) => one.class === 'healthy')
          ? shortEndOf(judged, judged.shortEnd, run.stepUnit, settings)
          : columnStop(run, judged.series, settings) === null
            ? growsFromZero(judged.series.value) > 0
              ? `"${judged.series.name}" begins at zero and grows, as a loss does that measures the distance from where training began. A reward would tell how the run goes, and none is logged.`
              : isZero(judged.series) && points >= settings.minimumPoints
                ? `"${judged.series.name}" is 0 at every point, which tells nothing of how the run goes.`
                : judged.attempts.some((_, k) => risesInFew(attemptOf(judged.series, k).value, settings))
                  ? `"${judged.series.name}" ends far above where it begins, and ${points} points are too few to tell whether it comes down again.`
                  : `"${judged.series.name}" has ${counted(points, 'point')}, too few to judge.`
            : `"${judged.series.name}" stops while other columns go on, so its end is unknown.`
      : explain(judged.series.name, worst.found, worst.incident, run.stepUnit);
  return {
    class: judged.class,
    series: judged.series.name,
    onsetStep: worst?.incident.onsetStep ?? null,
    lastGoodStep: worst?.incident.lastGoodStep ?? null,
    recoveredStep: worst?.incident.recoveredStep ?? null,
    why: why + stillOpen + epochRemark(run, worst?.incident.onsetStep) + remark,
    incidents: incidentsOf(judged).map(({ incident }) => incident),
  };
}

/** The epoch of a step, where the log tells. */
function epochRemark({ epochs, stepUnit }: Run, step: number | undefined): string {
  if (epochs === undefined || step === undefined) return '';
  const epoch = Math.floor((step - epochs.first) / epochs.batches);
  return ` That ${stepUnit} is batch ${step - epoch * epochs.batches} of epoch ${epoch}.`;
}

function shortEndOf(
  { series, attempts }: JudgedSeries,
  attempt: number,
  unit: string,
  { minimumPoints }: VerdictSettings,
): string {
  const { points } = attempts[attempt]!;
  const { value } = attemptOf(series, attempt);
  const end = medianOf(value.subarray(-Math.min(5, value.length)).filter(Number.isFinite));
  const level =
    points < minimumPoints
      ? ''
      : `; it is at ${formatNumber(end)}, where the one before was far lower after as many points`;
  const first = series.step.at(series.attemptOffsets[attempt]!);
  return `The last attempt of "${series.name}" begins at ${unit} ${first} and has ${counted(points, 'point')}, too few to judge${level}. What came before it is healthy.`;
}

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

/** The verdict of a log without a loss, by the longest of its rewards: none of them fell for good. */
function byRewards(noLoss: RunVerdict, run: Run, { minimumPoints }: VerdictSettings): RunVerdict {
  const [longest] = [...rewardsOf(run)].sort((a, b) => b.value.length - a.value.length);
  if (longest === undefined) return noLoss;
  const last = arrayOf(attemptOf(longest, longest.attemptOffsets.length - 1).value);
  const finite = last.filter(Number.isFinite).length;
  const told = `No loss is logged. "${longest.name}"`;
  if (!Number.isFinite(last.at(-1)!)) return { ...noLoss, why: `${told} ends in NaN or infinity.` };
  return finite < minimumPoints
    ? { ...noLoss, why: `${told} has ${counted(finite, 'point')}, too few to judge.` }
    : {
        ...noLoss,
        class: 'healthy',
        series: longest.name,
        why: `${told} does not fall for good over ${finite} points.`,
      };
}

/**
 * An AUC that fell to chance, or a reward that fell far below its level, and stayed there makes a run lost whose losses do not
 * show it, or show it later. An incident of a loss that it fell in is where it began.
 *
 * @param judged the losses of the run, which may have led there
 */
function withLostMetric(
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

/** One sentence about an incident. */
export function explain(name: string, found: SeriesIncident, incident: Incident, unit: string): string {
  const ratio = `${formatNumber(incident.peak)} at ${unit} ${incident.peakStep}`;
  const from = Number.isNaN(found.before) ? '' : ` from a median of ${formatNumber(found.before)}`;
  const start = `"${name}" leaves its usual range at ${unit} ${incident.onsetStep}${from}`;
  if (found.backIn !== undefined)
    return `${start}, peaks at ${ratio} and stands at ${formatNumber(found.after)} where it ends; "${found.backIn.series}" goes on and is back at ${unit} ${found.backIn.step}.`;
  if (found.form === 'climb')
    return `"${name}" climbs from ${unit} ${incident.onsetStep} on, from its best level of ${formatNumber(found.before)}, and ends at ${formatNumber(found.after)}.`;
  if (incident.class === 'non-finite' && Number.isFinite(incident.peak))
    return `${start} and is exactly ${incident.peak} from ${unit} ${incident.peakStep} to the end, which stands for NaN: a dead run.`;
  if (incident.class === 'non-finite')
    return `${start} and is not finite from ${unit} ${incident.peakStep} to the end.`;
  if (incident.recoveredStep !== null)
    return `${start}, peaks at ${ratio} and is back ${incident.class === 'full-divergence' ? 'too late, ' : ''}at ${unit} ${incident.recoveredStep}.`;
  if (incident.class === 'inconclusive')
    return `${start}, peaks at ${ratio} and stands at ${formatNumber(found.after)} where the log ends, before it could come back.`;
  return `${start}, peaks at ${ratio} and ${NOT_BACK}: its last level is ${formatNumber(found.after)}.`;
}
