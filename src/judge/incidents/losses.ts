/** The judge on plain losses with those before them: what replays, closed loops and matrices ask. */
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import type { VerdictClass } from '../../model/report.ts';
import { worstOf } from './judge.ts';
import { judgeAttempt } from './judge-attempt.ts';
import { COMPARED } from './numbers.ts';
import { DEFAULT_VERDICT_SETTINGS } from './settings.ts';

/** In units of the loss; NaN where fewer points came before than make a band. */
export interface LossBand {
  readonly median: number;
  /** Largest loss in the band. */
  readonly high: number;
}

export interface LossIncident {
  readonly class: VerdictClass;
  /** Position in the losses of the first one outside the band; the history does not count. */
  readonly onset: number;
}

export interface JudgedLosses {
  /** The worst incident that begins in the losses, of several the largest; null where none does. */
  readonly incident: LossIncident | null;
  /** Whether an incident that began in the history goes on into the losses. */
  readonly began: boolean;
  /** The band before the incident; where there is none, the one at the end of the losses. */
  readonly band: LossBand;
}

/**
 * Judges losses as the verdict of a run would that had logged `history` and then `losses`: with one set of numbers, two
 * commands find one onset. The band is the one before the worst incident that leaves it: whether a training is back is
 * compared with what was usual, not with its best level.
 *
 * @param losses in the order of their steps; NaN and ±Infinity are incidents
 * @param history finite or not, from right before the first of the losses; may be empty
 */
export function judgeLosses(losses: readonly number[], history: readonly number[] = []): JudgedLosses {
  const before = history.length;
  const all = Float64Array.of(...history, ...losses);
  const judge = (values: Float64Array) =>
    judgeAttempt(values, DEFAULT_VERDICT_SETTINGS, { levelSays: true, isWhole: true });
  const { incidents, band } = judge(all);
  const worst = worstOf(incidents.filter(({ onset }) => onset >= before));
  let bandBefore = worst === undefined ? band : undefined;
  return {
    incident: worst === undefined ? null : { class: worst.class, onset: worst.onset - before },
    began: incidents.some(({ onset, end }) => onset < before && end > before),
    // Many ask for the incident alone, and this is as much work again.
    get band() {
      bandBefore ??= judge(all.subarray(0, worst!.onset)).band;
      return bandBefore;
    },
  };
}

/** Losses at the end whose median decides whether a run came back. */
export const LAST_LOSSES = 10;

/** Median of the last ten losses; NaN where one of them is not finite. */
export function endLevel(losses: readonly number[]): number {
  const last = losses.slice(-LAST_LOSSES);
  return last.every(Number.isFinite) ? medianOf(last) : Number.NaN;
}

/** Medians of ten losses in a row, from the first ten on. */
export const levelsAlong = (losses: readonly number[]): number[] =>
  losses.slice(LAST_LOSSES - 1).map((_, i) => medianOf(losses.slice(i, i + LAST_LOSSES)));

/**
 * The largest median of ten losses that losses like these have by chance: the median of their own such medians, and as many
 * of their scales above it as the judge gives its band. A single loss may be far above the median without any change; the
 * median of ten may not.
 *
 * @param losses before any incident
 * @returns NaN where there are fewer than two dozen
 */
export function largestEndLevel(losses: readonly number[]): number {
  const levels = losses
    .slice(LAST_LOSSES - 1)
    .map((_, i) => endLevel(losses.slice(i, i + LAST_LOSSES)))
    .filter(Number.isFinite);
  if (levels.length < LEAST_LEVELS) return Number.NaN;
  const { usualScales, usualRatio } = COMPARED;
  // The latest: the level falls while a run learns.
  const recent = levels.slice(-RECENT_LEVELS);
  const center = medianOf(recent);
  const scale = MAD_TO_SIGMA * medianOf(recent.map((level) => Math.abs(level - center)));
  return Math.max(center + usualScales * scale, center + (usualRatio - 1) * Math.abs(center));
}
const LEAST_LEVELS = 15;
const RECENT_LEVELS = 100;

/** Largest loss from the incident on over the median before it; Infinity where one is not finite, null without an incident. */
export function peakOf(losses: readonly number[], onset: number | null, { median }: LossBand): number | null {
  if (onset === null) return null;
  const after = losses.slice(onset);
  return after.every(Number.isFinite) ? Math.max(...after) / median : Number.POSITIVE_INFINITY;
}

/** The earlier of two onsets. */
export const earlierOf = (a: LossIncident | null, b: LossIncident | null): number | null =>
  a === null || b === null ? ((a ?? b)?.onset ?? null) : Math.min(a.onset, b.onset);

/** First position from which on no loss is in the band; the number of losses where the last one is. */
export function leftForGood(losses: readonly number[], { high }: LossBand): number {
  let i = losses.length;
  while (i > 0 && !(losses[i - 1]! <= high)) i--;
  return i;
}

/** How a run from the same start ends relative to a band. */
export type LossEnd =
  /** Its last losses are in the band. */
  | 'in-band'
  /** Its last losses are above the band, but the run never came down to it, ends no higher than it began, and has no incident: it learns more slowly. */
  | 'slower'
  /** They are above it, or not finite. */
  | 'out';

/**
 * How losses end relative to the band of another run from the same start, by the median of the last ten.
 *
 * A run above the band has not necessarily left it: if the other run's loss falls, a rule that shortens every update leaves a
 * run above a band that it never reached.
 *
 * @param judged of these losses
 * @param band of the other run, before its incident. Where it is unknown, the run's own incident alone decides
 */
export function endBeside(losses: readonly number[], judged: JudgedLosses, band: LossBand): LossEnd {
  const end = endLevel(losses);
  if (end <= band.high) return 'in-band';
  const well = judged.incident === null || end <= judged.band.high;
  if (Number.isNaN(band.high)) return well && !Number.isNaN(end) ? 'in-band' : 'out';
  const levels = levelsAlong(losses);
  const reached = levels.some((level) => level <= band.high);
  const [start] = levels;
  const risen = !(end <= start! + (COMPARED.usualRatio - 1) * Math.abs(start!));
  return well && !reached && !risen ? 'slower' : 'out';
}
