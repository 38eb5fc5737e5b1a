/** A level that rose and stays up, of a loss so noisy that no comparison of a few points shows it. */
import { blocksOf, type Column, evenly, pickerOf } from '../../model/column.ts';
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import { besideLevel, FALL, noiseScale, type Scale } from './bands.ts';
import type { Lengths, SeriesIncident } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { largestIn, stretchAbove } from './stretch.ts';

/** Points of a level at least. */
const LEAST = 8;
/** Share of the run that the level at its end is of, unless a decision window is shorter. */
const END_SHARE = 1 / 4;
/** Points that tell whether it is on its way back at least; a twentieth of the run, as the levels of a climb are, where that is more. */
const LEAST_BLOCK = 5;
/** Standard errors of two such levels by which the highest of five is above the last by chance. */
const BY_CHANCE = 2;
/** Places of the step that are looked at in a long run. */
const PLACES = 200;
/** Points of a level that are looked at, evenly spaced: more tell nothing more, and a million points would cost a second. */
const LOOKED_AT = 500;

/** Levels on the scale, the noise of their points, and where those before begin. */
interface Found {
  readonly from: number;
  readonly before: number;
  readonly level: number;
  readonly noise: number;
}

/**
 * The level before a step: the median of a window, of its last half where it falls, since what it had reached is the level
 * (docs/adr/0017-level-of-a-falling-loss.md). Its noise is the root mean square distance from the line through its halves, if that falls.
 */
function levelBefore(window: Float64Array): {
  readonly before: number;
  readonly points: number;
  readonly noise: number;
} {
  const middle = window.length >> 1;
  const newer = medianOf(window.subarray(middle));
  const slope = Math.min(0, (newer - medianOf(window.subarray(0, middle))) / middle);
  const center = medianOf(window);
  let squares = 0;
  for (let k = 0; k < window.length; k++)
    squares += (window[k]! - center - slope * (k - (window.length - 1) / 2)) ** 2;
  const noise = Math.sqrt(squares / window.length);
  return -slope * window.length > FALL * noise
    ? { before: newer, points: window.length - middle, noise }
    : { before: center, points: window.length, noise };
}

/** Of the standard errors that tell a step wherever it may be so many are enough behind a jump: its place is known. */
const KNOWN_PLACE = 1 / 2;

/**
 * A step: the median of the last quarter of the points (or of a decision window, where that is less) stands above `driftRatio` times that
 * of the window before some point, by more than `driftScales` standard errors of the two, and is not on its way back. Behind a jump that
 * was taken for back half of them are enough, and fewer points, where it came later.
 *
 * The noise is the largest of what neighbours differ by, that of the window before ({@link levelBefore}), and the scale of the end.
 *
 * @param values finite
 * @param jump the last incident, if it jumped and came back
 * @returns null where there is none; of several places the clearest
 */
export function findStep(
  values: Column,
  scale: Scale,
  { grace, window, decision }: Lengths,
  settings: VerdictSettings,
  jump: SeriesIncident | null,
): SeriesIncident | null {
  const { driftRatio, driftFullRatio, driftScales } = settings;
  const n = values.length;
  const count = Math.min(decision, Math.floor(END_SHARE * n));
  // Of losses of both signs a multiple of a level says little.
  if (!scale.byRatio || count < LEAST) return null;
  const pick = pickerOf(values);
  const y = (k: number): number => scale.to(pick(k));
  const pointsOf = (from: number, to: number): Float64Array =>
    evenly(values, from, to, LOOKED_AT).map((value) => scale.to(value));
  // No level is lower than the least point, which costs less to find.
  let lowest = Number.POSITIVE_INFINITY;
  for (const one of blocksOf(values)) for (let k = 0; k < one.length; k++) lowest = Math.min(lowest, one[k]!);
  const end = medianOf(pointsOf(n - count, n));
  if (jump === null && !(end > scale.above(scale.to(lowest), driftRatio, 0))) return null;
  const neighbours = noiseScale(values, scale.to);
  // On the way back: a third of the rise is regained within the last quarter, as of a climb.
  const block = Math.max(LEAST_BLOCK, Math.floor(n / 20));
  const blocks: number[] = [];
  for (let until = n; until - block >= (1 - END_SHARE) * n; until -= block)
    blocks.push(medianOf(pointsOf(until - block, until)));
  const regained = Math.max(...blocks) - blocks[0]!;
  /** Holds the level of the last points against those before some places; the clearest, above so many standard errors. */
  const clearest = (since: number, places: Iterable<number>, least: number): Found | null => {
    let found: Found | null = null;
    const last = pointsOf(n - since, n);
    const level = medianOf(last);
    // A loss that comes down slowly may have come down by now.
    const now = medianOf(last.subarray(last.length >> 1));
    const spread = MAD_TO_SIGMA * medianOf(last.map((one) => Math.abs(one - level)));
    let most = least;
    for (const place of places) {
      const from = Math.max(0, place - window.size);
      const { before, points, noise: own } = levelBefore(pointsOf(from, place));
      if (!(Math.min(level, now) > scale.above(before, driftRatio, 0))) continue;
      const noise = Math.max(neighbours, spread, own);
      if (regained > (level - before) / 3 + BY_CHANCE * noise * Math.sqrt(2 / block)) continue;
      const errors = (level - before) / (noise * Math.sqrt(1 / last.length + 1 / points));
      if (!(errors > most)) continue;
      most = errors;
      found = { from, before, level, noise };
    }
    return found;
  };
  const first = Math.max(grace, window.start, LEAST);
  const places: number[] = [];
  for (let place = n - count; place >= first; place -= Math.max(1, Math.floor(n / PLACES)))
    places.push(place);
  const anywhere = clearest(count, places, driftScales);
  const since = Math.min(count, n - (jump?.recovered ?? n));
  const behind =
    anywhere === null && jump !== null && since >= LEAST && jump.onset >= LEAST
      ? clearest(since, [jump.onset], KNOWN_PLACE * driftScales)
      : null;
  const found = anywhere ?? behind;
  if (found === null) return null;
  const { from, before, level, noise } = found;
  // Where the points lie above the middle for longest, a spike counting as the level.
  const start = (): number =>
    stretchAbove(n - from, (k) => Math.min(y(from + k), level), (before + level) / 2).start;
  const onset = behind === null ? from + start() : jump!.onset;
  const peak = largestIn(values, onset, n);
  return {
    class: level > scale.above(before, driftFullRatio, noise) ? 'full-divergence' : 'drift',
    form: 'climb',
    onset,
    lastGood: onset > 0 ? onset - 1 : null,
    recovered: null,
    end: n,
    peak,
    after: scale.from(level),
    ...besideLevel(before, noise, y(peak), scale, settings),
  };
}
