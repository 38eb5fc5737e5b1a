/**
 * What a capture that brings its model and its batches allows: the closed loop under each rule and the curvature before
 * the incident, within the time that is left. Loads the differentiation; imported only when it is needed.
 */

import type { Cause, Remedy } from '../../model/cause.ts';
import type { CurvatureEntry, RatioSpread } from '../../model/curvature.ts';
import { DiagError, diagError, reasonOf } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { lastBefore, runExperiments } from '../cause/experiments.ts';
import { type Before, NOTHING_BEFORE } from '../cause/shorter-steps.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { steppersAt } from '../replay/under-rule.ts';
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
import { ratioSpread, ratiosUnderRules, SEARCH } from './ratios.ts';

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
 * @param runBefore what the log has of the run right before the capture
 */
export async function modelEvidence(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
  checkpoints: readonly PlacedCheckpoint[],
  { clock, deadline, onProgress }: Limits,
  runBefore: Before = NOTHING_BEFORE,
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
  const onset = capture.steps.findIndex(({ step }) => step === onsetStep);
  // Without an incident the first batches tell what is usual.
  let incoming = onset < 0 ? null : onset;
  let before = onset < 0 ? lastBefore(Math.min(4, capture.steps.length)) : lastBefore(onset);
  await attempt('closed-loop', async () => {
    let begun = { what: '', at: 0 };
    const progress = (what: string, done: number, total: number): void => {
      const now = clock();
      if (begun.what !== what) begun = { what, at: now };
      onProgress(`${what}, step ${done} of ${total}`);
      if (now < deadline || done >= total) return;
      // The clock of a part begins with its first call, when `done` is 1 as a rule.
      const each = (now - begun.at) / Math.max(1, done - 1);
      const more = done < 2 ? '' : ` (about ${formatNumber((each * (total - done)) / 1000, 'rough')} s more)`;
      throw diagError('budget-spent', { what: `${what} after ${done} of ${total} steps${more}` });
    };
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
        before: runBefore,
        checkpointBefore: (step) => newestBefore(checkpoints, step),
        batch: (index) => captureBatch(capture, index),
        progress,
      });
      why = found;
      ({ incoming, before } = found);
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
        const { entries, strayed, caveats } = await measureCurvature(point, {
          ...SEARCH,
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
  const ofStep = async (index: number) => ({
    step: capture.steps[index]!.step,
    batch: await captureBatch(capture, index),
  });
  /** Adds to what was measured at a place how far its ratio spreads over batches, and at the first harmful step what rules make of it. */
  const spread = (where: string, name: string, step: number, open: () => Promise<CurvaturePoint>) =>
    attempt(`ratios on single batches at ${where}`, async () => {
      const at = curvature.findIndex(
        (entry) => entry.checkpoint === name && entry.step === step && entry.stability.ratio !== null,
      );
      if (at < 0 || before.length === 0) return;
      const beforeProduct = (): void => {
        if (clock() > deadline)
          throw diagError('budget-spent', { what: `the ratios on single batches at ${where}` });
      };
      beforeProduct();
      onProgress(`ratios on single batches at ${where}`);
      const point = await open();
      try {
        const usual = [];
        for (const index of before) usual.push(await ofStep(index));
        const news = incoming === null ? null : await ofStep(incoming);
        const found = await ratioSpread(point, usual, news, beforeProduct);
        curvature[at] = { ...curvature[at]!, spread: { ...found, rules: [] } };
        if (news === null || name !== capture.path || step !== news.step) return;
        if (why !== null) why = { ...why, cause: withRatio(why.cause, found, step) };
        const prepared = await prepareReplay(capture, 'float32');
        const steppers = await steppersAt(capture, prepared, rules, incoming!);
        const under = await ratiosUnderRules(point, steppers, news.batch, beforeProduct);
        curvature[at] = { ...curvature[at]!, spread: { ...found, rules: under } };
      } finally {
        await point.model.objective.close();
      }
    });
  const harmful = incoming === null ? null : capture.steps[incoming]!.step;
  const points = new Set(
    [capture.steps[0]?.step, harmful, onsetStep].filter(
      (at) => at != null && capture.steps.some(({ step }) => step === at),
    ),
  ) as Set<number>;
  for (const at of points) await measure(`step ${at}`, undefined, () => capturePoint(capture, { at }));
  for (const at of points) await spread(`step ${at}`, capture.path, at, () => capturePoint(capture, { at }));

  // Over the checkpoints the ratio is what matters; the plain Hessian of another optimizer than gradient descent has none.
  const operator = curvature.find(({ stability }) => stability.ratio !== null)?.operator;
  const others = checkpoints.filter(({ step }) => !points.has(step));
  const earlier = others.filter(({ step }) => onsetStep === null || step <= onsetStep);
  const ordered = [
    ...earlier.sort((a, b) => b.step - a.step),
    ...others.filter((one) => !earlier.includes(one)).sort((a, b) => a.step - b.step),
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
  for (const { file, step, learningRate } of ordered.slice(0, CHECKPOINTS)) {
    if (clock() > deadline) {
      if (!curvature.some(({ checkpoint }) => checkpoint === file.path)) continue;
      const error = diagError('budget-spent', { what: 'the ratios on single batches at the checkpoints' });
      notRun.push({ id: 'ratios on single batches at checkpoints', reason: reasonOf(error) });
      break;
    }
    await spread(`${file.path} (step ${step})`, file.path, step, async () =>
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

/** A cause with the ratio on the incoming batch among its evidence, beside those of the batches before. */
function withRatio(
  cause: Cause,
  { before, usual, incoming, unusual }: Omit<RatioSpread, 'rules'>,
  step: number,
): Cause {
  const known = before.flatMap(({ ratio }) => ratio ?? []);
  if (incoming?.ratio == null || known.length === 0) return cause;
  const batches = before.map(({ batchStep }) => batchStep).join(', ');
  return {
    ...cause,
    evidence: [
      ...cause.evidence,
      {
        id: 'curvature-ratio',
        statement: `at the weights of step ${step} the curvature on the batch of step ${incoming.batchStep} is ${formatNumber(incoming.ratio)} times what the learning rate tolerates, and ${formatNumber(Math.min(...known))} to ${formatNumber(Math.max(...known))} times on the batches of steps ${batches}${usual === null ? '; fewer than four came before, which say nothing of what is usual' : unusual ? '' : ': nothing unusual'}`,
        value: incoming.ratio,
        unit: 'ratio',
        usual,
        at: { step, batchStep: incoming.batchStep },
      },
    ],
  };
}

function withoutLimit({ criticalSharpness: _, ...entry }: CurvatureEntry): CurvatureEntry {
  return { ...entry, stability: { learningRate: entry.stability.learningRate, limit: null, ratio: null } };
}
