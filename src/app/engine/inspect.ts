/** What `inspect` shows: the content of every input, by kind. The names of the fields are a contract (docs/json.md). */

import { DiagError } from '../../model/errors.ts';
import type { InspectedCapture, InspectedLog, InspectedSeries, Inspection } from '../../model/inspection.ts';
import { type LogInput, readByOf } from '../../model/log.ts';
import type { TimeSeries } from '../../model/run.ts';
import { unorderedStatistics } from '../../model/series-summary.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { OnEntries } from './checkpoint-inspect.ts';
import { type CollectOptions, type Inputs, withInputs } from './collect.ts';

export interface InspectOptions extends CollectOptions {
  /** Read the headers of checkpoints only: names, types and shapes, no statistics. */
  readonly listOnly?: boolean;
  /** Called for checkpoints whose entries are read. */
  readonly onEntries?: OnEntries;
}

/** Reads the paths and describes what is in them; a kind of input is one line here. @throws usage and config errors */
export const inspectInputs = (paths: readonly string[], options: InspectOptions): Promise<Inspection> =>
  withInputs(paths, options, (found) => inspectionOf(found, options));

async function inspectionOf(
  found: Inputs,
  { listOnly = false, onEntries }: InspectOptions,
): Promise<Inspection> {
  const errors = [...found.errors];
  /** A coded error is one of that input, not of the others. */
  const each = async <From, To>(all: readonly From[], look: (one: From) => Promise<To>): Promise<To[]> => {
    const seen: To[] = [];
    for (const one of all)
      try {
        seen.push(await look(one));
      } catch (error) {
        if (!(error instanceof DiagError)) throw error;
        errors.push(error);
      }
    return seen;
  };
  // Readers of checkpoints and captures are loaded where there are some.
  const checkpoints = await each(found.checkpoints, async (file) => {
    const { inspectFile } = await import('./checkpoint-inspect.ts');
    return inspectFile(file, listOnly, found.checkpoints, onEntries);
  });
  const captures = await each(found.captures, async (path) => {
    const { openCapture } = await import('../../read/captures/read.ts');
    return inspectCapture(await openCapture(path));
  });
  return {
    inputs: [...found.logs.map(inspectLog), ...checkpoints, ...captures],
    hyperparameterFiles: found.sidecars.map(({ path, account, problem }) => ({ path, account, problem })),
    trajectories:
      listOnly || checkpoints.length === 0
        ? []
        : (await import('./checkpoint-trajectory.ts')).trajectoriesOf(checkpoints),
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
  account: log.account,
  ...readByOf(log),
  ...(log.files === undefined
    ? {}
    : { files: log.files.map(({ path, sha256, account }) => ({ path, sha256, account })) }),
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

const inspectCapture = ({ path, steps, errors, lost, account }: Capture): InspectedCapture => ({
  path,
  kind: 'capture',
  format: 'capture',
  errors,
  kept: steps.length,
  lost,
  firstStep: steps[0]!.step,
  lastStep: steps.at(-1)!.step,
  account,
});

function inspectSeries(series: TimeSeries): InspectedSeries {
  const { points, first, last, lastStep, min, max, nan, posInf, negInf } = unorderedStatistics(series);
  return {
    name: series.name,
    role: series.role,
    ...(series.task === undefined ? {} : { task: series.task }),
    points,
    firstStep: series.step.at(0) ?? Number.NaN,
    lastStep,
    ...{ first, last, min, max, nan, posInf, negInf },
    missing: series.missing,
    refused: series.refused,
  };
}
