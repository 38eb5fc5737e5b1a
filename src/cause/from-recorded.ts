/** Cause and remedies from closed loops that the user's own framework ran and stored in the capture (`clippy_diag.*.closed_loop`). */
import type { Capture } from '../captures/read.ts';
import { endLevel } from '../incidents/losses.ts';
import { usualRange } from '../incidents/unlike.ts';
import type { Trigger } from '../model/cause.ts';
import { DiagError } from '../model/errors.ts';
import type { ReplayArm, ReplayEntry } from '../model/replay.ts';
import type { Prepared } from '../replay/follow.ts';
import { type Ended, harmFrom, outcomeOf, usualUpdate } from '../replay/outcome.ts';
import { firstHarm, highestBefore, levelBefore, type References } from '../replay/reference.ts';
import type { RuleChoice } from '../rules/choice.ts';
import { parseRule } from '../rules/parse.ts';
import { type Change, changesBy, emptyState } from './changes.ts';
import { decideCause } from './decide.ts';
import type { Why } from './from-log.ts';
import type { Observed } from './observe.ts';
import type { PlannedArm } from './plan.ts';
import { rankRemedies } from './remedies.ts';
import {
  armLabel,
  interferenceOf,
  noneNeeded,
  notClip,
  type RemedyContext,
  remedyOf,
  type Tried,
} from './tried.ts';

/** How far a loop's own losses may be from the recorded ones up to the onset, relatively. */
const FOLLOWS = 0.01;

type Loop = ReplayEntry & { readonly referenceLoss: readonly number[] };

/**
 * @param onset position of the onset among the steps
 * @param entries of the capture's `replay`
 * @returns null where none of them is a closed loop under the recorded clipping that follows the recorded losses up to the onset
 */
export function causeOfLoops(
  context: RemedyContext & { readonly capture: Capture },
  prepared: Prepared,
  observed: Observed,
  onset: number,
  entries: readonly ReplayEntry[],
): Why | null {
  const { setup } = prepared;
  const { capture } = context;
  const loops = entries.filter(
    (entry): entry is Loop =>
      entry.mode === 'closed-loop' && entry.referenceLoss?.length === capture.steps.length,
  );
  const plain = loops.filter(({ arm }) => arm === undefined);
  const baseline = plain.find((entry) => ruleOf(entry)?.label === setup.clipping.label);
  if (baseline === undefined || !follows(baseline, observed, onset)) return null;
  const armed = loops.filter((entry): entry is Loop & { arm: ReplayArm } => entry.arm !== undefined);
  const references = referencesOf(capture, onset, baseline, armed);
  const from = harmFrom(references, onset);
  const usual = usualUpdate(baseline.updateNorm, from);
  const endOf = (trace: Ended) => ({
    outcome: outcomeOf(trace, references, usual, from),
    finalLoss: endLevel(trace.referenceLoss),
  });
  const changes = changesBy(
    from,
    observed,
    references,
    capture.manifest.skipped,
    emptyState(capture, prepared),
  );
  const arms = armed.flatMap((entry) => {
    const planned = plannedOf(entry.arm, changes);
    return planned === null ? [] : [{ ...planned, ...endOf(entry) }];
  });
  const ruled = plain.flatMap((entry): Tried[] => {
    const rule = ruleOf(entry);
    if (rule === null || entry === baseline) return [];
    const { label } = rule;
    return [{ label, rule, planned: null, ...endOf(entry), interference: interferenceOf(entry, from) }];
  });
  const without = endOf(baseline);
  const cause = decideCause({
    onset,
    observed,
    references,
    hasModel: true,
    changes,
    arms,
    ruleHolds: ruled.some(({ outcome }) => outcome === 'holds'),
    // Its baseline ran in the own framework and precision.
    unrecorded: null,
  });
  const tried: Tried[] = [
    ...arms.map((arm) => ({ ...arm, label: armLabel(arm.arm), rule: setup.clipping, planned: arm })),
    ...ruled,
  ];
  const remedies = tried.map((one) =>
    remedyOf(one, { tried: 0, held: 0 }, without.finalLoss, context, references),
  );
  return {
    cause,
    remedies:
      without.outcome === 'holds'
        ? [noneNeeded(cause, without.finalLoss), ...rankRemedies(remedies.filter(notClip), cause.trigger)]
        : rankRemedies(remedies, cause.trigger),
  };
}

/** Whether a training under the recorded clipping did up to the onset what was recorded. */
const follows = ({ loss }: Loop, observed: Observed, onset: number): boolean =>
  loss !== null &&
  observed.loss.slice(0, onset + 1).every((recorded, i) => {
    const off = Math.abs(loss[i]! - recorded);
    return !Number.isFinite(recorded) || off <= FOLLOWS * Math.abs(recorded);
  });

/** The rule of an entry as it is known here; null where it is not. */
function ruleOf({ label, rule }: ReplayEntry): RuleChoice | null {
  try {
    return parseRule(label ?? rule)[0] ?? null;
  } catch (error) {
    if (error instanceof DiagError) return null;
    throw error;
  }
}

function referencesOf(
  { steps, manifest }: Capture,
  onset: number,
  { referenceLoss }: Loop,
  armed: readonly (Loop & { arm: ReplayArm })[],
): References {
  const position = new Map(steps.map(({ step }, index) => [step, index]));
  const positions = (named: readonly number[]): number[] =>
    named.flatMap((step) => position.get(step) ?? []).sort((a, b) => a - b);
  const losses = steps.map((_, index) => manifest.batchLosses[index] ?? Number.NaN);
  const known = manifest.batchLosses.length === steps.length;
  const near = Math.max(0, onset - 1);
  const references = positions(manifest.references);
  const harmful = firstHarm(referenceLoss, onset);
  return {
    at: 0,
    later: known ? losses.map((loss, index) => ({ index, loss })).slice(near) : [],
    usual: known ? usualRange(losses.slice(0, near)) : null,
    unlike: new Set(positions(armed.find(({ arm }) => arm.kind === 'skip-batches')?.arm.steps ?? [])),
    onsetBatch: known ? [{ index: 0, loss: losses[onset]! }] : [],
    before: references.filter((index) => index < onset),
    after: references.filter((index) => index > onset),
    // They stay with the own framework.
    batches: [],
    loss: referenceLoss,
    harmful,
    highest: highestBefore(referenceLoss, onset),
    level: levelBefore(referenceLoss, harmful ?? onset),
  };
}

/** What an arm takes back, and what it costs. */
function plannedOf(arm: ReplayArm, changes: readonly Change[]): Omit<PlannedArm, 'training'> | null {
  const made = (undoes: Trigger, given: Partial<PlannedArm> = {}): Omit<PlannedArm, 'training'> => ({
    arm,
    undoes,
    interference: 0,
    skipSteps: null,
    learningRateFactor: null,
    ...given,
  });
  if (arm.kind === 'skip-batches' && arm.steps !== undefined && arm.steps.length > 0)
    return made('data', { skipSteps: [arm.steps[0]!, arm.steps.at(-1)!] });
  if (arm.kind === 'restore-optimizer-state' && arm.at !== undefined) return made('optimizer-state');
  if (arm.kind !== 'learning-rate') return null;
  if (arm.factor !== undefined)
    return made('sharpness', { interference: 1 - arm.factor, learningRateFactor: arm.factor });
  const rise = changes.find(({ trigger }) => trigger === 'learning-rate');
  return made('learning-rate', { learningRateFactor: rise === undefined ? null : 1 / rise.size });
}
