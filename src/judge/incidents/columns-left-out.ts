/**
 * Columns that are a loss by their name, that were judged as a part of the whole loss, and that no part of it can be.
 *
 * Parts explain and the whole decides: a term may be switched on late, begin at nearly zero and grow, or be one of twenty.
 * One that once stood at the level of the whole, and ends far above both that level and the whole, is in no sum that ends
 * where the whole does. What it is cannot be known from the log, so that nobody may call the run healthy by the whole alone.
 */
import { upperBound } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { DISCRIMINATOR, GENERATOR, REGULARIZER, wordsOf } from '../../model/words.ts';
import { reaches } from './signs.ts';

/** How many times its level, and the level of the whole, a column ends at that is no part: our number. */
const NO_PART = 10;
/** Share of the whole from which a column had a level: below it a term was off, or began low. Our number. */
const HAD_A_LEVEL = 0.1;
/** Points of one level: most of them have to agree. */
const OF_A_LEVEL = 5;
/** Levels that are looked at, spread over an attempt of any length. */
const LEVELS = 50;

const finiteMedian = (values: TimeSeries['value']): number => medianOf([...values].filter(Number.isFinite));

/** The level of a series about a step of its attempt. */
function levelAbout(series: TimeSeries, step: number): number {
  const until = Math.max(upperBound(series.step, step), Math.min(OF_A_LEVEL, series.value.length));
  return finiteMedian(series.value.subarray(Math.max(0, until - OF_A_LEVEL), until));
}

/** A term whose size is weighed against what is learnt, by its name: its level may be any. */
const isTermOfItsOwn = ({ name }: TimeSeries): boolean =>
  wordsOf(name).some((word) => REGULARIZER.test(word) || GENERATOR.test(word) || DISCRIMINATOR.test(word));

/** The lowest level that the column had while it was no small part of the whole, and its step. */
function levelBefore(part: TimeSeries, whole: TimeSeries): { readonly level: number; readonly step: number } {
  let lowest = { level: Number.POSITIVE_INFINITY, step: 0 };
  const count = Math.min(LEVELS, Math.floor(part.value.length / OF_A_LEVEL));
  for (let k = 1; k <= count; k++) {
    const step = part.step.at(Math.floor((k * part.value.length) / count) - 1)!;
    const level = levelAbout(part, step);
    if (level > 0 && level >= HAD_A_LEVEL * levelAbout(whole, step) && level < lowest.level)
      lowest = { level, step };
  }
  return lowest;
}

/**
 * What a run may not be called healthy without: the first column of that kind in its last attempt.
 *
 * @param judged the series behind the verdict
 * @returns a sentence that names the column; null where every column that nobody judged can be a part of the loss
 */
export function columnLeftOut(run: Run, judged: readonly TimeSeries[]): string | null {
  const total = judged.find(({ role }) => role === 'loss');
  if (total === undefined) return null;
  const last = run.attempts.length - 1;
  const whole = attemptOf(total, last);
  const wholeEnd = levelAbout(whole, Number.POSITIVE_INFINITY);
  for (const series of run.series) {
    if (series.lossLike !== 'part' || judged.includes(series) || isTermOfItsOwn(series)) continue;
    const part = attemptOf(series, last);
    if (part.value.length < 2 * OF_A_LEVEL || !reaches(run, total, part.step.at(-1)!)) continue;
    const end = levelAbout(part, Number.POSITIVE_INFINITY);
    if (!(wholeEnd > 0 && end >= NO_PART * wholeEnd)) continue;
    const before = levelBefore(part, whole);
    if (end >= NO_PART * before.level)
      return `"${series.name}" ends at ${formatNumber(end, 'brief')}, up from ${formatNumber(before.level, 'brief')} at ${run.stepUnit} ${before.step}, and is no part of "${total.name}", which ends at ${formatNumber(wholeEnd, 'brief')}`;
  }
  return null;
}
