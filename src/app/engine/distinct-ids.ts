/** Two runs of one report never share a name: a baseline, a rule, `--run` and a reader tell them apart by it. */
import { resolve, sep } from 'node:path';
import type { LogInput } from '../../model/log.ts';
import type { Run } from '../../model/run.ts';

/** How many parts all of them begin with, at most `limit`. */
function commonStart(all: readonly (readonly string[])[], limit = Number.POSITIVE_INFINITY): number {
  const [first = []] = all;
  let count = 0;
  while (count < Math.min(limit, first.length) && all.every((one) => one[count] === first[count])) count++;
  return count;
}

/**
 * Puts in front of the ids that several runs have the folders in which their paths differ: `log.csv` of two folders becomes
 * `a/log.csv` and `b/log.csv`. Ids that are unique stay as they are, and so does a file that was named twice.
 */
export function distinctIds(logs: readonly LogInput[]): readonly LogInput[] {
  const byId = new Map<string, Set<string>>();
  const pathOf = (run: Run): string => resolve(run.paths[0] ?? '');
  for (const run of logs.flatMap((log) => log.runs)) {
    const paths = byId.get(run.id) ?? new Set();
    byId.set(run.id, paths.add(pathOf(run)));
  }
  const renamed = new Map<string, Map<string, string>>();
  for (const [id, paths] of byId) {
    if (paths.size < 2) continue;
    const all = [...paths].map((path) => path.split(sep));
    const shortest = Math.min(...all.map((parts) => parts.length));
    const start = commonStart(all, shortest);
    const end = commonStart(
      all.map((parts) => parts.toReversed()),
      shortest - start,
    );
    renamed.set(
      id,
      new Map(
        [...paths].map((path, i) => {
          const parts = all[i]!;
          return [path, [...parts.slice(start, parts.length - end), id].join('/')];
        }),
      ),
    );
  }
  if (renamed.size === 0) return logs;
  return logs.map((log) => ({
    ...log,
    runs: log.runs.map((run) => ({ ...run, id: renamed.get(run.id)?.get(pathOf(run)) ?? run.id })),
  }));
}
