/** Whether a series stops while the others of its run go on: a log that lost a column must not pass a gate. */
import type { Run, TimeSeries } from '../model/run.ts';

/** How many of its own largest gaps a series may lag behind the rest. */
const GAPS = 1.5;

/**
 * Whether the last point of a series lies more than one and a half of its own largest gaps (the stretch before its
 * first point is one) before the last point of another.
 *
 * Wall time decides where both have it. Without it, both the step and the place in the file must say so: series of
 * one file may count in different units (epochs beside steps), and a summary may follow far behind the training.
 */
export function endsEarly(run: Pick<Run, 'series'>, series: TimeSeries): boolean {
  if (series.step.length === 0) return run.series.some(({ step }) => step.length > 0);
  return run.series.some((other) => {
    if (other === series || other.step.length === 0) return false;
    if (series.wallTime !== undefined && other.wallTime !== undefined)
      return lags(series.wallTime, other.wallTime, Math.min(series.wallTime[0]!, other.wallTime[0]!));
    if (!lags(series.step, other.step, Math.min(0, series.step[0]!))) return false;
    const [own, others] =
      series.line !== undefined && other.line !== undefined
        ? [series.line, other.line]
        : [series.byteOffset, other.byteOffset];
    // The last of several files decides; places in different files cannot be compared.
    const file = series.pathOffsets.length - 1;
    const from = series.pathOffsets[file] ?? 0;
    const otherFrom = other.pathOffsets[file] ?? 0;
    if (own === undefined || others === undefined) return true;
    if (from >= own.length || otherFrom >= others.length)
      return from >= own.length && otherFrom < others.length;
    return lags(own.subarray(from), others.subarray(otherFrom), 0);
  });
}

function lags(own: Float64Array | Uint32Array, other: Float64Array | Uint32Array, start: number): boolean {
  let gap = own[0]! - start;
  for (let i = 1; i < own.length; i++) gap = Math.max(gap, own[i]! - own[i - 1]!);
  return !(other[other.length - 1]! - own[own.length - 1]! <= GAPS * gap);
}
