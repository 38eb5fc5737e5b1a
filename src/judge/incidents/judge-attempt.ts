/**
 * The one entry to the judge of an attempt. Two computations answer, each the questions that it is better at
 * (docs/adr/0021-two-computations.md has the figures):
 *
 * - The band (judge.ts): where the loss leaves its usual range, whether it comes back, where it climbs.
 * - The levels (follow.ts): whether all that was learnt is lost, whether a rise is one of several that this run comes back
 *   from, and where a rise begins that ends in NaN.
 */
import type { Column } from '../../model/column.ts';
import { type AttemptJudgement, badness, judgePoints, type SeriesIncident, worstOf } from './judge.ts';
import { comesAgain, type JudgedExcess, judgeLevels } from './judge-points.ts';
import type { VerdictSettings } from './settings.ts';
import { levelBetween } from './stretch.ts';

/** What a series is, as far as its judge has to know. */
export interface Asked {
  /** Whether a level that rises is worth a word (see {@link judgePoints}). */
  readonly levelSays: boolean;
  /**
   * Whether it is the whole loss of supervised training, whose first level is that of a net that has learnt nothing. Parts of
   * a loss, evaluations, policy and adversarial losses begin low and grow.
   */
  readonly isWhole: boolean;
}

/**
 * Judges one attempt of one series.
 *
 * @param values in the order of their steps, finite or not
 * @param asked what the series is
 * @returns incidents in the order of their onsets; positions count from the first value
 */
export function judgeAttempt(
  values: Column,
  settings: VerdictSettings,
  { levelSays, isWhole }: Asked,
): AttemptJudgement {
  const byBand = judgePoints(values, settings, levelSays);
  return levelSays ? withLevels(values, byBand, settings, isWhole) : byBand;
}

/**
 * What the band found, with the questions that the levels answer.
 *
 * @param isWhole see {@link Asked}
 */
export function withLevels(
  values: Column,
  byBand: AttemptJudgement,
  settings: VerdictSettings,
  isWhole: boolean,
): AttemptJudgement {
  const enough = byBand.points - byBand.nonFinite >= 2 * settings.minimumPoints;
  const lost = isWhole && enough && mayHaveLostAll(values) ? lostAllOf(values, byBand, settings) : null;
  if (lost !== null) {
    const all = [...apartFrom(lost, byBand), lost].sort((a, b) => a.onset - b.onset);
    return withIncidents(byBand, all, settings);
  }
  const unusual = byBand.incidents.filter((one) => !isUsual(one, values, byBand));
  const incidents = unusual.map((one) =>
    one.class === 'non-finite' && one.recovered === null ? ledBy(values, one) : one,
  );
  const usual = byBand.incidents.length - incidents.length;
  return { ...withIncidents(byBand, incidents, settings), ...(usual === 0 ? {} : { usual }) };
}

const excessesOf = (values: Column): readonly JudgedExcess[] => judgeLevels(values).excesses;

/** An incident that ends as no number, from where the level left its best on the way there. */
function ledBy(values: Column, one: SeriesIncident): SeriesIncident {
  const led = excessesOf(values).at(-1);
  if (led === undefined || led.class !== 'non-finite' || !(led.onset < one.onset)) return one;
  const { onset, lastGood, before: level, high } = incidentOf(led, values);
  return { ...one, onset, lastGood, before: level, high };
}

/** The judgement with other incidents. */
function withIncidents(
  judged: AttemptJudgement,
  incidents: readonly SeriesIncident[],
  { minimumPoints }: VerdictSettings,
): AttemptJudgement {
  const enough = judged.points - judged.nonFinite >= minimumPoints;
  return {
    ...judged,
    incidents,
    class: worstOf(incidents)?.class ?? (enough ? 'healthy' : 'inconclusive'),
  };
}

/** The incidents that are not part of one in which all is lost: over before it, or from a level that was lost already. */
const apartFrom = (lost: SeriesIncident, { incidents }: AttemptJudgement): SeriesIncident[] =>
  incidents.filter(
    ({ onset, end, recovered, before }) =>
      recovered !== null && (end <= lost.onset || (onset > lost.onset && before > lost.high)),
  );

/** Parts of a long series whose medians are its coarse levels. */
const COARSE = 64;
/** Share of what was learnt that coarse levels have to show as lost before the fine ones are asked: below `NUMBERS.lostMost`. */
const COARSE_SHARE = 0.5;

/**
 * Whether the end of a series is so far above its best that all it learnt may be lost: a look that costs little, and rules
 * out nearly every healthy run.
 */
function mayHaveLostAll(values: Column): boolean {
  const n = values.length;
  const width = Math.max(1, Math.floor(n / COARSE));
  let best = Number.POSITIVE_INFINITY;
  for (let from = 0; from + width <= n; from += width)
    best = Math.min(best, levelBetween(values, from, from + width));
  const first = levelBetween(values, 0, Math.min(n, 3));
  const end = levelBetween(values, Math.max(0, n - 27), n);
  const last = Math.max(end, levelBetween(values, Math.max(0, n - 5), n));
  return last - best >= COARSE_SHARE * (first - best);
}

/**
 * The incident in which all that was learnt is lost, to the end; null without one, or where the band shows as much. It
 * begins where the band saw it begin, if that is earlier.
 */
function lostAllOf(
  values: Column,
  { class: found, incidents }: AttemptJudgement,
  { lostShare }: VerdictSettings,
): SeriesIncident | null {
  if (badness(found) >= badness('full-divergence')) return null;
  const last = excessesOf(values).at(-1);
  if (last === undefined || last.class !== 'full-divergence' || last.recovered !== null) return null;
  if (!(last.share >= lostShare - last.shareError)) return null;
  const lost = incidentOf(last, values);
  const led = incidents.find(({ onset, recovered }) => recovered === null && onset < lost.onset);
  return led === undefined ? lost : { ...led, class: lost.class, end: lost.end, after: lost.after };
}

/** Whether an incident is a rise like others of this series, which came back. Values that are not finite never are. */
const isUsual = (one: SeriesIncident, values: Column, { nonFinite }: AttemptJudgement): boolean =>
  one.byRatio &&
  nonFinite === 0 &&
  Number.isFinite(one.size) &&
  one.before > 0 &&
  comesAgain(values, one, one.recovered === null);

/** An excess in the terms of incidents. */
function incidentOf(excess: JudgedExcess, values: Column): SeriesIncident {
  const { class: found, onset, peak, end, recovered, isJump, levels, byRatio } = excess;
  return {
    class: found,
    form: isJump ? 'jump' : 'climb',
    onset,
    lastGood: onset > 0 ? onset - 1 : null,
    recovered,
    end,
    peak,
    before: levels.best,
    high: levels.edge,
    after: levels.last,
    size: byRatio ? values.at(peak)! / levels.best : excess.size,
    byRatio,
  };
}
