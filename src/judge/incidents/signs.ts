/** Signs that a run is lost, or that its end is unknown, which its losses alone do not show. */
import { type Column, upperBound } from '../../model/column.ts';
import { medianOf, usualDistance } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import type { VerdictSettings } from './settings.ts';

/**
 * The zeros at the end of an attempt of a loss that mean NaN, as indices into the whole series, with the name of the gradient
 * norm that is NaN there; null where there are none.
 */
export function deadStretch(run: Run, series: TimeSeries, attempt: number, settings: VerdictSettings) {
  const offset = series.attemptOffsets[attempt]!;
  const { value, step } = attemptOf(series, attempt);
  let from = value.length;
  while (from > 0 && value.at(from - 1) === 0) from--;
  const zeros = value.length - from;
  if (zeros === 0) return null;
  const nanNorm = run.series.find((norms) => {
    if (norms.role !== 'grad_norm') return false;
    const norm = attemptOf(norms, attempt);
    return norm.value.some((entry, i) => Number.isNaN(entry) && norm.step.at(i)! >= step.at(from)!);
  });
  const before = value.subarray(Math.max(0, from - 10), from);
  const abrupt =
    zeros >= settings.zeros &&
    medianOf(before) > settings.abruptShare * medianOf(value.subarray(0, Math.min(10, from)));
  if (nanNorm === undefined && !abrupt) return null;
  return { from: offset + from, to: offset + value.length - 1, nanNorm: nanNorm?.name ?? null };
}

/**
 * The last point of a series (index into the whole series) in the run's last attempt, if another column of its rows goes on;
 * of several the one that goes on longest.
 */
export function columnStop(run: Run, series: TimeSeries, settings: VerdictSettings) {
  const attempt = run.attempts.length - 1;
  const { step } = attemptOf(series, attempt);
  if (step.length === 0) return null;
  let found: { last: number; companion: string; lastStep: number; missing: number } | null = null;
  for (const other of run.series) {
    const beside = attemptOf(other, attempt).step;
    const missing = beside.length - upperBound(beside, step.at(-1)!);
    if (missing < settings.missingPoints || (found !== null && missing <= found.missing)) continue;
    const until = beside.length - missing;
    if (sharedSteps(step, beside) < settings.together * Math.max(step.length, until)) continue;
    found = { last: series.step.length - 1, companion: other.name, lastStep: beside.at(-1)!, missing };
  }
  return found;
}

/** Steps of a series in the last attempt of its run. */
export const lastSteps = (run: Run, series: TimeSeries): Column =>
  attemptOf(series, run.attempts.length - 1).step;

/** Distances of two points that a series may end before others and still reach the end: an evaluation may be due after the last step. */
const RHYTHMS = 3;

/** Whether a series goes on to a step, in its own rhythm; one of a single point has none. */
export function reaches(run: Run, series: TimeSeries, until: number): boolean {
  const step = lastSteps(run, series);
  return until - step.at(-1)! <= RHYTHMS * usualDistance(step);
}

/** The other columns that are the loss itself, under another name or as an evaluation of the training data. */
export const sameLoss = (run: Run, series: TimeSeries): readonly TimeSeries[] =>
  run.series.filter((other) => other !== series && (other.role === 'loss' || other.lossLike === 'same'));

/** The column of the same loss that goes on to a step where this one does not; undefined where none does. */
export const goesOnAs = (run: Run, series: TimeSeries, until: number): TimeSeries | undefined =>
  series.role === 'loss'
    ? [...sameLoss(run, series), ...run.series.filter(({ lossLike }) => lossLike === 'part')].find((other) =>
        reaches(run, other, until),
      )
    : undefined;

/** How many entries of `a` are also in `b`; both do not fall. */
function sharedSteps(a: Column, b: Column): number {
  let shared = 0;
  let j = 0;
  for (let i = 0; i < a.length; i++) {
    while (j < b.length && b.at(j)! < a.at(i)!) j++;
    if (j < b.length && b.at(j) === a.at(i)) shared++;
  }
  return shared;
}

/** The series of a run whose names say that they are areas under a ROC curve. */
export const aucsOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(
    ({ role, name }) => role === 'metric' && /(^|[^a-z])(roc[-_ ]?)?au(ro)?c(?!pr)([^a-z]|$)/i.test(name),
  );

/** The stretch at chance to the end of an attempt, as indices into the whole series; null where there is none. */
export function collapseOf(series: TimeSeries, attempt: number, settings: VerdictSettings) {
  const { value } = attemptOf(series, attempt);
  let from = value.length;
  while (from > 0 && Math.abs(value.at(from - 1)! - 0.5) <= settings.chance) from--;
  if (value.length - from < settings.chancePoints) return null;
  let best = Number.NEGATIVE_INFINITY;
  for (let i = 0; i + 3 <= from; i++) best = Math.max(best, medianOf(value.subarray(i, i + 3)));
  if (!(best >= settings.learnt)) return null;
  const offset = series.attemptOffsets[attempt]!;
  return { from: offset + from, to: offset + value.length - 1, best };
}
