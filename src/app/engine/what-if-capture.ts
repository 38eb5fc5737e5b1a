/** What a capture gives of a what-if: replays at the recorded states, and with a model and batches the closed loop. */

import { causeOfCapture } from '../../experiment/cause/from-capture.ts';
import { besideCapture, type Why, withLog } from '../../experiment/cause/from-log.ts';
import type { Before } from '../../experiment/cause/shorter-steps.ts';
import type { ModelEvidence } from '../../experiment/measure/model-evidence.ts';
import { newestBefore, type PlacedCheckpoint } from '../../experiment/measure/placed-checkpoint.ts';
import { guardTried, recordedCurvature, recordedReplays } from '../../experiment/replay/recorded.ts';
import { replayCapture } from '../../experiment/replay/replay.ts';
import { DiagError, reasonOf } from '../../model/errors.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import type { Run } from '../../model/run.ts';
import { clipLimitOf, isOtherOptimizer, optimizerNameOf, settingsApart } from '../../model/run-settings.ts';
import type { Capture } from '../../read/captures/read.ts';
import { chooseRules, leavesAll, type RuleChoice } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import { beforeOf } from './before-capture.ts';
import type { Limits, RunEvidence } from './evidence.ts';
import { type BestCapture, NO_WHAT_IF, type WhatIf } from './what-if.ts';
import { onsetOf, placed } from './which-run.ts';

/** What the log says about its incident. */
interface OfLog {
  readonly onsetStep: number | null;
  readonly recovered: boolean;
  readonly ofLog: Why;
}

/** @param best the capture that is replayed */
export async function whatIfOfCapture(
  { capture, apart }: BestCapture,
  { run, captures, checkpoints, files }: RunEvidence,
  { onsetStep, recovered, ofLog }: OfLog,
  limits: Limits,
): Promise<WhatIf> {
  const rules = DEFAULT_RULES.flatMap(parseRule);
  const onset = apart === null || onsetStep === null ? onsetStep : onsetOf(capture, apart.shift, onsetStep);
  try {
    const { entries, notes } = await replayCapture(capture, {
      mode: 'as-recorded',
      rules,
      ...(onset === null ? {} : { onsetStep: onset }),
    });
    const recorded = recordedReplays(capture, onset ?? undefined);
    const guarded = onset === null ? null : guardTried(capture, recorded.entries, onset);
    const eigenvalues = recordedCurvature(capture.manifest);
    const around = placed(checkpoints, files, run);
    const before = beforeOf(run, captures, capture);
    const tried = withClipping(rules, before);
    const model = await closerLook(capture, tried, onset, around, limits, before);
    const context = { capture, checkpointBefore: (step: number) => newestBefore(around, step) };
    const ofCapture = model.why ?? (await causeOfCapture(context, onset, recovered, recorded.entries));
    const [first, last] = [capture.steps[0]!.step, capture.steps.at(-1)!.step];
    const alone = onset === null ? ofLog : besideCapture(ofLog, [first, last], onset);
    const why = ofCapture === null ? alone : withLog(ofCapture, ofLog, first);
    const others = captures.filter((one) => one !== capture);
    return {
      cause: why.cause,
      remedies: why.remedies,
      replay: replaced([...entries, ...model.replay, ...recorded.entries]),
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
        ...otherSettings(run, capture),
        ...notes,
        ...model.notes,
        ...recorded.notes,
        ...(guarded === null ? [] : [guarded]),
        ...eigenvalues.notes,
      ],
    };
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return { ...NO_WHAT_IF, ...ofLog, notRun: [{ id: 'replay', reason: reasonOf(error) }] };
  }
}

/** Where the files next to the log name another optimizer or clipping than the capture, which replays use. */
function otherSettings({ hyperparameters }: Run, { path, manifest }: Capture): string[] {
  const taken = `: replays, curvature and cause take what the capture ${path} has`;
  const named = optimizerNameOf(hyperparameters);
  const [recorded] = manifest.optimizers;
  const limit = clipLimitOf(hyperparameters);
  const recordedLimits = manifest.clipping.flatMap(({ options: { maxNorm } }) =>
    typeof maxNorm === 'number' ? [maxNorm] : [],
  );
  const otherLimit =
    limit !== undefined &&
    (leavesAll(chooseRules(manifest.clipping)) ||
      (recordedLimits.length > 0 && !recordedLimits.includes(limit)));
  return [
    ...settingsApart(hyperparameters),
    ...(named !== undefined && recorded !== undefined && isOtherOptimizer(named, recorded.name)
      ? [
          `the settings next to the log name the optimizer ${named}, and ${recorded.name} was recorded${taken}`,
        ]
      : []),
    ...(otherLimit
      ? [
          `the settings next to the log name a limit of the gradient norm of ${limit}, and ${recordedLimits.length === 0 ? 'no such clipping' : recordedLimits.join(' and ')} was recorded${taken}`,
        ]
      : []),
  ];
}

/** The rules that are tried, and the earlier clipping if it is not among them. */
const withClipping = (rules: readonly RuleChoice[], { clipping }: Before): readonly RuleChoice[] =>
  clipping === null || rules.some(({ label }) => label === clipping.label) ? rules : [...rules, clipping];

/** Where a closed loop under a rule was made, it decides: one report never says both. */
function replaced(entries: readonly ReplayEntry[]): ReplayEntry[] {
  const key = ({ rule, label, learningRateMultiplier = 1 }: ReplayEntry): string =>
    `${label ?? rule} ${learningRateMultiplier}`;
  const loops = new Map(
    entries
      .filter(({ mode, arm }) => mode === 'closed-loop' && arm === undefined)
      .map((one) => [key(one), one]),
  );
  return entries.map((entry) => {
    const loop = entry.mode === 'closed-loop' ? undefined : loops.get(key(entry));
    if (loop === undefined || entry.confidence !== 'estimate') return entry;
    return {
      ...entry,
      verdict: 'cannot-tell',
      why: `the closed loop under this rule decides: ${loop.verdict}`,
    };
  });
}

/** The closed loop and the curvature, where the capture brings a model and batches. */
async function closerLook(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
  checkpoints: readonly PlacedCheckpoint[],
  limits: Limits,
  before: Before,
): Promise<ModelEvidence> {
  const nothing = (reason: string): ModelEvidence => ({
    why: null,
    replay: [],
    curvature: [],
    notes: [],
    notRun: ['closed-loop', 'curvature'].map((id) => ({ id, reason })),
  });
  if (capture.manifest.model === null)
    return nothing(
      'the capture names no model: `closed_loop` and `curvature` of the recorder run in your own framework (docs/recorders.md), or write one (docs/autodiff.md), named in capture.json as "model"',
    );
  if ((await capture.batch(0)).size === 0)
    return nothing('the capture holds no batches: hand them to the recorder (docs/recorders.md)');
  const { modelEvidence } = await import('../../experiment/measure/model-evidence.ts');
  return modelEvidence(capture, rules, onsetStep, checkpoints, limits, before);
}
