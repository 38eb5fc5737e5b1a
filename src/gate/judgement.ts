/** What became of a rule on one run, before the seeds of a setting are joined. */
import type { GateRule, RuleStatus } from '../model/gate.ts';
import type { RuleConfig } from './config.ts';

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

export const asJudged = (judgement: Judgement, rule: RuleConfig): Judged =>
  'missing' in judgement ? inconclusive(rule.id + windowOf(rule), null, judgement.missing) : judgement;

const ORDER: readonly RuleStatus[] = ['pass', 'inconclusive', 'fail'];

/** The first of the worst: a failure outranks what could not be judged. */
export const worst = (judged: readonly Judged[]): Judged =>
  judged.reduce((a, b) => (ORDER.indexOf(b.status) > ORDER.indexOf(a.status) ? b : a));
