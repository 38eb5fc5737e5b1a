/** A loss that bursts as it starts and comes back, before it has a band. */
import { type Column, readerOf } from '../../model/column.ts';
import type { Scale } from './bands.ts';
import type { Lengths, SeriesIncident } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { largestIn, levelBetween } from './stretch.ts';

/** Times its first point that the loss is at its peak at least: no warm-up takes it there. Our number. */
const BURST = 100;
/** Points that are above a tenth of that at least: fewer are a spike. */
const BURST_POINTS = 3;

/**
 * A burst: before there is a band the loss leaves its first point, of which it is a hundred times as large at its peak, and comes back to
 * it. A smaller rise that comes back within its decision window is how trainings start.
 *
 * @returns null where there is none, or the loss does not come back
 */
export function findBurst(
  values: Column,
  scale: Scale,
  { grace, window, recovery }: Lengths,
  { fullRatio, incidentRatio }: VerdictSettings,
): SeriesIncident | null {
  const n = values.length;
  // Of losses of both signs a multiple of one says little.
  if (!scale.byRatio || n === 0) return null;
  const at = readerOf(values);
  const first = at(0);
  const high = incidentRatio * first;
  const until = Math.min(n, Math.max(grace, window.start));
  let onset = 1;
  while (onset < until && !(at(onset) > fullRatio * first)) onset++;
  if (!(onset < until)) return null;
  const width = Math.max(3, recovery);
  const levelFrom = (from: number): number => levelBetween(values, from, from + width);
  let recovered = onset;
  let above = 0;
  for (; recovered + width <= n; recovered++) {
    const value = at(recovered);
    if (value <= high && levelFrom(recovered) <= high) break;
    if (!Number.isFinite(value)) return null;
    if (value >= (BURST / 10) * first) above++;
  }
  if (recovered + width > n || above < BURST_POINTS) return null;
  const peak = largestIn(values, onset, recovered);
  const most = values.at(peak)!;
  if (most < BURST * first) return null;
  return {
    class: 'micro-divergence',
    form: 'rise',
    onset,
    lastGood: null,
    recovered,
    end: recovered,
    peak,
    before: first,
    high,
    after: levelFrom(recovered),
    size: most / first,
    byRatio: true,
  };
}
