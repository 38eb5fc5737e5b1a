/** The judge of one attempt of one series: what its excesses over the best level so far amount to. */
import { type Column, readerOf } from '../../model/column.ts';
import { type AttemptJudgement, type SeriesIncident, worstOf } from './judge.ts';
import { type JudgedExcess, judgeLevels } from './judge-points.ts';
import type { VerdictSettings } from './settings.ts';

/** What a series is, as far as its judge has to know. */
export interface Asked {
  /** Whether a level that rises is worth a word: where not, an end that is not a number begins where the numbers end. */
  readonly levelSays: boolean;
  /**
   * Whether it is the whole loss of supervised training, whose first level is that of a net that has learnt nothing. Parts of
   * a loss, evaluations, policy and adversarial losses begin low and grow.
   */
  readonly isWhole: boolean;
  /** Level errors that an excess has to exceed, where they are not `NUMBERS.errors`. */
  readonly errors?: number;
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
  { levelSays, isWhole, errors }: Asked,
): AttemptJudgement {
  const { excesses, usual, spikes, band } = judgeLevels(values, settings, isWhole, errors);
  const incidents = excesses.map((one) => incidentOf(one, values, levelSays));
  const at = readerOf(values);
  let nonFinite = 0;
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(at(i))) nonFinite++;
  const enough = values.length - nonFinite >= settings.minimumPoints;
  return {
    points: values.length,
    nonFinite,
    class: worstOf(incidents)?.class ?? (enough ? 'healthy' : 'inconclusive'),
    incidents,
    spikes: spikes.filter(({ index }) => incidents.every(({ onset, end }) => index < onset || index >= end)),
    ...(usual === 0 ? {} : { usual }),
    band,
  };
}

/** An excess in the terms of incidents. */
function incidentOf(excess: JudgedExcess, values: Column, levelSays: boolean): SeriesIncident {
  const { class: found, peak, recovered, settled, isJump, levels, byRatio } = excess;
  const onset = !levelSays && found === 'non-finite' ? excess.lastFinite + 1 : excess.onset;
  const most = values.at(peak)!;
  return {
    class: found,
    form: isJump ? 'jump' : 'climb',
    onset,
    lastGood: onset > 0 ? onset - 1 : null,
    recovered,
    end: recovered ?? (settled ? excess.end : values.length),
    peak,
    before: levels.best,
    high: levels.edge,
    after: levels.last,
    size: !Number.isFinite(most) ? Number.POSITIVE_INFINITY : byRatio ? most / levels.best : excess.size,
    byRatio,
  };
}
