/** The settings in which two runs differ. */

import type { Cell } from '../../model/cell.ts';
import type { RunComparison } from '../../model/comparison.ts';

/** What names the run and not its settings: it differs between any two. */
const OF_THE_RUN =
  /(^|[._/])(run_?(id|name)|id|name|start(ed)?_?(at|time)?|time|date|host(name)?|pid|output_dir|logdir|log_dir|save_dir|session)$/i;

export function settingsThatDiffer(
  a: ReadonlyMap<string, Cell>,
  b: ReadonlyMap<string, Cell>,
): RunComparison['settings'][number][] {
  // Where one run has no settings, nothing is known to differ.
  if (a.size === 0 || b.size === 0) return [];
  const keys = [...new Set([...a.keys(), ...b.keys()])].sort();
  return keys
    .filter((key) => !OF_THE_RUN.test(key) && !Object.is(a.get(key) ?? null, b.get(key) ?? null))
    .map((key) => ({ key, a: a.get(key) ?? null, b: b.get(key) ?? null }));
}
