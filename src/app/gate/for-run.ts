/** What a config says of one run. */
import { dirname, relative, resolve, sep } from 'node:path';
import { findingsOfRule } from '../../judge/findings/registry.ts';
import {
  areSame,
  joinThresholds,
  resolveThresholds,
  tellThresholds,
} from '../../judge/findings/thresholds.ts';
import type { Thresholds } from '../../model/finding.ts';
import { matchesGlob } from '../../model/glob.ts';
import type { RunReport } from '../../model/report.ts';
import type { GateConfig, RuleConfig } from './resolve-config.ts';

/**
 * The config's rules for a run: overrides apply in their order, the last one wins. A pattern may name the run, one of
 * its paths as given, or one as seen from the config: the same file has the same rules from every working folder.
 */
export function rulesFor(run: RunPlace, config: GateConfig): RuleConfig[] {
  const rules = new Map(config.rules);
  for (const override of overridesFor(run, config))
    for (const [id, rule] of override.rules) rules.set(id, rule);
  return [...rules.values()];
}

/** The config's thresholds for a run: those of `rules`, then of overrides in their order, then of flags; later ones win. */
export const thresholdsFor = (run: RunPlace, config: GateConfig): Thresholds =>
  joinThresholds(
    config.thresholds,
    ...overridesFor(run, config).map(({ thresholds }) => thresholds),
    config.thresholdFlags,
  );

type RunPlace = Pick<RunReport, 'id' | 'paths'>;

/** What a pattern of a config may name paths by: as they were given, and as seen from the folder of the config. */
const namesOf = (paths: readonly string[], { path: config }: Pick<GateConfig, 'path'>): string[] => [
  ...paths,
  ...(config === null
    ? []
    : paths.map((path) => relative(dirname(config), resolve(path)).split(sep).join('/'))),
];

/** Whether a config allows that a file which says log was not read. */
export const mayBeUnread = (path: string, config: Pick<GateConfig, 'path' | 'unread'>): boolean =>
  config.unread === 'ignore' ||
  namesOf([path], config).some((name) =>
    (config.unread as readonly string[]).some((pattern) => matchesGlob(name, pattern)),
  );

function overridesFor(run: RunPlace, config: GateConfig): GateConfig['overrides'] {
  const names = [run.id, ...namesOf(run.paths, config)];
  return config.overrides.filter((override) =>
    override.runs.some((pattern) => names.some((name) => matchesGlob(name, pattern))),
  );
}

/** Why what a report found says nothing to a config: it was made with other thresholds; null where they are the same. */
export function otherThresholds(report: RunReport, config: GateConfig): string | null {
  const { thresholds: made = {} } = report;
  const asked = resolveThresholds(thresholdsFor(report, config)).changed;
  if (areSame(made, asked)) return null;
  const tell = (numbers: Thresholds): string => tellThresholds(numbers) || 'the default thresholds';
  return `the report was made with ${tell(made)}, the gate asks for ${tell(asked)}: analyze the inputs again`;
}

/** Kinds of findings, and thresholds, that the rules of a config ask for on any run at all. */
export const rulesAsked = (config: GateConfig): ReadonlySet<string> =>
  new Set(
    [config, ...config.overrides].flatMap(({ rules }) =>
      [...rules.values()].flatMap(({ id, severity }) => (severity === 'off' ? [] : findingsOfRule(id))),
    ),
  );
