/** What became of a rule on one run, before the seeds of a setting are joined. */
import type { GateRule, RuleStatus } from '../../model/gate.ts';
import type { ChartSeries } from '../../model/report.ts';
import type { TimeSeries } from '../../model/run.ts';
import type { RuleConfig } from './resolve-config.ts';
import { touches } from './thresholds.ts';

export type Judged = Omit<GateRule, 'id' | 'severity' | 'passed' | 'run'>;
/** `missing`: there is nothing that the rule could be judged on; the config says what that means. */
export type Judgement = Judged | { readonly missing: string };

export const inconclusive = (expected: string, series: string | null, message: string): Judged => ({
  status: 'inconclusive',
  expected,
  found: null,
  series,
  step: null,
  message,
  locations: [],
});

export const windowOf = ({ from, to }: RuleConfig): string =>
  from === Number.NEGATIVE_INFINITY && to === Number.POSITIVE_INFINITY
    ? ''
    : ` from step ${from === Number.NEGATIVE_INFINITY ? 'the first' : from} to ${to === Number.POSITIVE_INFINITY ? 'the last' : to}`;

/**
 * Why a rule with a window cannot be judged on series: none of them has a step in it, or it takes points and there are
 * none. Null where it can be, or has no window.
 *
 * @param logged the points of these series; null where a saved report did not keep them
 */
export function notInWindow(
  rule: RuleConfig,
  series: readonly Pick<ChartSeries, 'firstStep' | 'lastStep'>[],
  logged: readonly Pick<TimeSeries, 'step'>[] | null,
): string | null {
  if (windowOf(rule) === '') return null;
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { firstStep, lastStep } of series) {
    for (const step of firstStep) if (step < first) first = step;
    for (const step of lastStep) if (step > last) last = step;
  }
  if (!touches(first, last, rule.from, rule.to))
    return first <= last
      ? `there are steps ${first} to ${last}, and none${windowOf(rule)}`
      : 'there are no steps';
  if (logged === null)
    return first >= rule.from && last <= rule.to
      ? null
      : 'a saved report keeps no points, so a step window cannot be judged on it; gate the log itself';
  // Steps 0 and 1 touch a window from 0.1 to 0.9, and none of them is in it.
  const isInside = ({ step }: Pick<TimeSeries, 'step'>): boolean =>
    step.some((at) => touches(at, at, rule.from, rule.to));
  return logged.some(isInside)
    ? null
    : `there are steps ${first} to ${last}, and none${windowOf(rule)} at which this was logged`;
}

export const asJudged = (judgement: Judgement, rule: RuleConfig): Judged =>
  'missing' in judgement ? inconclusive(rule.id + windowOf(rule), null, judgement.missing) : judgement;

const ORDER: readonly RuleStatus[] = ['pass', 'inconclusive', 'fail'];

/** The first of the worst: a failure outranks what could not be judged. */
export const worst = (judged: readonly Judged[]): Judged =>
  judged.reduce((a, b) => (ORDER.indexOf(b.status) > ORDER.indexOf(a.status) ? b : a));
