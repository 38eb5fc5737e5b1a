/** Trainings that were tried, by the experiments here or in the user's own framework, as remedies with a line to paste. */

import type { ArmOutcome, Cause, Remedy } from '../../model/cause.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import { rowsWords } from '../../model/rows-words.ts';
import { trainingLoopOf } from '../../model/training-loop.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { type ArmEnd, unknownEnd } from '../replay/arm-end.ts';
import type { References } from '../replay/reference.ts';
import { groupShares, pasteDecay, pasteRate, pasteRows, pasteRule, pasteSkip } from './paste.ts';
import type { PlannedArm } from './plan.ts';
import { CAME_BACK, untried } from './remedies.ts';

/** A training that changed one thing: a rule, or an arm under the recorded clipping. */
export interface Tried extends ArmEnd {
  readonly label: string;
  readonly rule: RuleChoice;
  readonly planned: Omit<PlannedArm, 'training'> | null;
  readonly interference: number;
}

/** The sources of a remedy besides the try. */
export interface RemedyContext {
  readonly capture: Pick<Capture, 'manifest' | 'steps'>;
  /** The newest whole checkpoint at or before a step. */
  checkpointBefore(step: number): string | null;
}

/** Advice that a run which came back still gets: neither clipping nor a lower rate. */
export const notClip = ({ action }: Remedy): boolean => action !== 'clip' && action !== 'lower-learning-rate';

/** Share of the steps before the incident that a rule changed, times how hard. */
export function interferenceOf({ minClipFactor }: ReplayEntry, from: number): number {
  const before = minClipFactor.slice(0, from);
  return before.length === 0 ? 0 : before.reduce((sum, factor) => sum + (1 - factor), 0) / before.length;
}

/** The remedy of a run that came back, or that follows data that stay as they changed. */
export const noneNeeded = (
  { mechanism }: Cause,
  { finalLoss, afterShift }: Pick<ArmEnd, 'finalLoss' | 'afterShift'>,
): Remedy =>
  untried('none-needed', noneWords(mechanism, afterShift), {
    holds: true,
    tried: 'recorded',
    outcome: 'holds',
    finalLoss,
    finalLossWithout: finalLoss,
  });

function noneWords(mechanism: Cause['mechanism'], afterShift = false): string {
  if (afterShift)
    return 'nothing, if the data are as they should be: the data stay as they changed, the run learns them, and no training that was tried ends far below it there and keeps more of what was learnt before';
  return mechanism === 'bad-batch-only' ? 'nothing: the weights are unharmed' : CAME_BACK;
}

/** What was tried, with how it ended, as a remedy. */
export function remedyOf(
  one: Tried,
  perturbations: Remedy['perturbations'],
  finalLossWithout: number,
  { capture, checkpointBefore }: RemedyContext,
  references: References | null,
): Remedy {
  const { rule, planned, outcome, finalLoss, interference } = one;
  const loop = trainingLoopOf(capture.manifest.framework, capture.manifest.trainer);
  const start = capture.steps[0]!.step;
  const from = { step: start, path: checkpointBefore(start) };
  const holds = outcome === null ? null : outcome === 'holds' && perturbations.held === perturbations.tried;
  const shared = {
    from,
    tried: 'closed-loop',
    holds,
    outcome,
    finalLoss: Number.isFinite(finalLoss) ? finalLoss : null,
    finalLossWithout: Number.isFinite(finalLossWithout) ? finalLossWithout : null,
    interference,
    perturbations,
  } as const;
  const ends = endText(outcome, finalLoss, references, perturbations, one);
  if (planned === null)
    return untried('clip', `clip with ${rule.label} from step ${start}: ${ends}`, {
      ...shared,
      rule: rule.label,
      paste: pasteRule(rule, loop),
    });
  const { arm, skipSteps, learningRateFactor, weightDecayFactor } = planned;
  if (arm.kind === 'skip-batches') {
    const [first, last] = skipSteps!;
    const which =
      first === last
        ? `the batch of step ${first}`
        : `the ${arm.steps!.length} unlike batches of steps ${first} to ${last}`;
    return untried('skip-batches', `leave out ${which}: ${ends}`, {
      ...shared,
      skipSteps,
      paste: pasteSkip(loop, arm.steps!),
    });
  }
  if (arm.kind === 'skip-rows') {
    const skipRows = arm.rows!;
    return untried('skip-rows', `leave out ${rowsWords(skipRows)}: ${ends}`, {
      ...shared,
      skipRows,
      paste: pasteRows(loop, skipRows),
    });
  }
  if (arm.kind === 'earlier-batches')
    return untried(
      'fix-data',
      `mend the data from step ${arm.steps![0]} on: ${arm.steps!.length} batches, to the last recorded one, are unlike those before, so that leaving them out is no remedy; with batches from before in their place ${ends}`,
      shared,
    );
  if (arm.kind === 'restore-optimizer-state')
    return untried(
      'restore-optimizer-state',
      `put the optimizer state from before the incident back at step ${arm.at}: ${ends}`,
      { ...shared, from: { step: arm.at!, path: null } },
    );
  if (weightDecayFactor !== undefined)
    return untried('lower-weight-decay', `multiply the weight decay by ${weightDecayFactor}: ${ends}`, {
      ...shared,
      weightDecayFactor,
      paste: pasteDecay(loop, weightDecayFactor),
    });
  if (planned.setBack !== undefined) return settingsAsBefore(planned.setBack, arm.at!, ends, shared);
  const rate = arm.learningRate ?? null;
  return untried(
    'lower-learning-rate',
    `${rate === null ? `multiply the learning rate by ${arm.factor}` : `keep the learning rate at ${formatNumber(rate)}`}: ${ends}`,
    {
      ...shared,
      learningRate: rate,
      learningRateFactor,
      paste: pasteRate(loop, rate, learningRateFactor, groupShares(capture.steps)),
    },
  );
}

/** Settings that were written, as they were before: an option is for the code that wrote it, a rate is given. */
const settingsAsBefore = (
  { words, rate }: NonNullable<PlannedArm['setBack']>,
  step: number,
  ends: string,
  shared: Partial<Remedy>,
): Remedy =>
  untried(rate === null ? 'fix-code' : 'lower-learning-rate', `keep ${words} from step ${step} on: ${ends}`, {
    ...shared,
    learningRate: rate,
  });

/** How a try ended, in words. */
export function endText(
  outcome: ArmOutcome | null,
  finalLoss: number,
  references: References | null,
  { tried, held }: Remedy['perturbations'],
  { slower, afterShift = false }: Pick<ArmEnd, 'slower' | 'afterShift'> = {},
): string {
  const level = references?.level ?? null;
  const usual = level === null ? '' : `, where ${formatNumber(level)} was usual`;
  const compared = afterShift ? '; on them and on the new data it is compared with the best training' : '';
  const at = `the loss on reference batches ends at ${formatNumber(finalLoss)}${usual}${compared}`;
  const more =
    tried === 0
      ? ' (not tried in other orders of the batches)'
      : ` (also in ${held} of ${tried} other orders of the batches)`;
  if (outcome === null) return `${unknownEnd(references, slower, afterShift)}; ${at}`;
  if (outcome === 'holds')
    return held < tried
      ? `it holds in the order that was recorded, and in ${held} of ${tried} other orders of the batches: ${at}`
      : `it holds${more}: ${at}`;
  if (outcome === 'frozen') return `it does not learn any more: its updates are too small; ${at}`;
  return outcome === 'hurt' ? `it is hurt: ${at}` : `it does not hold: ${at}`;
}
