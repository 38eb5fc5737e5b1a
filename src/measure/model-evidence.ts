/**
 * What a capture that brings its model and its batches allows: the closed loop under each rule and the curvature before
 * the incident, within the time that is left. Loads the differentiation; imported only when it is needed.
 */
import type { Capture } from '../captures/read.ts';
import { runExperiments } from '../cause/experiments.ts';
import type { Cause, Remedy } from '../model/cause.ts';
import type { CurvatureEntry } from '../model/curvature.ts';
import { DiagError, diagError, reasonOf } from '../model/errors.ts';
import type { ReplayEntry } from '../model/replay.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import type { RuleChoice } from '../rules/choice.ts';
import { runClosedLoop } from './closed-loop.ts';
import { type CurvatureOptions, measureCurvature } from './curvature.ts';
import { newestBefore, type PlacedCheckpoint } from './placed-checkpoint.ts';
import {
  type CurvaturePoint,
  captureBatch,
  capturePoint,
  checkpointOfCapture,
  openCaptureModel,
} from './point.ts';

export interface ModelEvidence {
  /** What the experiments say of the incident; null where there is none, or none was made. */
  readonly why: { readonly cause: Cause; readonly remedies: readonly Remedy[] } | null;
  readonly replay: readonly ReplayEntry[];
  readonly curvature: readonly CurvatureEntry[];
  readonly notes: readonly string[];
  readonly notRun: readonly { readonly id: string; readonly reason: string }[];
}

export interface Limits {
  readonly clock: () => number;
  /** Milliseconds on that clock after which nothing more is begun. */
  readonly deadline: number;
  readonly onProgress: (what: string) => void;
}

/** More checkpoints than these say no more about one incident. */
const CHECKPOINTS = 12;

/**
 * @param onsetStep where the loss left its band; curvature is measured there too, if it was recorded
 * @param checkpoints of the same run; the last ones before the onset come first
 */
export async function modelEvidence(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
  checkpoints: readonly PlacedCheckpoint[],
  { clock, deadline, onProgress }: Limits,
): Promise<ModelEvidence> {
  const replay: ReplayEntry[] = [];
  const curvature: CurvatureEntry[] = [];
  const notes: string[] = [];
  const notRun: { id: string; reason: string }[] = [];
  const attempt = async (id: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      notRun.push({ id, reason: reasonOf(error) });
    }
  };

  let follows = true;
  let why: ModelEvidence['why'] = null;
  await attempt('closed-loop', async () => {
    const progress = (what: string, done: number, total: number): void => {
      onProgress(`${what}, step ${done} of ${total}`);
      if (clock() >= deadline && done < total)
        throw diagError('budget-spent', { what: `${what} after ${done} of ${total} steps` });
    };
    const onset = capture.steps.findIndex(({ step }) => step === onsetStep);
    if (onset < 0) {
      const result = await runClosedLoop(capture, {
        rules,
        clock,
        progress: (done, total) => progress('the closed loop', done, total),
      });
      replay.push(...result.entries);
      notes.push(...result.notes);
      follows = result.baseline.follows;
      if (!follows) notes.push(result.baseline.why);
      return;
    }
    const model = await openCaptureModel(capture, undefined, {});
    try {
      const found = await runExperiments({
        capture,
        prepared: await prepareReplay(capture, 'float32'),
        model,
        rules,
        onset,
        checkpointBefore: (step) => newestBefore(checkpoints, step),
        batch: (index) => captureBatch(capture, index),
        progress,
      });
      why = found;
      replay.push(...found.entries);
      notes.push(...found.notes, ...(found.closedLoop?.notes ?? []));
      notRun.push(...found.notRun);
      follows = found.closedLoop?.baseline.follows ?? true;
    } finally {
      await model.objective.close();
    }
  });

  const measure = (
    where: string,
    operator: CurvatureOptions['operator'],
    open: () => Promise<CurvaturePoint>,
  ) =>
    attempt(`curvature at ${where}`, async () => {
      // A product of a large model takes seconds, and how many a search needs is not known before.
      const beforeProduct = (): void => {
        if (clock() >= deadline) throw diagError('budget-spent', { what: `the curvature at ${where}` });
      };
      beforeProduct();
      onProgress(`curvature at ${where}`);
      const point = await open();
      try {
        const search = { method: 'lanczos', count: 1, tolerance: 1e-2, seed: 0, starts: 2 } as const;
        const { entries, strayed, caveats } = await measureCurvature(point, {
          ...search,
          ...(operator === undefined ? {} : { operator }),
          beforeProduct,
        });
        // A learning rate that is not the run's shows in the closed loop alone, not in the loss at its first step.
        curvature.push(...(follows ? entries : entries.map(withoutLimit)));
        if (strayed !== null) notes.push(`${where}: ${strayed}`);
        notes.push(...caveats);
      } finally {
        await point.model.objective.close();
      }
    });
  const points = new Set(
    [capture.steps[0]?.step, onsetStep].filter(
      (at) => at != null && capture.steps.some(({ step }) => step === at),
    ),
  ) as Set<number>;
  for (const at of points) await measure(`step ${at}`, undefined, () => capturePoint(capture, { at }));

  // Over the checkpoints the ratio is what matters; the plain Hessian of another optimizer than gradient descent has none.
  const operator = curvature.find(({ stability }) => stability.ratio !== null)?.operator;
  const others = checkpoints.filter(({ step }) => !points.has(step));
  const before = others.filter(({ step }) => onsetStep === null || step <= onsetStep);
  const ordered = [
    ...before.sort((a, b) => b.step - a.step),
    ...others.filter((one) => !before.includes(one)).sort((a, b) => a.step - b.step),
  ];
  for (const [i, { file, step, learningRate }] of ordered.slice(0, CHECKPOINTS).entries()) {
    if (clock() >= deadline) {
      const left = Math.min(ordered.length, CHECKPOINTS) - i;
      const what = left === 1 ? 'the last checkpoint' : `the last ${left} checkpoints`;
      const error = diagError('budget-spent', { what: `the curvature at ${what}` });
      notRun.push({ id: 'curvature at checkpoints', reason: reasonOf(error) });
      break;
    }
    await measure(`${file.path} (step ${step})`, operator, async () =>
      checkpointOfCapture(await file.open(), capture, learningRate),
    );
  }
  if (curvature.some(({ checkpoint }) => checkpoint !== capture.path))
    notes.push(
      `curvature at checkpoints is that of the capture's first batch, of step ${capture.steps[0]!.step}; at a step of the capture of its own`,
    );
  const unknown = curvature.flatMap(({ stability, step }) =>
    stability.learningRate === null ? [step!] : [],
  );
  if (unknown.length > 0)
    notes.push(
      `no learning rate is known at step ${[...new Set(unknown)].sort((a, b) => a - b).join(', ')}: the checkpoint holds none and the log has none or, over its attempts, several, so that the eigenvalue there has no ratio`,
    );
  if (ordered.length > CHECKPOINTS)
    notRun.push({
      id: 'curvature',
      reason: `of ${ordered.length} checkpoints ${CHECKPOINTS} were measured: \`clippy-diag curvature --checkpoint FOLDER\` measures all`,
    });
  return {
    why,
    replay,
    curvature: curvature.sort((a, b) => a.step! - b.step!),
    notes,
    notRun: grouped(notRun),
  };
}

/** What failed for the same reason at many places, once. */
function grouped(notRun: ModelEvidence['notRun']): ModelEvidence['notRun'] {
  const ids = new Map<string, string[]>();
  for (const { id, reason } of notRun) ids.set(reason, [...(ids.get(reason) ?? []), id]);
  return [...ids].map(([reason, all]) => ({
    id: all.length < 3 ? all.join(' and ') : `${all[0]} and ${all.length - 1} more places`,
    reason,
  }));
}

function withoutLimit({ criticalSharpness: _, ...entry }: CurvatureEntry): CurvatureEntry {
  return { ...entry, stability: { learningRate: entry.stability.learningRate, limit: null, ratio: null } };
}
