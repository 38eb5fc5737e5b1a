/** The config that a parsed file amounts to: checked by its schema, whose library nobody without a file waits for. */
import type { Thresholds } from '../../model/finding.ts';
import { parseConfig } from './config-schema.ts';
import { type GateConfig, resolveConfig, withRules } from './resolve-config.ts';

/**
 * The config that a parsed file amounts to.
 *
 * @throws config-invalid, config-unknown-rule, config-bad-threshold, gate-without-rules
 */
export function gateConfigFrom(
  value: unknown,
  { path = null, rules = [] }: { path?: string | null; rules?: readonly string[] } = {},
): GateConfig {
  return withRules(configFrom(path, value, rules));
}

/**
 * The same, of a config that may have no rules: it may have thresholds, which other commands take too.
 *
 * @throws what {@link gateConfigFrom} throws, but for gate-without-rules
 */
export const configFrom = (
  path: string | null,
  value: unknown,
  rules: readonly string[] = [],
  thresholds: Thresholds = {},
): GateConfig => resolveConfig(parseConfig(value, path), path, rules, thresholds);
