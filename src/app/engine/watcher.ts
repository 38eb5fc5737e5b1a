/** What the watch of a file and that of a folder share. */
import { dirname } from 'node:path';
import { joinThresholds, readThresholds } from '../../judge/findings/thresholds.ts';
import type { LogInput } from '../../model/log.ts';
import type { Report } from '../../model/report.ts';
import { finishRun } from '../../read/logs/finish-run.ts';
import { finishLog, joinLogs, type RawLog } from '../../read/logs/read-log.ts';
import { readSidecars } from '../../read/logs/sidecars.ts';
import type { AnalyzeOptions } from './analyze.ts';

export interface Watcher {
  /** Looks at the log; the report of what it holds so far if that changed, else undefined. */
  look(): Promise<Report | undefined>;
  /** The last report, made as `analyze` makes it. @throws what made the log unreadable, where it never was readable */
  finish(): Promise<Report>;
  /** Whether the last report shows an older state of this file, which was moved again and again while it was read. */
  moves?(path: string): boolean;
  close(): Promise<void>;
}

/** A run that goes on may come back: two points of a young one are not its end, and a slow start is not one that never learned (docs/adr/0018-a-young-run-goes-on.md). */
const GOES_ON = readThresholds({
  'never-learned': { learntPoints: 500 },
});

/** To judge a run by that goes on; what the user gave wins. */
export function whileItGoesOn(options: AnalyzeOptions): AnalyzeOptions {
  const { thresholds = {} } = options;
  return {
    ...options,
    thresholds: (run) =>
      joinThresholds(
        GOES_ON,
        typeof thresholds === 'function' ? thresholds(run) : readThresholds(thresholds),
      ),
  };
}

/** One log of what a file held one after the other, oldest first. */
export async function joinedLog(
  path: string,
  id: string,
  raws: readonly RawLog[],
  options: AnalyzeOptions,
): Promise<LogInput> {
  const [first] = raws;
  if (raws.length === 1) return finishLog(first!, { ...options, id });
  const sidecars = await readSidecars(dirname(path));
  const parts = raws.flatMap(({ runs }) => runs.map((run) => ({ path, run })));
  const run = finishRun(
    id,
    parts,
    first!.format,
    options.roles ?? new Map(),
    sidecars.hyperparameters,
    sidecars.notes,
  );
  // The last record of a file that was moved away is not waited for.
  return { ...joinLogs(path, raws, run), unreadBytes: raws.at(-1)!.unreadBytes };
}
