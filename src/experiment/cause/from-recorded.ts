/** Cause and remedies from closed loops that the user's own framework ran and stored in the capture (`clippy_diag.*.closed_loop`). */

import type { Trigger } from '../../model/cause.ts';
import type { ReplayArm, ReplayEntry } from '../../model/replay.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import { armLabel, endsBeside } from '../replay/arm-end.ts';
import type { Prepared } from '../replay/follow.ts';
import { harmFrom, healthyBeside } from '../replay/outcome.ts';
import { endedOf, endOfArm, judgedLoops, type Loop, ruleOf } from '../replay/recorded-loops.ts';
import type { Change } from './change.ts';
import { changesBy } from './changes.ts';
import { decideCause } from './decide.ts';
import type { Why } from './from-log.ts';
import type { Observed } from './observe.ts';
import type { PlannedArm } from './plan.ts';
import { rankRemedies } from './remedies.ts';
import { interferenceOf, noneNeeded, notClip, type RemedyContext, remedyOf, type Tried } from './tried.ts';

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
  const judged = judgedLoops(capture, entries, onset);
  if (judged === null) return null;
  const { loops, baseline, references } = judged;
  const plain = loops.filter(({ arm }) => arm === undefined);
  const armed = loops.filter((entry): entry is Loop & { arm: ReplayArm } => entry.arm !== undefined);
  const from = harmFrom(references, onset);
  const healthy = healthyBeside(baseline, endedOf(loops), references, baseline.updateNorm, from);
  const endOf = endsBeside(baseline, references, onset, lossesBefore(capture), healthy);
  const changes = changesBy(from, observed, references, capture.manifest.skipped, onset);
  const arms = armed.flatMap((entry) => {
    const planned = plannedOf(entry.arm, changes);
    return planned === null ? [] : [{ ...planned, ...endOfArm(entry, references, endOf) }];
  });
  const ruled = plain.flatMap((entry): Tried[] => {
    const rule = ruleOf(entry);
    if (rule === null || entry === baseline) return [];
    const { label } = rule;
    return [{ label, rule, planned: null, ...endOf(entry), interference: interferenceOf(entry, from) }];
  });
  const without = endOf(baseline);
  const back = without.outcome === 'holds';
  const cause = decideCause({
    onset,
    observed,
    references,
    hasModel: true,
    changes,
    arms,
    cameBack: back,
    afterShift: without.afterShift === true ? without.outcome : null,
    ruleHolds: ruled.some(({ shows }) => shows),
    slower: [...arms, ...ruled].some(({ slower }) => slower === true),
    shorter: null,
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
    remedies: back
      ? [noneNeeded(cause, without), ...rankRemedies(remedies.filter(notClip), cause.trigger)]
      : rankRemedies(remedies, cause.trigger),
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
  if (arm.kind === 'skip-rows' && arm.rows !== undefined) return made('data');
  if (arm.kind === 'earlier-batches' && arm.steps !== undefined && arm.steps.length > 0) return made('data');
  if (arm.kind === 'restore-optimizer-state' && arm.at !== undefined) return made('optimizer-state');
  if (arm.kind === 'weight-decay' && arm.factor !== undefined)
    return made('weight-decay', { weightDecayFactor: arm.factor });
  if (arm.kind !== 'learning-rate') return null;
  if (arm.factor !== undefined)
    return made('sharpness', { interference: 1 - arm.factor, learningRateFactor: arm.factor });
  const rise = changes.find(({ trigger }) => trigger === 'learning-rate');
  return made('learning-rate', { learningRateFactor: rise === undefined ? null : 1 / rise.size });
}
