/** The batches that a data loader should leave out, where leaving them out was tried and holds. */
import { toJson } from '../model/json.ts';
import type { SkippedRows } from '../model/replay.ts';
import type { Report } from '../model/report.ts';
import type { ReportFormat } from './format.ts';

/** What a loader reads: steps ascending; the ids of their batches where the recorder was given them for every one. */
export interface SkipList {
  readonly version: 1;
  readonly steps: readonly number[];
  readonly batchIds: readonly (number | string)[] | null;
  /** Rows to leave out of their batches, where that was tried and holds; such batches are not among the steps. */
  readonly rows?: readonly SkippedRows[];
}

/** The list of the run that the report's verdict is of; without a try that holds no step is on it. */
export function skipListOf({ verdict, runs }: Report): SkipList {
  const run = runs.find(({ id }) => id === verdict.run);
  // The first that holds: rows before whole batches.
  const found = run?.remedies?.find(
    ({ action, holds }) => (action === 'skip-rows' || action === 'skip-batches') && holds === true,
  );
  if (found?.skipRows) return { version: 1, steps: [], batchIds: null, rows: found.skipRows };
  const arm = found && run!.replay.find((entry) => entry.arm?.kind === 'skip-batches')?.arm;
  return { version: 1, steps: arm?.steps ?? [], batchIds: arm?.batchIds ?? null };
}

export const skipList: ReportFormat = {
  id: 'skip-list',
  title: 'JSON of the batches to leave out, for a data loader',
  render: (report) => `${toJson(skipListOf(report))}\n`,
};
