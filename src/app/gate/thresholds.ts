/**
 * Thresholds of a gate (`p95(grad_norm) < 5`) and every comparison that decides about pass or fail. All of them fail
 * on NaN and on ±Infinity. Imports nothing at run time, so that a test can run this very file with its operators
 * changed and see that each change is noticed.
 */
import type { SeriesStatistics } from '../../model/report.ts';

export const STATISTICS = [
  'p50',
  'p90',
  'p95',
  'p99',
  'mean',
  'min',
  'max',
  'first',
  'last',
  'count',
  'nan',
  'missing',
  'refused',
] as const;
export type Statistic = (typeof STATISTICS)[number];

/** Statistics that count, and that only grow as a run goes on. */
const COUNTS: ReadonlySet<Statistic> = new Set(['count', 'nan', 'missing', 'refused']);

export const OPERATORS = ['<=', '>=', '==', '!=', '<', '>'] as const;
export type Operator = (typeof OPERATORS)[number];

export interface Threshold {
  readonly statistic: Statistic;
  /** Name of a series as logged, a role, or a glob over names. Untrusted text. */
  readonly metric: string;
  readonly operator: Operator;
  readonly limit: number;
}

/** Characters of the longest threshold that is read: a name of a series in it may be long. */
const LONGEST = 1000;
const THRESHOLD = /^\s*([a-z]\w*)\s*\(\s*(.+?)\s*\)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*$/su;

/**
 * Reads `statistic(metric) operator number`; the metric may be in double quotes.
 *
 * @returns the threshold, or a sentence that says what is wrong with it; undefined for text that is no threshold
 */
export function parseThreshold(text: string): Threshold | string | undefined {
  // The search for the closing bracket costs more than the length of a text.
  if (text.length > LONGEST) return `it is longer than ${LONGEST} characters`;
  const match = THRESHOLD.exec(text);
  if (match === null)
    return /[()<>=]/.test(text) ? 'expected `statistic(metric) operator number`' : undefined;
  const [, statistic = '', quoted = '', operator = '', number = ''] = match;
  if (!(STATISTICS as readonly string[]).includes(statistic))
    return `"${statistic}" is no statistic; there are ${STATISTICS.join(', ')}`;
  // Number('') is 0 and Number('0x10') is 16: only decimal numbers are meant.
  const limit = /^[-+]?(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?$/i.test(number) ? Number(number) : Number.NaN;
  if (!Number.isFinite(limit)) return `"${number}" is no finite number`;
  return {
    statistic: statistic as Statistic,
    metric: /^".*"$/s.test(quoted) ? quoted.slice(1, -1) : quoted,
    operator: operator as Operator,
    limit,
  };
}

/** Whether `value operator limit` holds; false whenever one of them is not finite. */
export function holds(value: number, operator: Operator, limit: number): boolean {
  if (!Number.isFinite(value) || !Number.isFinite(limit)) return false;
  switch (operator) {
    case '<':
      return value < limit;
    case '<=':
      return value <= limit;
    case '>':
      return value > limit;
    case '>=':
      return value >= limit;
    case '==':
      return value === limit;
    case '!=':
      return value !== limit;
  }
}

/**
 * Whether a threshold that fails now fails for ever, however the run goes on: a maximum never falls again. Decides
 * between "failed" and "inconclusive" for a run that is not complete.
 */
export function failsForGood({ statistic, operator }: Pick<Threshold, 'statistic' | 'operator'>): boolean {
  if (statistic === 'first') return true;
  if (COUNTS.has(statistic) || statistic === 'max') return operator === '<' || operator === '<=';
  return statistic === 'min' && (operator === '>' || operator === '>=');
}

/** Whether steps [first, last] touch the window [from, to]; ends included. */
export const touches = (first: number, last: number, from: number, to: number): boolean =>
  last >= from && first <= to;

/**
 * Whether a value is worse than its baseline by more than the tolerance, `absolute + relative·|base|`. NaN on either
 * side is worse.
 */
export function isWorse(
  value: number,
  base: number,
  better: 'lower' | 'higher',
  tolerance: { readonly absolute: number; readonly relative: number },
): boolean {
  const slack = tolerance.absolute + tolerance.relative * Math.abs(base);
  return better === 'lower' ? !holds(value, '<=', base + slack) : !holds(value, '>=', base - slack);
}

/**
 * Steps that a run has done, from its first and last logged step and the usual gap between two: steps 0…999 and
 * 1…1000 are both 1,000 steps, and so are 0, 100, … 900.
 */
export const stepsDone = (first: number, last: number, gap: number): number =>
  Math.max(last, last - first + gap);

/** Whether a run that has done `done` steps has done the expected number. */
export const isComplete = (done: number, expected: number): boolean => holds(done, '>=', expected);

/**
 * The number that a threshold compares; NaN where a value it would use is not finite, undefined without points, and for
 * cells that a report does not tell. `nan` counts ±Infinity too; non-finite values leave only the counts, `first` and
 * `last` defined.
 */
export function statisticOf(statistics: SeriesStatistics, statistic: Statistic): number | undefined {
  const nonFinite = statistics.nan + statistics.posInf + statistics.negInf;
  if (statistic === 'count') return statistics.points;
  if (statistic === 'missing' || statistic === 'refused') return statistics[statistic];
  if (statistics.points === 0) return undefined;
  if (statistic === 'nan') return nonFinite;
  if (statistic === 'first' || statistic === 'last') return statistics[statistic];
  return nonFinite > 0 ? Number.NaN : (statistics[statistic] ?? Number.NaN);
}
