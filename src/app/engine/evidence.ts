/** From inputs to the evidence of each run: its log, and the captures and checkpoints in its folder. */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import type { Limits as ModelLimits } from '../../experiment/measure/model-evidence.ts';
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import { DiagError, type ErrorRecord } from '../../model/errors.ts';
import { type LogInput, readByOf } from '../../model/log.ts';
import type { ReportInput, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { CheckpointFile } from '../../read/checkpoints/registry.ts';
import type { Ledger } from '../../read/ledger/read.ts';
import type { Inputs } from './collect.ts';
import { closestRuns, loggedRun, placeOf } from './which-run.ts';

/** Everything that is known of one run before anything is judged. */
export interface RunEvidence {
  /** The log; of a capture alone its own losses, of checkpoints alone a run without series. */
  readonly run: Run;
  readonly captures: readonly Capture[];
  readonly checkpoints: readonly InspectedCheckpoint[];
  /** The checkpoints of all runs, for what their statistics do not tell. */
  readonly files: readonly CheckpointFile[];
  /** What there was no time for. */
  readonly notRun: RunReport['notRun'];
  readonly notes: readonly string[];
  /** Its ledger, which a comparison reads. */
  readonly ledger?: Ledger;
}

export interface Evidence {
  readonly runs: readonly RunEvidence[];
  readonly inputs: readonly ReportInput[];
  /** Captures and checkpoints that could not be opened. */
  readonly warnings: readonly ErrorRecord[];
}

/** What is expensive is done until the deadline. */
export interface Limits extends ModelLimits {
  /** Why a checkpoint that comes after it is not read: "neither summed nor measured within 60 s (--budget)". */
  readonly late: string;
}

/** A run of which only the log is known. */
export const logAlone = (run: Run): RunEvidence => ({
  run,
  captures: [],
  checkpoints: [],
  files: [],
  notRun: [],
  notes: [],
});

/**
 * Opens captures, sums up checkpoints, and gives each to the run that it belongs to.
 *
 * @param apart paths that are of a run each: what lies under one belongs to no run of another
 */
export async function gatherEvidence(
  found: Inputs,
  limits: Limits,
  apart: readonly string[] = [],
): Promise<Evidence> {
  const { clock, deadline, onProgress } = limits;
  const logged = found.logs.flatMap(({ runs }) => runs);
  const inputs: ReportInput[] = [
    ...found.logs.flatMap(inputsOf),
    // Like checkpoints they hold no records that could be counted.
    ...found.sidecars.map(({ problem: _, ...file }) => ({
      ...file,
      format: 'hyperparameters',
      errors: [],
    })),
  ];
  const warnings: ErrorRecord[] = [];
  const beside = new Map<Run, Beside>(logged.map((run) => [run, nothingBeside()]));
  const besideOf = (run: Run): Beside => {
    const known = beside.get(run) ?? nothingBeside();
    beside.set(run, known);
    return known;
  };
  const ofPlace = (runs: readonly Run[], path: string): Run[] =>
    runs.filter(({ paths }) => placeOf(apart, paths[0] ?? '') === placeOf(apart, path));
  /** A coded error is one of that input, not of the others. */
  const each = async <T>(
    all: readonly T[],
    pathOf: (one: T) => string,
    place: (one: T) => Promise<void>,
  ): Promise<void> => {
    for (const one of all)
      try {
        onProgress(pathOf(one));
        await place(one);
      } catch (error) {
        if (!(error instanceof DiagError)) throw error;
        warnings.push(error.toRecord());
      }
  };

  const logs = [...logged];
  await each(found.ledgers, String, async (path) => {
    const { openLedger, runOfLedger } = await import('../../read/ledger/read.ts');
    const ledger = await openLedger(path);
    // Like checkpoints it holds no records that could be counted.
    inputs.push({ path, format: 'ledger', sha256: null, errors: [] });
    const near = closestRuns(ofPlace(logs, path), path);
    // It has the loss of every step, which captures and checkpoints have not.
    if (near.length === 0) logged.push(runOfLedger(ledger));
    if (near.length < 2) besideOf(near[0] ?? logged.at(-1)!).ledger = ledger;
  });
  const withoutLog: Capture[] = [];
  await each(found.captures, String, async (path) => {
    const { openCapture } = await import('../../read/captures/read.ts');
    const capture = await openCapture(path);
    const { errors, lost, account } = capture;
    inputs.push({ path, format: 'capture', sha256: null, errors, lost, account });
    const run = loggedRun(closestRuns(ofPlace(logged, path), path), capture);
    if (run !== undefined) besideOf(run).captures.push(capture);
    else withoutLog.push(capture);
  });
  if (withoutLog.length > 0) {
    const { runOfCaptures } = await import('../../read/captures/as-run.ts');
    for (const captures of ofOneRun(withoutLog, apart))
      besideOf(runOfCaptures(captures)).captures.push(...captures);
  }
  const pathOf = ({ path }: CheckpointFile): string => path;
  await each(found.checkpoints, pathOf, async (file) => {
    const { path } = file;
    // Headers are cheap; the statistics of every value are not.
    const late = clock() >= deadline;
    const { inspectFile } = await import('./checkpoint-inspect.ts');
    const { settingsInCheckpoint } = await import('../../read/checkpoints/run-settings.ts');
    const checkpoint = await inspectFile(file, late, found.checkpoints);
    inputs.push(inputOfCheckpoint(checkpoint));
    const near = closestRuns(ofPlace([...beside.keys()], path), path);
    const place = besideOf(near[0] ?? runWithoutLog(dirname(path)));
    // The run of a file in a shared folder is unknown.
    if (near.length > 1) place.notes.add(`${near.length} ${SHARED_FOLDER}`);
    else place.settings.push(settingsInCheckpoint(checkpoint));
    if (late) place.late++;
    else place.checkpoints.push(checkpoint);
  });

  const runs = [...beside].map(
    ([run, { captures, checkpoints, settings, late, notes, ledger }]): RunEvidence => {
      const notRun = late === 0 ? [] : [{ id: 'checkpoints', reason: `${late} of them were ${limits.late}` }];
      return {
        run: withSettings(run, settings),
        captures,
        checkpoints,
        files: found.checkpoints,
        notRun,
        notes: [...notes],
        ...(ledger === undefined ? {} : { ledger }),
      };
    },
  );
  return { runs, inputs, warnings };
}

/** Captures of one place that one recorder wrote, in the order of their first steps; each by itself where it names no run. */
function ofOneRun(captures: readonly Capture[], apart: readonly string[]): Capture[][] {
  const groups = new Map<string, Capture[]>();
  for (const capture of captures) {
    const { path, manifest } = capture;
    const { run } = manifest.training;
    const key = run === null ? path : JSON.stringify([placeOf(apart, path), run.id]);
    groups.set(key, [...(groups.get(key) ?? []), capture]);
  }
  return [...groups.values()].map((one) => one.sort((a, b) => a.steps[0]!.step - b.steps[0]!.step));
}

/** What is in the folder of a run's log. */
interface Beside {
  readonly captures: Capture[];
  readonly checkpoints: InspectedCheckpoint[];
  /** What each checkpoint says of the optimizer and its clipping. */
  readonly settings: ReadonlyMap<string, string | number>[];
  /** Checkpoints that the budget left no time for. */
  late: number;
  readonly notes: Set<string>;
  ledger?: Ledger;
}
const nothingBeside = (): Beside => ({
  captures: [],
  checkpoints: [],
  settings: [],
  late: 0,
  notes: new Set(),
});

/** A run with what all of its checkpoints that tell say of its optimizer and clipping, under `checkpoint.`. */
function withSettings(run: Run, settings: Beside['settings']): Run {
  const hyperparameters = new Map(run.hyperparameters);
  for (const name of new Set(settings.flatMap((one) => [...one.keys()]))) {
    const values = new Set(settings.flatMap((one) => one.get(name) ?? []));
    if (values.size === 1) hyperparameters.set(`checkpoint.${name}`, [...values][0]!);
  }
  return hyperparameters.size === run.hyperparameters.size ? run : { ...run, hyperparameters };
}

const SHARED_FOLDER =
  'logs are equally near the checkpoints, which were assigned to this one: if they belong to another run, the statements on them here are wrong; give each run a folder';

/** What the report says of a log it read: each file by itself, with its own hash, where several were joined. */
export const inputsOf = (log: LogInput): ReportInput[] =>
  (log.files ?? [log]).map(
    ({ path, format, sha256, kept, lost, unreadBytes, account, grownBytes, readBy, errors }) => ({
      path,
      format,
      sha256,
      kept,
      lost,
      unreadBytes,
      account,
      ...(grownBytes === undefined ? {} : { grownBytes }),
      ...readByOf({ readBy, runs: log.runs }),
      errors,
    }),
  );

/** A checkpoint is hashed by what its header says: names, types and shapes. */
const inputOfCheckpoint = ({ path, format, errors, account, tensors }: InspectedCheckpoint): ReportInput => ({
  path,
  format,
  sha256: createHash('sha256')
    .update(JSON.stringify(tensors.map(({ name, dtype, shape }) => [name, dtype, shape])))
    .digest('hex'),
  account,
  errors,
});

/** Represents a run of which only checkpoints are left. */
const runWithoutLog = (folder: string): Run => ({
  id: folder,
  paths: [folder],
  format: 'none',
  stepUnit: 'step',
  series: [],
  attempts: [],
  hyperparameters: new Map(),
  notes: ['no log is in the folder of these checkpoints; what happened between them is unknown'],
});
