/**
 * What a capture that brings its model and its batches allows: the closed loop under each rule and the curvature before
 * the incident, within the time that is left. Loads the differentiation; imported only when it is needed.
 */
import type { Capture } from '../captures/read.ts';
import type { CurvatureEntry } from '../model/curvature.ts';
import { DiagError, diagError } from '../model/errors.ts';
import type { ReplayEntry } from '../model/replay.ts';
import type { RuleChoice } from '../rules/parse.ts';
import { runClosedLoop } from './closed-loop.ts';
import { measureCurvature } from './curvature.ts';
import { capturePoint } from './curvature-point.ts';

export interface ModelEvidence {
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

/** @param onsetStep where the loss left its band; curvature is measured there too, if it was recorded */
export async function modelEvidence(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
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
      notRun.push({ id, reason: `${error.code}: ${error.message}` });
    }
  };

  let follows = true;
  await attempt('closed-loop', async () => {
    const result = await runClosedLoop(capture, {
      rules,
      clock,
      progress: (done, total) => {
        onProgress(`closed loop, step ${done} of ${total}`);
        if (clock() > deadline && done < total)
          throw diagError('budget-spent', { what: `the closed loop after ${done} of ${total} steps` });
      },
    });
    replay.push(...result.entries);
    notes.push(...result.notes);
    follows = result.baseline.follows;
    if (!follows) notes.push(result.baseline.why);
  });

  const points = new Set([capture.steps[0]?.step, onsetStep].filter((step) => step != null));
  for (const at of points) {
    if (!capture.steps.some(({ step }) => step === at)) continue;
    await attempt(`curvature at step ${at}`, async () => {
      // A product of a large model takes seconds, and how many a search needs is not known before.
      const beforeProduct = (): void => {
        if (clock() > deadline) throw diagError('budget-spent', { what: `the curvature at step ${at}` });
      };
      beforeProduct();
      onProgress(`curvature at step ${at}`);
      const point = await capturePoint(capture, { at });
      try {
        const search = { method: 'lanczos', count: 1, tolerance: 1e-2, seed: 0, starts: 2 } as const;
        const { entries, strayed } = await measureCurvature(point, { ...search, beforeProduct });
        // A learning rate that is not the run's shows in the closed loop alone, not in the loss at its first step.
        curvature.push(...(follows ? entries : entries.map(withoutLimit)));
        if (strayed !== null) notes.push(`step ${at}: ${strayed}`);
      } finally {
        await point.model.objective.close();
      }
    });
  }
  return { replay, curvature, notes, notRun };
}

function withoutLimit({ criticalSharpness: _, ...entry }: CurvatureEntry): CurvatureEntry {
  return { ...entry, stability: { learningRate: entry.stability.learningRate, limit: null, ratio: null } };
}
