/**
 * The second section of a run's report: what each rule would have done and how sharp the loss was. A capture gives it at
 * the recorded states, and with a model and batches in the closed loop; a log alone gives what its norms allow.
 */
import type { Capture } from '../captures/read.ts';
import { causeOfCapture } from '../cause/from-capture.ts';
import { causeFromLog, NO_CAUSE, type Why, withLog } from '../cause/from-log.ts';
import type { Before } from '../cause/shorter-steps.ts';
import type { ModelEvidence } from '../measure/model-evidence.ts';
import { newestBefore, type PlacedCheckpoint } from '../measure/placed-checkpoint.ts';
import { DiagError, reasonOf } from '../model/errors.ts';
import type { ReplayEntry } from '../model/replay.ts';
import type { RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import {
  clipLimitOf,
  clippingOf,
  isOtherOptimizer,
  optimizerNameOf,
  settingsApart,
} from '../model/run-settings.ts';
import { replayFromLog } from '../replay/from-log.ts';
import { guardTried, recordedCurvature, recordedReplays } from '../replay/recorded.ts';
import { replayCapture } from '../replay/replay.ts';
import { chooseRules, leavesAll, type RuleChoice, ruleInForce } from '../rules/choice.ts';
import { parseRule } from '../rules/parse.ts';
import { DEFAULT_RULES } from '../rules/registry.ts';
import { beforeOf } from './before-capture.ts';
import type { Limits, RunEvidence } from './evidence.ts';
import { lossesApart, onsetOf, placed } from './which-run.ts';

export type WhatIf = Pick<RunReport, 'replay' | 'curvature' | 'notRun' | 'notes'> & Why;

/** Where nothing was asked, or there was nothing to prevent. */
export const NO_WHAT_IF: WhatIf = { ...NO_CAUSE, replay: [], curvature: [], notRun: [], notes: [] };

/** What is told of a run. */
type Told = Pick<RunReport['verdict'], 'onsetStep' | 'recoveredStep' | 'incidents'>;

/** Whether the run came back by itself; one with a further incident that is still open has not. */
const cameBack = ({ recoveredStep, incidents }: Told): boolean =>
  recoveredStep !== null && incidents.every(({ class: found }) => found !== 'inconclusive');

/** What the log alone says of the cause, where nothing is replayed. */
export const fromLogAlone = (run: Run, verdict: Told): WhatIf => ({
  ...NO_WHAT_IF,
  ...(verdict.onsetStep === null ? NO_CAUSE : causeFromLog(run, verdict.onsetStep, cameBack(verdict))),
});

/** @param verdict of the run */
export async function whatIf(
  { run, captures, checkpoints, files }: RunEvidence,
  verdict: Told,
  limits: Limits,
): Promise<WhatIf> {
  const { onsetStep } = verdict;
  const recovered = cameBack(verdict);
  const ofLog = onsetStep === null ? NO_CAUSE : causeFromLog(run, onsetStep, recovered);
  const rules = DEFAULT_RULES.flatMap(parseRule);
  const best = bestCapture(run, captures, onsetStep);
  // Without an incident there is nothing that a rule could have prevented.
  if (best === undefined)
    return onsetStep === null ? NO_WHAT_IF : { ...fromLog(run, onsetStep, rules), ...ofLog };
  const { capture, apart } = best;
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
    const why = ofCapture === null ? ofLog : withLog(ofCapture, ofLog, capture.steps[0]!.step);
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

/** Where what lies beside the log names another optimizer or other clipping than the capture, which replays take. */
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
      ? [`the settings beside the log name the optimizer ${named}, and ${recorded.name} was recorded${taken}`]
      : []),
    ...(otherLimit
      ? [
          `the settings beside the log name a limit of the gradient norm of ${limit}, and ${recordedLimits.length === 0 ? 'no such clipping' : recordedLimits.join(' and ')} was recorded${taken}`,
        ]
      : []),
  ];
}

/** The rules that are tried, and the clipping of before where it is none of them. */
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

/** A recorder writes a capture for each incident: the one that follows the log and holds the onset. */
function bestCapture(run: Run, captures: readonly Capture[], onsetStep: number | null) {
  const compared = captures.map((capture) => {
    const apart = lossesApart(run, capture);
    const holdsOnset = capture.steps.some(({ step }) => step === onsetStep);
    return { capture, apart, rank: (apart === null ? 0 : 2) + (holdsOnset ? 0 : 1) };
  });
  return compared.sort((a, b) => a.rank - b.rank)[0];
}

function fromLog(run: Run, onsetStep: number, rules: readonly RuleChoice[]): Omit<WhatIf, keyof Why> {
  const own = clippingOf(run.hyperparameters).map(ruleInForce);
  const others = own.filter(({ label }) => !rules.some((rule) => rule.label === label));
  const { entries, notRun, notes } = replayFromLog(run, { onsetStep, rules: [...rules, ...others] });
  return {
    replay: entries,
    curvature: [],
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
      'the capture names no model: write one (docs/autodiff.md), beside capture.json and named there as "model"',
    );
  if ((await capture.batch(0)).size === 0)
    return nothing('the capture holds no batches: hand them to the recorder (docs/recorders.md)');
  const { modelEvidence } = await import('../measure/model-evidence.ts');
  return modelEvidence(capture, rules, onsetStep, checkpoints, limits, before);
}
