/** A rise of the level that passes, of a loss so noisy that no single point leaves its band. */
import { blocksOf, type Column, pickerOf, readerOf } from '../../model/column.ts';
import { medianInPlace } from '../../model/order-statistics.ts';
import { besideLevel, noiseScale, type Scale } from './bands.ts';
import type { Lengths, SeriesIncident } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { largestIn, stretchAbove } from './stretch.ts';

/** Points of the narrowest level; of long runs a level is this share of the points at least, which also bounds the work. */
const NARROWEST = 8;
const NARROWEST_SHARE = 1 / 200;
/** Share of the run that the widest level takes. */
const WIDEST_SHARE = 1 / 4;
/** Scales of the noise above which points tell of themselves, by what the settings say of them. */
const HIDDEN_SCALES = 8;
/** More than a logarithm is off by: that of the least point is no more than the least logarithm. */
const ROUNDING = 1e-9;
/** Points of a level that are looked at, evenly spaced: more tell nothing more, and a million points would cost a second. */
const LOOKED_AT = 500;

/**
 * A swell: the level (a median of eight points and more) stands above `fullRatio` times that of the window before it, by more than `stepErrors`
 * standard errors of the two, and falls again. What stays up is a climb, which is judged by another comparison.
 *
 * The noise is the larger of what neighbours differ by and the root mean square distance of the window before from its median: noise
 * in waves, and points that are high again and again (mixup, two data sets), show in the second only.
 *
 * @param values finite, of a series in which no point started an incident
 * @returns null where there is none; of several the clearest
 */
export function findSwell(
  values: Column,
  scale: Scale,
  { grace, window, recovery }: Lengths,
  settings: VerdictSettings,
): SeriesIncident | null {
  const { fullRatio, driftRatio, stepErrors } = settings;
  // Of losses of both signs a multiple of a level says little.
  if (!scale.byRatio) return null;
  const n = values.length;
  // Of a column that is packed a copy would take more than the column.
  const logs = values instanceof Float64Array ? values.map(scale.to) : null;
  const [at, far] = [readerOf(values), pickerOf(values)];
  const y = logs === null ? (k: number): number => scale.to(at(k)) : (k: number): number => logs[k]!;
  const farY = logs === null ? (k: number): number => scale.to(far(k)) : y;
  const neighbours = noiseScale(values, scale.to);
  const pointsOf = (start: number, count: number, stride: number): Float64Array => {
    const points = new Float64Array(count);
    for (let k = 0; k < count; k++) points[k] = farY(start + k * stride);
    return points;
  };
  const levelOf = (from: number, to: number): number => medianInPlace(pointsOf(from, to - from, 1));
  // A level that is not high above the least point before is not above their median, which costs more to find.
  let found: { start: number; before: number; level: number; noise: number; errors: number } | null = null;
  const narrowest = Math.max(NARROWEST, Math.floor(NARROWEST_SHARE * n));
  const leastBefore = leastOf(values, Math.max(1, narrowest >> 6));
  for (let width = narrowest; width <= WIDEST_SHARE * n; width *= 2)
    for (let start = Math.max(grace, window.start); start + width <= n; start += width >> 2) {
      const stride = Math.ceil(width / LOOKED_AT);
      const points = pointsOf(start, Math.floor(width / stride), stride);
      const level = medianInPlace(points);
      if (!(level > scale.above(scale.to(leastBefore(start)) - ROUNDING, fullRatio, 0))) continue;
      const from = Math.max(0, start - window.size);
      const before = levelOf(from, start);
      if (!(level > scale.above(before, fullRatio, 0))) continue;
      let squares = 0;
      for (let k = from; k < start; k++) squares += (y(k) - before) ** 2;
      const noise = Math.max(neighbours, Math.sqrt(squares / (start - from)));
      const errors = (level - before) / (noise * Math.sqrt(1 / points.length + 1 / (start - from)));
      const isHidden = level - before <= HIDDEN_SCALES * neighbours;
      if (isHidden && errors > Math.max(stepErrors, found?.errors ?? 0))
        found = { start, before, level, noise, errors };
    }
  if (found === null) return null;
  const { before, level, noise } = found;
  // Its ends: where the points lie above the middle for longest, a spike counting as the level; from the window before on.
  const origin = Math.max(0, found.start - window.size);
  const stretch = stretchAbove(n - origin, (k) => Math.min(y(origin + k), level), (before + level) / 2);
  const [onset, over] = [origin + stretch.start, origin + stretch.end];
  const width = Math.max(3, recovery);
  if (n - over < width) return null;
  const usual = scale.above(before, driftRatio, noise);
  let recovered: number | null = over;
  while (recovered + width <= n && levelOf(recovered, recovered + width) > usual) recovered++;
  if (recovered + width > n) recovered = null;
  const end = recovered ?? n;
  const peak = largestIn(values, onset, end);
  return {
    class: recovered === null ? 'drift' : 'micro-divergence',
    form: 'swell',
    onset,
    lastGood: null,
    recovered,
    end,
    peak,
    after: scale.from(levelOf(end - width, end)),
    ...besideLevel(before, noise, y(peak), scale, settings),
  };
}

/** The least of the values before a position; it is kept at one position of `every`, Infinity before the first. */
function leastOf(values: Column, every: number): (position: number) => number {
  const kept = new Float64Array(Math.ceil(values.length / every));
  let least = Number.POSITIVE_INFINITY;
  let k = 0;
  let next = 0;
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++, k++) {
      if (k === next) {
        kept[k / every] = least;
        next += every;
      }
      if (block[i]! < least) least = block[i]!;
    }
  const at = pickerOf(values);
  return (position) => {
    const from = Math.floor((position - 1) / every);
    let found = kept[from]!;
    for (let k = from * every; k < position; k++) found = Math.min(found, at(k));
    return found;
  };
}
