/** When the points of a series were printed, by the lines of the log that print a time. */
import { arrayOf } from './column.ts';
import type { Run, TimeSeries } from './run.ts';

/** Share of the points that have to have a time. */
const MOST = 0.8;

/**
 * A series with its times: its own, or those that its lines print. A point whose line prints none has that of the one before.
 *
 * @returns the series itself where four fifths of its points or more have no time
 */
export function withTimes(run: Run, series: TimeSeries): TimeSeries {
  const { line, pathOffsets } = series;
  const timed = (run.lossRecords ?? []).filter(({ time }) => time !== undefined);
  if (series.wallTime !== undefined || line === undefined || timed.length === 0) return series;
  const lines = arrayOf(line);
  const times = new Float64Array(lines.length).fill(Number.NaN);
  let found = 0;
  for (const records of timed) {
    const file = run.paths.indexOf(records.path);
    if (file < 0) continue;
    const [told, time] = [arrayOf(records.line), arrayOf(records.time!)];
    let next = 0;
    for (let at = pathOffsets[file] ?? 0; at < (pathOffsets[file + 1] ?? lines.length); at++) {
      while (next < told.length && told[next]! < lines[at]!) next++;
      if (told[next] !== lines[at] || Number.isNaN(time[next]!)) continue;
      times[at] = time[next]!;
      found++;
    }
  }
  if (found < MOST * lines.length) return series;
  // The first ones have that of the first that is known.
  let before = times.find((one) => !Number.isNaN(one))!;
  for (let at = 0; at < times.length; at++)
    if (Number.isNaN(times[at]!)) times[at] = before;
    else before = times[at]!;
  return { ...series, wallTime: times };
}
