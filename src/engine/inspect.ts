/** What `inspect` shows: the content of every input, by kind. The names of the fields are a contract (docs/json.md). */

import { checkpointRuns } from '../findings/checkpoint-run.ts';
import type { InspectedCheckpoint } from '../model/checkpoint.ts';
import { DiagError } from '../model/errors.ts';
import type { InspectedLog, InspectedSeries, Inspection } from '../model/inspection.ts';
import type { LogInput } from '../model/log.ts';
import { countNonFinite } from '../model/order-statistics.ts';
import type { TimeSeries } from '../model/run.ts';
import { inspectFile } from './checkpoint-inspect.ts';
import { trajectoryOf } from './checkpoint-trajectory.ts';
import { type CollectOptions, type Inputs, withInputs } from './collect.ts';

export interface InspectOptions extends CollectOptions {
  /** Read the headers of checkpoints only: names, types and shapes, no statistics. */
  readonly listOnly?: boolean;
}

/** Reads the paths and describes what is in them; a kind of input is one line here. @throws usage and config errors */
export const inspectInputs = (paths: readonly string[], options: InspectOptions): Promise<Inspection> =>
  withInputs(paths, options, (found) => inspectionOf(found, options.listOnly === true));

async function inspectionOf(found: Inputs, listOnly: boolean): Promise<Inspection> {
  const errors = [...found.errors];
  const checkpoints: InspectedCheckpoint[] = [];
  for (const file of found.checkpoints)
    try {
      checkpoints.push(await inspectFile(file, listOnly, found.checkpoints));
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      errors.push(error);
    }
  const runs = listOnly ? [] : checkpointRuns(checkpoints).filter((run) => run.length > 1);
  return {
    inputs: [...found.logs.map(inspectLog), ...checkpoints],
    trajectories: runs.map(trajectoryOf),
    skipped: found.skipped,
    errors,
  };
}

const inspectLog = (log: LogInput): InspectedLog => ({
  path: log.path,
  kind: log.kind,
  format: log.format,
  sha256: log.sha256,
  errors: log.errors,
  kept: log.kept,
  lost: log.lost,
  unreadBytes: log.unreadBytes,
  ...(log.files === undefined ? {} : { files: log.files.map(({ path, sha256 }) => ({ path, sha256 })) }),
  runs: log.runs.map((run) => ({
    id: run.id,
    attempts: run.attempts.length,
    stepUnit: run.stepUnit,
    paths: run.paths,
    notes: run.notes,
    hyperparameters: run.hyperparameters,
    series: run.series.map(inspectSeries),
  })),
});

function inspectSeries(series: TimeSeries): InspectedSeries {
  const { step, value } = series;
  const counts = countNonFinite(value);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < value.length; k++) {
    const x = value[k]!;
    if (!Number.isFinite(x)) continue;
    if (x < min) min = x;
    if (x > max) max = x;
  }
  const finite = counts.nan + counts.posInf + counts.negInf < value.length;
  return {
    name: series.name,
    role: series.role,
    ...(series.task === undefined ? {} : { task: series.task }),
    points: value.length,
    firstStep: step[0] ?? Number.NaN,
    lastStep: step.at(-1) ?? Number.NaN,
    first: value[0] ?? Number.NaN,
    last: value.at(-1) ?? Number.NaN,
    min: finite ? min : null,
    max: finite ? max : null,
    ...counts,
  };
}
