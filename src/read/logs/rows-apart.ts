/**
 * Tables with a column called a loss whose rows are not steps of one training: the trials of a search, the places of
 * a leaderboard, the days of a calendar.
 */
import type { StepUnit } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import type { LoggedSeries } from './format.ts';

/** Names of a column that numbers things with a row each: `trial_number`, `rank`. */
const THING = /^(?:trial|rank|place|team|candidate)$/;
const NUMBER = /^(?:number|num|no|id|index|idx)$/;
const isThing = (name: string): boolean => {
  const [first, ...rest] = wordsOf(name);
  return first !== undefined && THING.test(first) && rest.every((word) => NUMBER.test(word));
};
/** A day without a time: training logs more than one row of it. */
const DAY = /^(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}\/\d{1,2}\/\d{2,4}|\d{1,2}\.\d{1,2}\.\d{4})$/;
const CLOCK = /^(?:time|timestamp|elapsed|wall|walltime|duration|hour|seconds)$/;

/** The column that identifies each row as a separate thing; undefined where the rows may be one training. */
export function rowsApart(series: readonly LoggedSeries[], stepUnit: StepUnit): string | undefined {
  if (stepUnit !== 'row') return undefined;
  const numbered = series.find(({ name, value }) => {
    if (!isThing(name) || value.length < 2) return false;
    const seen = new Set<number>();
    return value.every((one) => !seen.has(one) && seen.add(one) !== undefined);
  });
  if (numbered !== undefined) return numbered.name;
  const hasClock = series.some(({ name }) => wordsOf(name).some((word) => CLOCK.test(word)));
  return series.find(
    ({ name, value, refused, firstRefused }) =>
      !hasClock &&
      /^(?:date|day)$/i.test(name) &&
      refused > value.length &&
      DAY.test(firstRefused?.text ?? ''),
  )?.name;
}
