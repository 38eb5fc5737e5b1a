/** What a config amounts to: rules of presets, of the file and of flags, the later ones on top. Needs no schema. */
import { dirname, resolve } from 'node:path';
import { AUDIT_RULE } from '../../judge/findings/audit-links.ts';
import { FINDINGS, ruleIdOf } from '../../judge/findings/registry.ts';
import { diagError } from '../../model/errors.ts';
import type { Thresholds } from '../../model/finding.ts';
import { nearest } from '../../model/nearest.ts';
import { VERDICT_CLASSES } from '../../model/report.ts';
import type { ConfigFile, RuleEntry } from './config-schema.ts';
import { PRESETS } from './presets.ts';
import { type RuleOptions, thresholdsIn } from './rule-options.ts';
import { parseThreshold, type Threshold } from './thresholds.ts';

/** A rule as it is judged. */
export interface RuleConfig {
  readonly id: string;
  readonly severity: 'off' | 'note' | 'warning' | 'error';
  readonly threshold: Threshold | null;
  /** Absolute path of the run that each run must be the same training as; left out of other rules. */
  readonly sameAs?: string;
  /** Findings that are allowed. */
  readonly max: number;
  readonly missing: 'error' | 'warn' | 'skip';
  readonly from: number;
  readonly to: number;
}

export interface GateConfig {
  /** Null where no file applies. */
  readonly path: string | null;
  readonly rules: ReadonlyMap<string, RuleConfig>;
  readonly overrides: readonly {
    readonly runs: readonly string[];
    readonly rules: ReadonlyMap<string, RuleConfig>;
    readonly thresholds: Thresholds;
  }[];
  /** Numbers in place of the defaults: of `rules`, and given by flags, which outrank all others. */
  readonly thresholds: Thresholds;
  readonly thresholdFlags: Thresholds;
  readonly aggregate: 'worst' | 'median' | 'mean' | 'best';
  /** Globs of files that may be left unread although they say that they are logs. */
  readonly unread: readonly string[] | 'ignore';
  /** Whether a text whose loss was found by its numbers alone is judged. */
  readonly acceptGuess: boolean;
  readonly expect: { readonly steps: number | null; readonly runs: number };
  readonly baseline: {
    readonly file: string;
    readonly tolerance: { readonly relative: number; readonly absolute: number };
    readonly severity: 'off' | 'note' | 'warning' | 'error';
    readonly ratchet: boolean;
  } | null;
}

/** A config that judges something. @throws gate-without-rules */
export function withRules(config: GateConfig): GateConfig {
  const { path } = config;
  const judged = [config, ...config.overrides].some((part) =>
    [...part.rules.values()].some((rule) => rule.severity !== 'off'),
  );
  if (!judged && (config.baseline === null || config.baseline.severity === 'off'))
    throw diagError(
      'gate-without-rules',
      { reason: config.rules.size === 0 ? 'the config has none' : 'the config turns all of them off' },
      path === null ? undefined : { path },
    );
  return config;
}

/** `same-as(PATH)`: relative to the config, of a flag to the working folder. */
const SAME_AS = /^same-as\((.+)\)$/s;

/** What a rule may forbid by its name: each kind of finding, the audit, and each class of verdict that is bad. */
export const RULE_IDS: readonly string[] = [
  ...new Set([
    ...Object.keys(FINDINGS),
    AUDIT_RULE,
    ...VERDICT_CLASSES.filter((name) => name !== 'healthy' && name !== 'inconclusive'),
  ]),
];

type Where = { readonly path: string } | undefined;

const optionsGiven = (entry: RuleEntry): { readonly severity: RuleConfig['severity'] } & RuleOptions =>
  typeof entry === 'string'
    ? { severity: entry }
    : 'severity' in entry
      ? entry
      : { severity: entry[0], ...entry[1] };

/** What is wrong with the options of a rule; null where nothing is. */
function wrongOptions(
  { max, from, to }: RuleOptions,
  kind: 'finding' | 'threshold' | 'same-as',
): string | null {
  if (kind === 'threshold' && max !== undefined) return '`max` is a budget of findings, a threshold has none';
  if (kind === 'same-as' && (max ?? from ?? to) !== undefined)
    return 'a comparison has neither a budget nor a window';
  return from !== undefined && to !== undefined && from > to
    ? `its window from ${from} to ${to} is empty`
    : null;
}

/** @throws config-bad-threshold, config-unknown-rule */
function ruleOf(id: string, entry: RuleEntry, missing: RuleConfig['missing'], where: Where): RuleConfig {
  const sameAs = SAME_AS.exec(id)?.[1]?.trim();
  const threshold = sameAs === undefined ? parseThreshold(id) : undefined;
  if (typeof threshold === 'string')
    throw diagError('config-bad-threshold', { rule: id, problem: threshold }, where);
  if (threshold === undefined && sameAs === undefined && !RULE_IDS.includes(id))
    throw diagError('config-unknown-rule', { rule: id, nearest: nearest(id, RULE_IDS) }, where);
  const given = optionsGiven(entry);
  const kind = sameAs !== undefined ? 'same-as' : threshold !== undefined ? 'threshold' : 'finding';
  const problem = wrongOptions(given, kind);
  if (problem !== null) throw diagError('config-bad-threshold', { rule: id, problem }, where);
  const { severity, max, missing: own, from, to } = given;
  const base: Omit<RuleConfig, 'id' | 'severity' | 'threshold'> = {
    max: 0,
    missing,
    from: Number.NEGATIVE_INFINITY,
    to: Number.POSITIVE_INFINITY,
  };
  return {
    ...base,
    severity,
    ...withoutUndefined({ max, missing: own, from, to }),
    id,
    threshold: threshold ?? null,
    ...(sameAs === undefined
      ? {}
      : { sameAs: resolve(where === undefined ? '.' : dirname(where.path), sameAs) }),
  };
}

/**
 * The file's rules on top of its presets, the flags' on top of both.
 *
 * @internal public types name no package that the user does not have
 */
export function resolveConfig(
  file: ConfigFile,
  path: string | null,
  flags: readonly string[],
  thresholdFlags: Thresholds,
): GateConfig {
  const inFile = path === null ? undefined : { path };
  const read = (
    entries: Iterable<readonly [string, RuleEntry]>,
    into: Map<string, RuleConfig>,
    where: { path: string } | undefined,
  ): void => {
    for (const [name, entry] of entries) {
      const rule = ruleOf(ruleIdOf(name), entry, file.missing ?? 'error', where);
      into.set(rule.id, rule);
    }
  };
  const rules = new Map<string, RuleConfig>();
  for (const name of [file.extends ?? []].flat()) read(Object.entries(PRESETS[name].rules), rules, inFile);
  read(Object.entries(file.rules ?? {}), rules, inFile);
  // A flag has no place in a file.
  read(
    flags.map((flag) => [flag, 'error'] as const),
    rules,
    undefined,
  );
  return {
    path,
    rules,
    thresholds: thresholdsIn(file.rules, 'rules', path),
    thresholdFlags,
    overrides: (file.overrides ?? []).map((override, i) => {
      const own = new Map<string, RuleConfig>();
      read(Object.entries(override.rules), own, inFile);
      return {
        runs: [override.runs].flat(),
        rules: own,
        thresholds: thresholdsIn(override.rules, `overrides.${i}.rules`, path),
      };
    }),
    aggregate: file.aggregate ?? 'worst',
    unread: file.unread ?? [],
    acceptGuess: file.acceptGuess ?? false,
    expect: { steps: file.expect?.steps ?? null, runs: file.expect?.runs ?? 1 },
    baseline:
      file.baseline === undefined
        ? null
        : {
            file: resolve(path === null ? '.' : dirname(path), file.baseline.file),
            tolerance: {
              relative: file.baseline.tolerance?.relative ?? 0,
              absolute: file.baseline.tolerance?.absolute ?? 0,
            },
            severity: file.baseline.severity ?? 'error',
            ratchet: file.baseline.ratchet ?? true,
          },
  };
}

/** zod's optional keys without their `undefined`, so that they cannot cover a default. */
const withoutUndefined = <T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
