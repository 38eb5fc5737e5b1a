/** The verdict of a run: which series is the loss, what its incidents say, and the same for each task. */

import { varies } from '../../model/column.ts';
import type { RunVerdict, TaskVerdict } from '../../model/report.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import {
  comesFirst,
  decisive,
  growsFromZero,
  incidentsOf,
  type JudgedSeries,
  judgeSeries,
} from './attempts.ts';
import { badness, type SeriesIncident, worstOf } from './judge.ts';
import { isPlayer, isPlayerLost, isRegularizer, isScored } from './little-level.ts';
import { decidingLoss, growsWithTheTotal, isSmallPart } from './loss-columns.ts';
import { withLostMetric } from './lost-metric.ts';
import { type NeverLearned, neverLearned } from './never-learned.ts';
import { growsWithRewards, rewardsOf } from './rewards.ts';
import { DEFAULT_VERDICT_SETTINGS, type VerdictSettings } from './settings.ts';
import { epochRemark, explain, isZero, noLoss, withoutIncident } from './verdict-words.ts';

/** Whether a loss may rise in a run that goes well: one that grows with rewards, a regularising term, or the loss of a player of a GAN. */
export const levelSaysLittle = (run: Run, series: TimeSeries): boolean =>
  growsWithRewards(run, series) || isRegularizer(series) || isPlayer(run, series);

/** What {@link judgeRun} found, with what the detectors need to say where and why. */
export interface JudgedRun {
  readonly verdict: RunVerdict;
  /** In the order of their onsets; tasks without one last. */
  readonly tasks: readonly TaskVerdict[];
  readonly settings: VerdictSettings;
  /** The series that represents the run's loss, where there is one. */
  readonly loss: JudgedSeries | null;
  /** The series that decided: the loss, or a task that is lost. */
  readonly decides: JudgedSeries | null;
  /** Other columns of the loss with an incident that counts. */
  readonly otherLosses: readonly JudgedSeries[];
  readonly taskLosses: readonly JudgedSeries[];
  /** Why the last attempt has learnt nothing; null for another verdict. */
  readonly neverLearned: NeverLearned | null;
}

/**
 * Judges a run by its loss, attempt by attempt, and each task by its own.
 *
 * The loss is the series of role `loss` (of several the longest), or another column of it that goes on or is worse: see
 * {@link decidingLoss}. Where there is none, the verdict is that of the worst task loss, else of the eval loss, else
 * inconclusive; `why` says which. Perplexities are judged by their logarithm, which is the loss. An AUC that fell to chance,
 * a reward that fell and stayed there, and a lost task (full divergence or non-finite) that is not a small part of the total,
 * make the run lost. That holds even if the total hides it.
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
  // A loss that never moves (one of a class that the data have not) replaces none that does.
  const moves = taskLosses.filter(({ series: { value } }) => varies(value));
  // Nor does one of a few points leave open what the others answer.
  const many = [...moves, ...taskLosses].filter(({ series }) => series.step.length >= settings.minimumPoints);
  const worstTask = worstSeriesOf(many.length > 0 ? many : [...moves, ...taskLosses]);
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

/** A verdict by incidents, or that nothing was learnt: a lasting rise, or a loss that is not finite, says more. */
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

const isNonFinite = ({ class: found }: SeriesIncident): boolean => found === 'non-finite';

/**
 * For a loss whose level says little: only the incidents that count.
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
    'grows, as a loss does that predicts returns that grow, and no reward shows how the run goes',
  );
  if (own.class === 'healthy') return own;
  return rest.class === 'healthy' ? { ...rest, class: 'inconclusive' } : rest;
}

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
  const open = incidentsOf(judged).find(({ incident }) => incident.class === 'inconclusive');
  const stillOpen =
    open === undefined || judged.class === 'inconclusive'
      ? ''
      : ` A further incident begins at ${run.stepUnit} ${open.incident.onsetStep}, and the log ends before it could come back.`;
  const why =
    worst === undefined
      ? withoutIncident(judged, run, settings)
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
