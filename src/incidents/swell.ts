/** A rise of the level that passes, of a loss so noisy that no single point leaves its band. */
import { medianInPlace } from '../model/order-statistics.ts';
import { noiseScale, type Scale } from './bands.ts';
import type { Lengths, SeriesIncident } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { stretchAbove } from './stretch.ts';

/** Points of the narrowest level; of long runs a level is this share of the points at least, which also bounds the work. */
const NARROWEST = 8;
const NARROWEST_SHARE = 1 / 200;
/** Share of the run that the widest level takes. */
const WIDEST_SHARE = 1 / 4;
/** Scales of the noise above which points tell of themselves, by what the settings say of them. */
const HIDDEN_SCALES = 8;
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
  values: Float64Array,
  scale: Scale,
  { grace, window, recovery }: Lengths,
  { fullRatio, driftRatio, bandRatio, bandScales, stepErrors }: VerdictSettings,
): SeriesIncident | null {
  // Of losses of both signs a multiple of a level says little.
  if (!scale.byRatio) return null;
  const n = values.length;
  const y = values.map(scale.to);
  const neighbours = noiseScale(values, scale.to);
  const levelOf = (from: number, to: number): number => medianInPlace(y.slice(from, to));
  // A level that is not high above the least point before is not above their median, which costs more to find.
  const least = Float64Array.from(y);
  for (let i = 1; i < n; i++) least[i] = Math.min(least[i - 1]!, y[i]!);
  let found: { at: number; before: number; level: number; noise: number; errors: number } | null = null;
  const narrowest = Math.max(NARROWEST, Math.floor(NARROWEST_SHARE * n));
  for (let width = narrowest; width <= WIDEST_SHARE * n; width *= 2)
    for (let at = Math.max(grace, window.start); at + width <= n; at += width >> 2) {
      const stride = Math.ceil(width / LOOKED_AT);
      const points = y.slice(at, at + Math.floor(width / stride));
      if (stride > 1) for (let k = 0; k < points.length; k++) points[k] = y[at + k * stride]!;
      const level = medianInPlace(points);
      if (!(level > scale.above(least[at - 1]!, fullRatio, 0))) continue;
      const from = Math.max(0, at - window.size);
      const before = levelOf(from, at);
      if (!(level > scale.above(before, fullRatio, 0))) continue;
      let squares = 0;
      for (let k = from; k < at; k++) squares += (y[k]! - before) ** 2;
      const noise = Math.max(neighbours, Math.sqrt(squares / (at - from)));
      const errors = (level - before) / (noise * Math.sqrt(1 / points.length + 1 / (at - from)));
      const isHidden = level - before <= HIDDEN_SCALES * neighbours;
      if (isHidden && errors > Math.max(stepErrors, found?.errors ?? 0))
        found = { at, before, level, noise, errors };
    }
  if (found === null) return null;
  const { before, level, noise } = found;
  // Its ends: where the points lie above the middle for longest, a spike counting as the level; from the window before on.
  const origin = Math.max(0, found.at - window.size);
  const stretch = stretchAbove(
    y.subarray(origin).map((value) => Math.min(value, level)),
    (before + level) / 2,
  );
  const [onset, over] = [origin + stretch.start, origin + stretch.end];
  const width = Math.max(3, recovery);
  if (n - over < width) return null;
  const usual = scale.above(before, driftRatio, noise);
  let recovered: number | null = over;
  while (recovered + width <= n && levelOf(recovered, recovered + width) > usual) recovered++;
  if (recovered + width > n) recovered = null;
  const end = recovered ?? n;
  let peak = onset;
  for (let k = onset; k < end; k++) if (values[k]! > values[peak]!) peak = k;
  return {
    class: recovered === null ? 'drift' : 'micro-divergence',
    form: 'swell',
    onset,
    lastGood: null,
    recovered,
    end,
    peak,
    before: scale.from(before),
    high: scale.from(Math.max(before + bandScales * noise, scale.above(before, bandRatio, noise))),
    after: scale.from(levelOf(end - width, end)),
    size: scale.ratioOf(before, y[peak]!, noise),
    byRatio: true,
  };
}
