/**
 * The second section of a run's report: what each rule would have done and how sharp the loss was. A capture gives it at
 * the recorded states, and with a model and batches in the closed loop; a log alone gives what its norms allow.
 */
import type { Capture } from '../captures/read.ts';
import type { ModelEvidence, PlacedCheckpoint } from '../measure/model-evidence.ts';
import { DiagError, reasonOf } from '../model/errors.ts';
import type { RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { replayFromLog } from '../replay/from-log.ts';
import { recordedCurvature, recordedReplays } from '../replay/recorded.ts';
import { replayCapture } from '../replay/replay.ts';
import type { RuleChoice } from '../rules/choice.ts';
import { parseRule } from '../rules/parse.ts';
import { DEFAULT_RULES } from '../rules/registry.ts';
import type { Limits, RunEvidence } from './evidence.ts';
import { lossesApart, onsetOf, placed } from './which-run.ts';

export type WhatIf = Pick<RunReport, 'replay' | 'curvature' | 'notRun' | 'notes'>;

/** Where nothing was asked, or there was nothing to prevent. */
export const NO_WHAT_IF: WhatIf = { replay: [], curvature: [], notRun: [], notes: [] };

/** @param onsetStep of the verdict */
export async function whatIf(
  { run, captures, checkpoints, files }: RunEvidence,
  onsetStep: number | null,
  limits: Limits,
): Promise<WhatIf> {
  const rules = DEFAULT_RULES.flatMap(parseRule);
  const best = bestCapture(run, captures, onsetStep);
  // Without an incident there is nothing that a rule could have prevented.
  if (best === undefined) return onsetStep === null ? NO_WHAT_IF : fromLog(run, onsetStep, rules);
  const { capture, apart } = best;
  const onset = apart === null || onsetStep === null ? onsetStep : onsetOf(capture, apart.shift, onsetStep);
  try {
    const { entries, notes } = await replayCapture(capture, {
      mode: 'as-recorded',
      rules,
      ...(onset === null ? {} : { onsetStep: onset }),
    });
    const recorded = recordedReplays(capture.manifest);
    const eigenvalues = recordedCurvature(capture.manifest);
    const model = await closerLook(capture, rules, onset, placed(checkpoints, files, run), limits);
    const others = captures.filter((one) => one !== capture);
    return {
      replay: [...entries, ...model.replay, ...recorded.entries],
      curvature: [...model.curvature, ...eigenvalues.entries],
      notRun: [
        ...model.notRun,
        ...others.map(({ path }) => ({
          id: `replay ${path}`,
          reason: `of ${captures.length} captures ${capture.path} was replayed, which fits the log and its onset best: \`clippy-diag analyze ${path}\` judges this one`,
        })),
      ],
      notes: [
        ...(apart === null ? [] : [apart.note]),
        ...notes,
        ...model.notes,
        ...recorded.notes,
        ...eigenvalues.notes,
      ],
    };
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return { ...NO_WHAT_IF, notRun: [{ id: 'replay', reason: reasonOf(error) }] };
  }
}

/** A recorder writes a capture for each incident: the one that follows the log and holds the onset. */
function bestCapture(run: Run, captures: readonly Capture[], onsetStep: number | null) {
  const compared = captures.map((capture) => {
    const apart = lossesApart(run, capture);
    const holdsOnset = capture.steps.some(({ step }) => step === onsetStep);
    return { capture, apart, rank: (apart === null ? 0 : 2) + (holdsOnset ? 0 : 1) };
  });
  return compared.sort((a, b) => a.rank - b.rank)[0];
}

function fromLog(run: Run, onsetStep: number, rules: readonly RuleChoice[]): WhatIf {
  const { entries, notRun, notes } = replayFromLog(run, { onsetStep, rules });
  return {
    ...NO_WHAT_IF,
    replay: entries,
    notRun: notRun.map(({ rule, reason }) => ({ id: `replay ${rule}`, reason })),
    notes,
  };
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
