/** What a config says of one run. */
import { dirname, relative, resolve, sep } from 'node:path';
import { matchesGlob } from '../model/glob.ts';
import type { RunReport } from '../model/report.ts';
import type { GateConfig, RuleConfig } from './config.ts';

/**
 * The config's rules for a run: overrides apply in their order, the last one wins. A pattern may name the run, one of
 * its paths as given, or one as seen from the config: the same file has the same rules from every working folder.
 */
export function rulesFor(run: Pick<RunReport, 'id' | 'paths'>, config: GateConfig): RuleConfig[] {
  const rules = new Map(config.rules);
  const folder = config.path === null ? null : dirname(config.path);
  const names = [
    run.id,
    ...run.paths,
    ...(folder === null ? [] : run.paths.map((path) => relative(folder, resolve(path)).split(sep).join('/'))),
  ];
  for (const override of config.overrides)
    if (override.runs.some((pattern) => names.some((name) => matchesGlob(name, pattern))))
      for (const [id, rule] of override.rules) rules.set(id, rule);
  return [...rules.values()];
}

/** Ids of the rules that a config judges on any run at all. */
export const rulesAsked = (config: GateConfig): ReadonlySet<string> =>
  new Set(
    [config, ...config.overrides].flatMap(({ rules }) =>
      [...rules.values()].filter(({ severity }) => severity !== 'off').map(({ id }) => id),
    ),
  );
