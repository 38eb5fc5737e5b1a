/** Which of several columns that are the loss decides: the one that goes on, the worst of those that reach the end. */
import { medianOf } from '../model/order-statistics.ts';
import type { Run, TimeSeries } from '../model/run.ts';
import { comesFirst, type JudgedSeries } from './attempts.ts';
import { badness } from './judge.ts';
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
 * All columns of one loss are judged. One that ends before others by design (`loss` for 100 steps, `train/loss` to the end) decides only if it is worse
 * than what goes on. A part of the loss (`aux_loss` beside `loss`) is judged where the loss itself does not reach the end.
 *
 * @param total the loss by name
 */
export function decidingLoss(
  run: Run,
  total: JudgedSeries,
  judge: (series: TimeSeries) => JudgedSeries,
): DecidingLoss {
  const parts = run.series.filter(({ lossLike }) => lossLike === 'part');
  const same = sameLoss(run, total.series);
  const end = (series: TimeSeries): number => lastSteps(run, series).at(-1) ?? Number.NEGATIVE_INFINITY;
  const until = Math.max(...[total.series, ...same, ...parts].map(end));
  const isLong = (series: TimeSeries): boolean => reaches(run, series, until);
  const goesOn = [total.series, ...same].some(isLong);
  const others = [...same, ...(goesOn ? [] : parts)].filter(isLong).map(judge);
  if (others.length === 0) return { judged: total, ended: [], others: [] };
  const totalEnds = !isLong(total.series);
  const long = others.filter(({ class: found, attempts }) =>
    totalEnds
      ? // Too few points of one say nothing where another has enough.
        attempts.some(({ incidents }) => incidents.length > 0) ||
        found !== 'inconclusive' ||
        others.every((one) => one.class === 'inconclusive')
      : // Beside a loss that reaches the end, a mean of it or an evaluation adds no jump that came back.
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

/** The worse of the loss by name and of what goes on; what is open or unknown of one that ends before the other, the other tells. */
function worseOf(total: JudgedSeries, worst: JudgedSeries, totalEnds: boolean): JudgedSeries {
  if (totalEnds && total.class === 'inconclusive') return worst;
  if (comesFirst(worst, total)) return worst;
  return comesFirst(total, worst) || !totalEnds ? total : worst;
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
