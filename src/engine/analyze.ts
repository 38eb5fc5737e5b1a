/** The main job: whatever lies under the paths, everything that the evidence allows, one report. */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { type Capture, openCapture } from '../captures/read.ts';
import { adviceOf, rewindAdvice } from '../detectors/rewind.ts';
import type { Limits, ModelEvidence, PlacedCheckpoint } from '../measure/model-evidence.ts';
import type { InspectedCheckpoint } from '../model/checkpoint.ts';
import { DiagError, reasonOf } from '../model/errors.ts';
import type { Report, ReportInput, RunReport } from '../model/report.ts';
import type { Role, Run, TimeSeries } from '../model/run.ts';
import { replayFromLog } from '../replay/from-log.ts';
import { recordedCurvature, recordedReplays } from '../replay/recorded.ts';
import { replayCapture } from '../replay/replay.ts';
import { parseRule, type RuleChoice } from '../rules/parse.ts';
import { DEFAULT_RULES } from '../rules/registry.ts';
import { checkpointFindings } from './checkpoint-findings.ts';
import { inspectCheckpoint } from './checkpoint-inspect.ts';
import { type CollectOptions, collectInputs } from './collect.ts';
import { assembleReport, bySeverity, type DiagnoseOptions, diagnoseRun, inputsOf } from './diagnose.ts';
import { closestRuns, loggedRun, lossesApart, onsetOf, placed } from './evidence-of-run.ts';

export interface AnalyzeOptions extends CollectOptions, Pick<DiagnoseOptions, 'thresholds' | 'clipLimits'> {
  readonly toolVersion: string;
  readonly now: () => Date;
  /** Seconds for what is expensive: statistics of checkpoints, replay, curvature. Default 60. */
  readonly budget?: number;
  /** Told what is being worked on, for a progress line. */
  readonly onProgress?: (what: string) => void;
}

export const DEFAULT_BUDGET = 60;

/**
 * Analyzes what lies under files and folders.
 *
 * @param paths files and folders; `-` is standard input
 * @returns the report. Damage of an input stands in its `inputs` entry, a path that could not be used at all in
 *   `warnings`
 * @throws DiagError where nothing at all could be read
 */
export async function analyze(paths: readonly string[], options: AnalyzeOptions): Promise<Report> {
  const { now, onProgress = () => {}, budget = DEFAULT_BUDGET } = options;
  const deadline = now().getTime() + 1000 * budget;
  const { logs, checkpoints, captures, skipped, errors } = await collectInputs(paths, options);
  const warnings = errors.map((error) => error.toRecord());
  const inputs: ReportInput[] = logs.flatMap(inputsOf);
  const runs = logs.flatMap((log) => log.runs);
  const evidence = new Map<Run, Evidence>(runs.map((run) => [run, noEvidence()]));

  for (const path of captures) {
    onProgress(path);
    try {
      const capture = await openCapture(path);
      inputs.push({ path, format: 'capture', sha256: null, errors: capture.errors, lost: capture.lost });
      const run = loggedRun(closestRuns(runs, path), capture) ?? runOfCapture(capture);
      const found = evidence.get(run) ?? noEvidence();
      evidence.set(run, found);
      found.captures.push(capture);
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      warnings.push(error.toRecord());
    }
  }
  for (const path of checkpoints) {
    // Headers are cheap; the statistics of every value are not.
    const late = now().getTime() > deadline;
    onProgress(path);
    try {
      const checkpoint = await inspectCheckpoint(path, late, checkpoints);
      inputs.push(inputOfCheckpoint(checkpoint));
      const near = closestRuns([...evidence.keys()], path);
      const run = near[0] ?? runWithoutLog(dirname(path));
      const found = evidence.get(run) ?? noEvidence();
      evidence.set(run, found);
      if (near.length > 1) found.notes.add(`${near.length} ${SHARED_FOLDER}`);
      if (late) found.late++;
      else found.checkpoints.push(checkpoint);
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      warnings.push(error.toRecord());
    }
  }
  if (inputs.length === 0 && errors[0] !== undefined) throw errors[0];
  const reports: RunReport[] = [];
  const limits: Limits = { clock: () => now().getTime(), deadline, onProgress };
  for (const [run, found] of evidence)
    reports.push(
      await withReplay(run, withCheckpoints(run, diagnoseRun(run, options), found, budget), found, limits),
    );
  return assembleReport(inputs, reports, warnings, skipped, {
    toolVersion: options.toolVersion,
    createdAt: now().toISOString(),
    ...(checkpoints.length + captures.length > 0 ? { budget } : {}),
  });
}

/** What lies beside a run's log. */
interface Evidence {
  readonly checkpoints: InspectedCheckpoint[];
  /** Checkpoints that the budget left no time for. */
  late: number;
  readonly captures: Capture[];
  readonly notes: Set<string>;
}
const noEvidence = (): Evidence => ({ checkpoints: [], late: 0, captures: [], notes: new Set() });

const SHARED_FOLDER =
  'logs lie equally near the checkpoints, which were taken for those of this one: where they are of another run, what is said of them here is not true; give each run a folder';

function withCheckpoints(
  run: Run,
  report: RunReport,
  { checkpoints, late, notes }: Evidence,
  budget: number,
): RunReport {
  if (checkpoints.length + late === 0) return report;
  const { findings, good } = checkpointFindings(checkpoints);
  const rewind = rewindAdvice(run, report, good);
  const all = [...report.findings, ...findings].sort(bySeverity);
  const reason = `${late} of them were neither summed nor measured within ${budget} s (--budget)`;
  return {
    ...report,
    findings: all,
    rewind,
    advice: adviceOf(all, rewind),
    notRun: late === 0 ? report.notRun : [...report.notRun, { id: 'checkpoints', reason }],
    notes: [...report.notes, ...notes],
  };
}

/** Each rule at the recorded states where there is a capture, else what the log alone allows to say. */
async function withReplay(
  run: Run,
  report: RunReport,
  { captures, checkpoints }: Evidence,
  limits: Limits,
): Promise<RunReport> {
  const { onsetStep } = report.verdict;
  const rules = DEFAULT_RULES.flatMap(parseRule);
  // A recorder writes a capture for each incident.
  const compared = captures.map((one) => {
    const apart = lossesApart(run, one);
    const holdsOnset = one.steps.some(({ step }) => step === onsetStep);
    return { capture: one, apart, rank: (apart === null ? 0 : 2) + (holdsOnset ? 0 : 1) };
  });
  const [best] = compared.sort((a, b) => a.rank - b.rank);
  if (best === undefined) {
    // Without an incident there is nothing that a rule could have prevented.
    if (onsetStep === null) return report;
    const { entries, notRun, notes } = replayFromLog(run, { onsetStep, rules });
    return {
      ...report,
      replay: entries,
      notRun: [...report.notRun, ...notRun.map(({ rule, reason }) => ({ id: `replay ${rule}`, reason }))],
      notes: [...report.notes, ...notes],
    };
  }
  const { capture, apart } = best;
  const others = captures.filter((one) => one !== capture);
  const onset = apart === null || onsetStep === null ? onsetStep : onsetOf(capture, apart.shift, onsetStep);
  const told = onset === null ? {} : { onsetStep: onset };
  try {
    const { entries, findings, notes } = await replayCapture(capture, {
      mode: 'as-recorded',
      rules,
      ...told,
    });
    const recorded = recordedReplays(capture.manifest);
    const eigenvalues = recordedCurvature(capture.manifest);
    const model = await closerLook(capture, rules, onset, placed(checkpoints, run), limits);
    return {
      ...report,
      replay: [...entries, ...model.replay, ...recorded.entries],
      curvature: [...model.curvature, ...eigenvalues.entries],
      findings: [...report.findings, ...findings].sort(bySeverity),
      notRun: [
        ...report.notRun,
        ...model.notRun,
        ...others.map(({ path }) => ({
          id: `replay ${path}`,
          reason: `of ${captures.length} captures ${capture.path} was replayed, which fits the log and its onset best: \`clippy-diag analyze ${path}\` judges this one`,
        })),
      ],
      notes: [
        ...new Set([
          ...report.notes,
          ...(apart === null ? [] : [apart.note]),
          ...notes,
          ...model.notes,
          ...recorded.notes,
          ...eigenvalues.notes,
        ]),
      ],
    };
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return {
      ...report,
      notRun: [...report.notRun, { id: 'replay', reason: reasonOf(error) }],
    };
  }
}

/** The closed loop and the curvature, where the capture brings a model and batches. */
async function closerLook(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
  checkpoints: readonly PlacedCheckpoint[],
  limits: Limits,
): Promise<ModelEvidence> {
  const nothing = (reason: string): ModelEvidence => ({
    replay: [],
    curvature: [],
    notes: [],
    notRun: ['closed-loop', 'curvature'].map((id) => ({ id, reason })),
  });
  if (capture.manifest.model === null)
    return nothing(
      'the capture names no model: write one (docs/autodiff.md), beside capture.json and named there as "model"',
    );
  if ((await capture.batch(0)).size === 0)
    return nothing('the capture holds no batches: hand them to the recorder (docs/recorders.md)');
  const { modelEvidence } = await import('../measure/model-evidence.ts');
  return modelEvidence(capture, rules, onsetStep, checkpoints, limits);
}

/** A capture without a log is a short run: the losses before it and those of its steps. */
function runOfCapture({ path, manifest, steps }: Capture): Run {
  const before = manifest.history ?? { steps: [], loss: [] };
  const earlier = before.steps.map((step, i) => ({ step, loss: before.loss[i]! }));
  const first = steps[0]?.step ?? Number.POSITIVE_INFINITY;
  const points = [
    ...earlier.filter(({ step }) => step < first),
    ...steps.flatMap(({ step, loss }) => (loss === null ? [] : [{ step, loss }])),
  ];
  const tasks = new Set(steps.flatMap((step) => [...step.tasks.keys()]));
  const series = (
    name: string,
    role: Role,
    list: readonly (readonly [number, number])[],
    task?: string,
  ): TimeSeries => ({
    name,
    role,
    ...(task === undefined ? {} : { task }),
    step: Float64Array.from(list, ([step]) => step),
    value: Float64Array.from(list, ([, value]) => value),
    attemptOffsets: [0],
    pathOffsets: [0],
  });
  return {
    id: path,
    paths: [path],
    format: 'capture',
    stepUnit: 'step',
    series: [
      series(
        'loss',
        'loss',
        points.map(({ step, loss }) => [step, loss]),
      ),
      ...[...tasks].map((task) =>
        series(
          `task/${task}/loss`,
          'task_loss',
          steps.flatMap((step) =>
            step.tasks.has(task) ? [[step.step, step.tasks.get(task)!] as const] : [],
          ),
          task,
        ),
      ),
    ],
    attempts: [
      { index: 0, firstStep: points[0]?.step ?? 0, lastStep: points.at(-1)?.step ?? 0, reason: 'start' },
    ],
    hyperparameters: new Map(),
    notes: ['no log lies beside this capture; its own losses are judged'],
  };
}

/** Stands for a run of which only checkpoints were left. */
const runWithoutLog = (folder: string): Run => ({
  id: folder,
  paths: [folder],
  format: 'none',
  stepUnit: 'step',
  series: [],
  attempts: [],
  hyperparameters: new Map(),
  notes: ['no log lies beside these checkpoints; what happened between them cannot be told'],
});

/** A checkpoint is hashed by what its header says: names, types and shapes. */
const inputOfCheckpoint = ({ path, format, errors, tensors }: InspectedCheckpoint): ReportInput => ({
  path,
  format,
  sha256: createHash('sha256')
    .update(JSON.stringify(tensors.map(({ name, dtype, shape }) => [name, dtype, shape])))
    .digest('hex'),
  errors,
});
