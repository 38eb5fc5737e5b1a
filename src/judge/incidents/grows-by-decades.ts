/** A loss that grows by decades in a few points, too few for a band. */
import type { Column } from '../../model/column.ts';
import type { SeriesIncident } from './judge.ts';
import { largestIn } from './stretch.ts';

/** What a loss grows by that no training makes good, over so many points at least, and how often it may fall on the way: our numbers. */
const DECADES = { ratio: 1e5, points: 4, falls: 1 };

/**
 * A loss that grows by five decades, at nearly every point to the last: few points answer that. The onset is the point after the
 * lowest.
 */
export function growsByDecades(points: Column): SeriesIncident | null {
  const n = points.length;
  if (n < DECADES.points || !points.every((one) => one > 0 && Number.isFinite(one))) return null;
  let lowest = 0;
  let falls = 0;
  for (let i = 1; i < n; i++) {
    if (points.at(i)! < points.at(lowest)!) lowest = i;
    if (points.at(i)! <= points.at(i - 1)!) falls++;
  }
  const [before, after] = [points.at(lowest)!, points.at(n - 1)!];
  if (falls > DECADES.falls || !(after >= DECADES.ratio * before)) return null;
  return {
    class: 'full-divergence',
    form: 'rise',
    onset: lowest + 1,
    lastGood: lowest,
    recovered: null,
    end: n,
    peak: largestIn(points, lowest + 1, n),
    before,
    high: before,
    after,
    size: after / before,
    byRatio: true,
  };
}
