/** Which of several columns that are the loss decides: the one that goes on, the worst of those that reach the end. */
import { arrayOf } from '../../model/column.ts';
import { medianOf, smallest } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { classOfAttempts, comesFirst, type JudgedSeries } from './attempts.ts';
import { badness, type SeriesIncident, worstOf } from './judge.ts';
import { COMPARED } from './numbers.ts';
import { lastSteps, reaches, sameLoss } from './signs.ts';

/** What {@link decidingLoss} found. */
export interface DecidingLoss {
  readonly judged: JudgedSeries;
  /** Columns of the loss that end before it by design, each with its last step. */
  readonly ended: readonly { readonly name: string; readonly lastStep: number }[];
  /** Other columns that were judged and have an incident that counts. */
  readonly others: readonly JudgedSeries[];
}

/**
 * The column of the loss that decides.
 *
 * All columns of one loss are judged. One that ends before others by design (`loss` for 100 steps, `train/loss` to the end)
 * decides only if it is worse than what goes on. A part of the loss (`aux_loss` next to `loss`) is judged where the loss
 * itself does not reach the end.
 *
 * @param byName the loss by name
 */
export function decidingLoss(
  run: Run,
  byName: JudgedSeries,
  judge: (series: TimeSeries) => JudgedSeries,
): DecidingLoss {
  const parts = run.series.filter(({ lossLike }) => lossLike === 'part');
  const same = sameLoss(run, byName.series);
  const end = (series: TimeSeries): number => lastSteps(run, series).at(-1) ?? Number.NEGATIVE_INFINITY;
  const until = Math.max(...[byName.series, ...same, ...parts].map(end));
  const isLong = (series: TimeSeries): boolean => reaches(run, series, until);
  const goesOn = [byName.series, ...same].some(isLong);
  const others = [...same, ...(goesOn ? [] : parts)].filter(isLong).map(judge);
  if (others.length === 0) return { judged: byName, ended: [], others: [] };
  const totalEnds = !isLong(byName.series);
  const total = totalEnds
    ? backIn(
        byName,
        others.map(({ series }) => series).filter((series) => same.includes(series)),
        run,
      )
    : byName;
  const long = others.filter(({ class: found, attempts }) =>
    totalEnds
      ? // A column with too few points says nothing if another has enough.
        attempts.some(({ incidents }) => incidents.length > 0) ||
        found !== 'inconclusive' ||
        others.every((one) => one.class === 'inconclusive')
      : // If a loss reaches the end, a mean of it or an evaluation adds no jump that came back.
        badness(found) >= badness('drift'),
  );
  const worst = long.reduce<JudgedSeries | undefined>(
    (a, b) => (a === undefined || comesFirst(b, a) ? b : a),
    undefined,
  );
  const judged = worst === undefined ? total : worseOf(total, worst, totalEnds);
  const ended =
    totalEnds && judged !== total ? [{ name: total.series.name, lastStep: end(total.series) }] : [];
  return { judged, ended, others: long.filter((one) => one !== judged) };
}

/** Points of a column that goes on which show that an incident is over, and of its level before: a single one may be low by chance. */
const ENOUGH = 2;

/**
 * A loss that ends before its incidents are over, where another column of the same loss goes on and shows them over: from
 * some point to its end that column is no higher than the loss was before the incident, nor than the column itself was.
 * Values that are not finite are always reported.
 */
function backIn(judged: JudgedSeries, goOn: readonly TimeSeries[], run: Run): JudgedSeries {
  const last = run.attempts.length - 1;
  const { step } = attemptOf(judged.series, last);
  const end = step.at(-1)!;
  const over = (incident: SeriesIncident): SeriesIncident => {
    if (incident.recovered !== null || incident.end < step.length || incident.class === 'non-finite')
      return incident;
    const onset = step.at(incident.onset)!;
    for (const series of goOn) {
      const own = attemptOf(series, last);
      const before = own.value.filter((_, i) => own.step.at(i)! < onset).subarray(-ENOUGH);
      const usual = Math.min(incident.before, ...(before.length > 0 ? [medianOf(before)] : []));
      const level = COMPARED.usualRatio * usual;
      let from = own.step.length;
      while (from > 0 && own.step.at(from - 1)! > end && own.value.at(from - 1)! <= level) from--;
      if (own.step.length - from >= ENOUGH)
        return {
          ...incident,
          class: 'micro-divergence',
          backIn: { series: series.name, step: own.step.at(from)! },
        };
    }
    return incident;
  };
  const attempts = judged.attempts.map((attempt, k) => {
    if (k < last) return attempt;
    const incidents = attempt.incidents.map(over);
    return { ...attempt, incidents, class: worstOf(incidents)?.class ?? attempt.class };
  });
  if (attempts.every(({ incidents }) => incidents.every((one) => one.backIn === undefined))) return judged;
  return { ...judged, attempts, class: classOfAttempts(attempts, 'healthy') };
}

/** The worse of the loss by name and of the column that goes on. If one ends earlier, the longer one judges its open incident. */
function worseOf(total: JudgedSeries, worst: JudgedSeries, totalEnds: boolean): JudgedSeries {
  if (totalEnds && total.class === 'inconclusive') return worst;
  if (comesFirst(worst, total)) return worst;
  return comesFirst(total, worst) || !totalEnds ? total : worst;
}

/** Points of a task that are its first, and the share of the lowest of them below which it had learnt something. */
const [FIRST, LEARNT] = [10, 0.9];

/**
 * Whether a task was never below its first points before it rose, in a run whose total is well: a term that grows with what is
 * learnt, such as the divergence of a code from its prior, under whatever name. The total decides.
 */
export function growsWithTheTotal(task: JudgedSeries, total: JudgedSeries | null): boolean {
  if (total === null || total === task || total.class !== 'healthy') return false;
  const first = smallest(arrayOf(task.series.value.subarray(0, FIRST)));
  const rises = task.attempts.flatMap(({ incidents }) => incidents);
  return rises.every(({ class: found, before }) => found !== 'non-finite' && before >= LEARNT * first);
}

/** A task whose level is below this share of the total's is a small part of it, whatever becomes of it. */
const SMALL_PART = 0.1;

/** Whether the level that a task went to is a small part of the total: the total decides. */
export function isSmallPart(task: JudgedSeries, total: JudgedSeries | null): boolean {
  if (total === null || total === task) return false;
  const after = Math.max(...task.attempts.flatMap(({ incidents }) => incidents.map((one) => one.after)));
  const level = medianOf(total.series.value.subarray(-20));
  return Number.isFinite(after) && after >= 0 && after < SMALL_PART * level;
}
