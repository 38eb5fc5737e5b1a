/** The options of a rule, and the thresholds of findings among them. */
import { FINDINGS } from '../../judge/findings/registry.ts';
import { readThresholds } from '../../judge/findings/thresholds.ts';
import type { Thresholds } from '../../model/finding.ts';

/** What a rule may say as well as its severity. */
export interface RuleOptions {
  readonly max?: number | undefined;
  readonly missing?: 'error' | 'warn' | 'skip' | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}
const RULE_OPTIONS = ['max', 'missing', 'from', 'to'] as const satisfies readonly (keyof RuleOptions)[];
const isRuleOption = (name: string): boolean => (RULE_OPTIONS as readonly string[]).includes(name);

/** The options of an entry: the second of a pair, or the members other than `severity`. */
const optionsOf = (entry: unknown): Readonly<Record<string, unknown>> => {
  const found: unknown = Array.isArray(entry) ? entry[1] : entry;
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
};

/**
 * The thresholds among the options of rules, wherever in the config the rules are.
 *
 * Looked for before the form is checked: for a name that does not exist the message then names the nearest one.
 *
 * @throws threshold-unknown, threshold-range, threshold-conflict
 */
export function thresholdsIn(rules: unknown, place: string, path: string | null): Thresholds {
  if (typeof rules !== 'object' || rules === null) return {};
  const given = Object.entries(rules)
    .filter(([id]) => Object.hasOwn(FINDINGS, id))
    .map(([id, entry]): [string, Record<string, unknown>] => [
      id,
      Object.fromEntries(
        Object.entries(optionsOf(entry)).filter(([name]) => name !== 'severity' && !isRuleOption(name)),
      ),
    ]);
  return readThresholds(Object.fromEntries(given), {
    at: (finding, name) => `${place}.${finding}.${name}`,
    also: RULE_OPTIONS,
    ...(path === null ? {} : { where: { path } }),
  });
}
