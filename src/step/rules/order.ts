/** A rule in words, for a reader who knows none by its id. */
import { DiagError } from '../../model/errors.ts';
import type { RuleChoice, RulePart } from './choice.ts';
import { parseRule } from './parse.ts';

function orderOf({ rule, options, preset, label }: RulePart): string {
  const order = rule.order(options, preset);
  // Options that have to be named are not in the words.
  return label.includes('=') ? `${order} (${label})` : order;
}

/**
 * A rule as an order: `clip the gradient norm at 1` for `global-norm:1`.
 *
 * @param label as `--rule` takes it; of a newer report it may be unknown here. Untrusted text.
 */
export function ruleOrder(label: string): string {
  let choices: RuleChoice[];
  try {
    choices = parseRule(label);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return `clip with ${label}`;
  }
  return choices.length === 1 ? choices[0]!.parts.map(orderOf).join(' and ') : `clip with ${label}`;
}
