/**
 * What a log alone says about clipping: rules on the global norm at every step where the norm is logged; of Clippy an
 * interval. Nothing here is a counterfactual.
 */

import type { Column } from '../../model/column.ts';
import { NO_OPTIMIZER, type ReplayEntry } from '../../model/replay.ts';
import { attemptOf, type Run, type StepUnit, type TimeSeries } from '../../model/run.ts';
import { clippingOf, optimizerNameOf, settingsApart } from '../../model/run-settings.ts';
import { leavesAll, type RuleChoice, type RulePart, ruleMembers } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import { type FromLog, type LoggedRun, NEEDS_GRADIENTS } from '../../step/rules/rule.ts';

export interface LogReplaySettings {
  readonly rules?: readonly RuleChoice[];
  readonly attempt?: number;
  /** Onset of the run's worst incident; null where it has none. */
  readonly onsetStep: number | null;
}

export interface LogReplay {
  readonly entries: readonly ReplayEntry[];
  /** Rules about which the log says nothing, and why. */
  readonly notRun: readonly { readonly rule: string; readonly reason: string }[];
  /** What to record so that more can be said; null where there is no incident. */
  readonly recordSteps: readonly [number, number] | null;
  readonly notes: readonly string[];
}

/** Steps to record before and after the onset: two of the recorder's snapshots before, its default number after. */
const RECORD = { before: 20, after: 34 } as const;

/** Logged points whose factors an entry holds; of a million lines they would be a report of 250 MB. */
const KEPT_POINTS = 10_000;

/**
 * Evaluates rules on a log: what follows from logged norms and learning rates alone. When a rule first acts, and how often,
 * is measured over all points; the arrays of a log of more than 10,000 points are those around the onset, which a note says.
 */
export function replayFromLog(run: Run, settings: LogReplaySettings): LogReplay {
  const { onsetStep, attempt = 0 } = settings;
  const rules = settings.rules ?? DEFAULT_RULES.flatMap(parseRule);
  const log = loggedRun(run, attempt);
  const notRun: { rule: string; reason: string }[] = [];
  const recordSteps =
    // A recorder counts steps, not epochs or rows.
    onsetStep === null || run.stepUnit !== 'step'
      ? null
      : ([Math.max(0, onsetStep - RECORD.before), onsetStep + RECORD.after] as const);
  const advice =
    recordSteps === null
      ? ''
      : `; record steps ${recordSteps[0]} to ${recordSteps[1]} (\`clippy-diag init\`)`;
  const entries = rules.flatMap((choice): ReplayEntry[] => {
    if (leavesAll(choice)) return [];
    const said = saidOf(choice, log);
    if (!('missing' in said)) return [entryOf(choice, said, { onsetStep, unit: run.stepUnit }, advice)];
    notRun.push({ rule: choice.label, reason: said.missing });
    return [];
  });
  const notes =
    log.gradientNorm === undefined ? [] : ['the logged gradient norm is treated as the norm before clipping'];
  notes.push(...settingsApart(run.hyperparameters));
  const longest = Math.max(...run.series.map(({ step }) => step.length), 0);
  if (entries.length > 0 && longest > KEPT_POINTS)
    notes.push(
      `the clipping factors listed are those of ${KEPT_POINTS} logged points around the onset; what is said of them counts all points`,
    );
  return { entries, notRun, recordSteps, notes };
}

/** The range of points whose factors are kept: around the onset, all where there are few. */
function keptOf(steps: Column, onsetStep: number | null): [number, number] {
  const onset = steps.findIndex((step) => step >= (onsetStep ?? Number.NEGATIVE_INFINITY));
  const middle = onset < 0 ? steps.length : onset;
  const from = Math.max(0, Math.min(middle - KEPT_POINTS / 2, steps.length - KEPT_POINTS));
  return [from, Math.min(steps.length, from + KEPT_POINTS)];
}

/** The series that rules ask for, of one attempt. */
function loggedRun({ series, hyperparameters }: Run, attempt: number): LoggedRun {
  const seriesOf = (role: TimeSeries['role']): TimeSeries | undefined => {
    const found = series.find((one) => one.role === role);
    return found === undefined ? undefined : attemptOf(found, attempt);
  };
  const [gradientNorm, learningRate, loss] = [
    seriesOf('grad_norm'),
    seriesOf('learning_rate'),
    seriesOf('loss'),
  ];
  const optimizer = optimizerNameOf(hyperparameters);
  const clipping = clippingOf(hyperparameters);
  return {
    ...(gradientNorm === undefined ? {} : { gradientNorm }),
    ...(learningRate === undefined ? {} : { learningRate }),
    ...(loss === undefined ? {} : { loss }),
    ...(optimizer === undefined ? {} : { optimizer }),
    clipping,
  };
}

/** What a rule says of itself from a log. What it leaves for a second one is not logged. */
function saidOf({ parts }: RuleChoice, log: LoggedRun): FromLog {
  const acting = parts.filter(({ rule }) => !rule.identity);
  const [{ rule, options }] = acting as [RulePart];
  if (acting.length > 1)
    return { missing: 'it needs gradients: what the first rule leaves for the next is not in a log' };
  return rule.fromLog?.(log, options) ?? { missing: NEEDS_GRADIENTS };
}

function entryOf(
  choice: RuleChoice,
  { steps, factors, low, ...said }: Exclude<FromLog, { missing: string }>,
  { onsetStep, unit }: { readonly onsetStep: number | null; readonly unit: StepUnit },
  advice: string,
): ReplayEntry {
  const first = factors.findIndex((factor) => factor !== 1);
  const engaged = factors.filter((factor) => factor !== 1).length;
  const firstEngagedStep = first < 0 ? null : steps.at(first)!;
  const idle = onsetStep !== null && (firstEngagedStep === null || firstEngagedStep > onsetStep);
  const known = !factors.some(Number.isNaN);
  const verdict =
    onsetStep === null ? 'not-needed' : said.inForce || (idle && known) ? 'not-prevented' : 'cannot-tell';
  const why =
    onsetStep === null
      ? 'the log shows no incident'
      : said.why !== undefined
        ? `${said.why}${said.final ? '' : advice}`
        : verdict === 'not-prevented'
          ? `at the logged norms it does nothing up to the onset at ${unit} ${onsetStep}`
          : `it acts from ${unit} ${firstEngagedStep}; what the run would have become needs gradients${advice}`;
  const range = keptOf(steps, onsetStep);
  const kept = [...steps.subarray(...range)];
  return {
    mode: 'as-recorded',
    ...ruleMembers(choice),
    optimizer: NO_OPTIMIZER,
    steps: kept,
    loss: null,
    minClipFactor: [...factors.subarray(...range)],
    ...(low === undefined
      ? {}
      : { factorInterval: { low: [...low.subarray(...range)], high: kept.map(() => 1) } }),
    updateNorm: kept.map(() => Number.NaN),
    firstEngagedStep: known ? firstEngagedStep : null,
    engagedFraction: known ? engaged / Math.max(steps.length, 1) : Number.NaN,
    ended: { reason: 'completed', step: steps.at(-1) ?? 0 },
    onsetStep,
    verdict,
    confidence: verdict === 'cannot-tell' ? 'estimate' : 'exact',
    why,
    bottleneck: null,
    source: 'computed',
  };
}
