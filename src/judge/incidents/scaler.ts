/** Steps that a loss scaler skips: a few while it looks for its scale, or every one to the end. */
import type { Column } from '../../model/column.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Run, TimeSeries } from '../../model/run.ts';

/** The loss scale of a run, by the name of its series. */
export const lossScaleOf = (run: Run): TimeSeries | undefined =>
  run.series.find(
    ({ name }) =>
      /(^|[^a-z])(loss|grad|amp)?[-_ /.]?scaler?[-_ /.]?(scale)?$/i.test(name) && /scale/i.test(name),
  );

/** Points in a row at which the scale falls; a scaler finds its scale in up to five. */
export const FALLS = 6;

/** A scale below 1 makes gradients smaller than they are; one that was this high and is so low for so many points is lost. */
export const [LOST, HIGH, POINTS] = [1, 1024, 50];

/** Share of its level that a loss has to fall below to come down still. */
const COMES_DOWN = 0.95;

type Points = Pick<TimeSeries, 'step' | 'value'>;

/** What shows that steps are skipped: columns of one attempt, each null where it is not logged. */
export interface SkipSigns {
  readonly scale: Points | null;
  readonly norms: Points | null;
  readonly loss: Points | null;
}

/**
 * From which point on a loss scaler skips every step: the scale falls to the end, or is lost; or, under no such scale, every norm is
 * infinite or NaN while the loss is finite and comes down no more.
 *
 * @param falls points in a row, at the end, at which a scale falls
 * @returns the column that shows it, and a position in it; null where neither does
 */
export function skipsEveryStepFrom(
  { scale, norms, loss }: SkipSigns,
  falls = FALLS,
): { readonly sign: 'scale' | 'norms'; readonly from: number } | null {
  const lost = scale === null ? null : lostFrom(scale.value, falls);
  if (lost !== null) return { sign: 'scale', from: lost };
  const infinite = norms === null || loss === null ? null : infiniteFrom(norms, loss);
  return infinite === null ? null : { sign: 'norms', from: infinite };
}

/** Position from which on the scale falls to the end, or is lost to the end; null where it does neither. */
function lostFrom(scale: Column, least: number): number | null {
  const falls = fallsToEnd(scale);
  if (scale.length - falls >= least) return falls;
  const from = scale.findLastIndex((value) => !(value < LOST)) + 1;
  if (from === 0 || scale.length - from < POINTS || !scale.some((value) => value >= HIGH)) return null;
  const usual = medianOf(scale.subarray(0, from));
  return scale.findLastIndex((value) => value >= usual) + 1;
}

/**
 * Position from which on every norm is infinite or NaN, under a loss that is finite and comes down no more; null without it. Weights
 * that took such a gradient would give no finite loss.
 */
function infiniteFrom(norms: Points, loss: Points): number | null {
  const from = norms.value.findLastIndex((norm) => Number.isFinite(norm)) + 1;
  if (from === 0 || norms.value.length - from < POINTS) return null;
  const since = loss.value.subarray(loss.step.findIndex((one) => one >= norms.step.at(from)!));
  if (since.length < POINTS || !since.every((one) => Number.isFinite(one))) return null;
  const [first, last] = [since.subarray(0, POINTS / 2), since.subarray(since.length - POINTS / 2)].map(
    medianOf,
  );
  return last! > COMES_DOWN * first! ? from : null;
}

/** Position of the first of the points at the end at which a loss scale is below that of the point before, or 0. */
function fallsToEnd(scale: Column): number {
  let from = scale.length;
  while (from > 1 && (scale.at(from - 1)! < scale.at(from - 2)! || scale.at(from - 1) === 0)) from--;
  return from;
}

/** Points in a row that a loss scaler skips before it has found a scale; if there are more, the run is dead. */
const SKIPPED_POINTS = 5;

/**
 * Which points of a series are not finite because a loss scaler skipped the step: the logged scale falls there, at most five in a row are so, and a
 * finite one follows. None where no loss scale is logged.
 */
export function scalerSkips(run: Run, series: TimeSeries): ReadonlySet<number> {
  const skipped = new Set<number>();
  const scale = lossScaleOf(run);
  if (scale === undefined || scale === series) return skipped;
  const { value, step } = series;
  for (let i = 0; i < value.length; i++) {
    if (Number.isFinite(value.at(i)!)) continue;
    let end = i;
    while (end < value.length && !Number.isFinite(value.at(end)!)) end++;
    if (end < value.length && end - i <= SKIPPED_POINTS && scaleFalls(scale, step.at(i)!, step.at(end)!))
      for (let k = i; k < end; k++) skipped.add(k);
    i = end;
  }
  return skipped;
}

/** Whether a logged scale is lower at one of the steps from the first to the last than at the point before it: it may have grown at the first. */
function scaleFalls({ step, value }: TimeSeries, first: number, last: number): boolean {
  let k = step.findIndex((at) => at >= first);
  if (k < 0) return false;
  for (; k < step.length && step.at(k)! <= last; k++)
    if (value.at(k)! < value.at(Math.max(0, k - 1))!) return true;
  return false;
}
