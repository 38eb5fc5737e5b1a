/** Which arms are trained: each changes one thing, the decisive ones first. */

import type { Trigger } from '../../model/cause.ts';
import type { ReplayArm, SkippedRows } from '../../model/replay.ts';
import { batchesOf } from '../replay/arm-end.ts';
import type { TrainingArm } from '../replay/closed-loop.ts';
import { lastsToEnd } from '../replay/outcome.ts';
import type { References } from '../replay/reference.ts';
import type { BadRows } from './bad-rows.ts';
import type { Change } from './change.ts';
import type { Observed } from './observe.ts';

/** An arm before it is trained. */
export interface PlannedArm {
  readonly arm: ReplayArm;
  readonly training: TrainingArm;
  /** Which recorded batch each step takes, by position; left out, its own. */
  readonly order?: readonly number[];
  /** The trigger that it takes back, if it takes back a whole one; a lower rate takes back none but sharpness. */
  readonly undoes: Trigger;
  /** Share of the steps before the incident that it changes, times how hard. */
  readonly interference: number;
  /** Inclusive step numbers that it leaves out. */
  readonly skipSteps: readonly [number, number] | null;
  /** Against the rate of the trigger's step. */
  readonly learningRateFactor: number | null;
  /** Times the weight decay of every group. */
  readonly weightDecayFactor?: number;
  /** Of settings as they were before. */
  readonly setBack?: NonNullable<Change['setBack']>;
}

/** Rows that stand out in unlike batches, as the experiments name them. */
function rowsLeftOut(
  { steps, rowIds }: Pick<Observed, 'steps' | 'rowIds'>,
  bad: BadRows,
): readonly SkippedRows[] {
  return [...bad]
    .sort(([a], [b]) => a - b)
    .map(([index, rows]) => {
      const ids = rows.map((row) => rowIds?.[index]?.[row]);
      return { step: steps[index]!, rows, ids: ids.every((id) => id !== undefined) ? ids : null };
    });
}

/** Settings as they were before they were written: of the options, and of the rates, the largest change. */
function settingsArms(steps: readonly number[], changes: readonly Change[]): PlannedArm[] {
  const largest = (trigger: Trigger): Change | undefined =>
    changes
      .filter((change) => change.setBack !== undefined && change.trigger === trigger && change.from > 0)
      .sort((a, b) => b.size - a.size)[0];
  return [largest('code'), largest('learning-rate')].flatMap((change): PlannedArm[] => {
    if (change === undefined) return [];
    const { from, trigger } = change;
    const setBack = change.setBack!;
    return [
      {
        arm: { kind: 'settings', at: steps[from]! },
        training: { settings: { from, rates: setBack.rates } },
        undoes: trigger,
        interference: 0,
        skipSteps: null,
        learningRateFactor: null,
        setBack,
      },
    ];
  });
}

/** Rates that are tried against sharpness, times the recorded ones. */
const LOWER = [0.5, 0.1] as const;

/**
 * @param until position of the first harmful step, or of the onset where no step did harm
 * @param bad rows that stand out in the unlike batches; null where none do
 */
export function planArms(
  observed: Observed,
  references: References,
  changes: readonly Change[],
  until: number,
  bad: BadRows | null = null,
): PlannedArm[] {
  const { steps, batchIds, learningRate } = observed;
  const planned: PlannedArm[] = [];
  const positions = [...references.unlike].sort((a, b) => a - b);
  const clean = steps.map((_, index) => index).filter((index) => !references.unlike.has(index));
  const batchesAt = (indices: readonly number[]) => {
    const idOf = new Map(indices.map((index) => [steps[index]!, batchIds[index]]));
    return batchesOf([...idOf.keys()], (step) => idOf.get(step));
  };
  // A batch whose loss jumped before the climb, and came back; batches that are unlike after the climb began did not begin it.
  const jumped = changes.find(({ recorded }) => recorded === true);
  const left = jumped === undefined ? positions : [jumped.from];
  // Leaving them out would end the training, and nothing would show whether it holds.
  if (lastsToEnd(references.unlike, steps.length)) {
    const place = new Map(positions.map((index, k) => [index, clean[k % clean.length]!]));
    planned.push({
      arm: { kind: 'earlier-batches', ...batchesAt(positions) },
      training: {},
      order: steps.map((_, index) => place.get(index) ?? index),
      undoes: 'data',
      interference: 0,
      skipSteps: null,
      learningRateFactor: null,
    });
  } else if (left.length > 0 && clean.length > 0)
    planned.push({
      arm: { kind: 'skip-batches', ...batchesAt(left) },
      training: { skip: new Set(left) },
      undoes: 'data',
      interference: 0,
      skipSteps: [steps[left[0]!]!, steps[left.at(-1)!]!],
      learningRateFactor: null,
    });
  if (bad !== null) {
    const rows = rowsLeftOut(observed, bad);
    planned.push({
      arm: { kind: 'skip-rows', steps: rows.map(({ step }) => step), rows },
      training: { without: bad },
      undoes: 'data',
      interference: 0,
      skipSteps: null,
      learningRateFactor: null,
    });
  }
  const rate = changes.find(({ trigger, written }) => trigger === 'learning-rate' && written !== true);
  if (rate !== undefined) {
    const before = learningRate[rate.from]! / rate.size;
    planned.push({
      arm: { kind: 'learning-rate', learningRate: before },
      training: {
        rate: (index) =>
          index >= rate.from && learningRate[index]! > before ? before / learningRate[index]! : 1,
      },
      undoes: 'learning-rate',
      interference: 0,
      skipSteps: null,
      learningRateFactor: 1 / rate.size,
    });
  }
  const decay = changes.find(({ decayFactor }) => decayFactor !== undefined);
  if (decay !== undefined)
    planned.push({
      arm: { kind: 'weight-decay', factor: decay.decayFactor! },
      training: { decay: { from: decay.from, factor: decay.decayFactor! } },
      undoes: 'weight-decay',
      interference: 0,
      skipSteps: null,
      learningRateFactor: null,
      weightDecayFactor: decay.decayFactor!,
    });
  planned.push(...settingsArms(steps, changes));
  // Without a level before, any step up to the onset may have done the harm.
  const from = references.level === null ? 0 : until;
  const first = Math.min(from, ...changes.map((change) => change.from));
  for (const factor of LOWER)
    planned.push({
      arm: { kind: 'learning-rate', factor },
      training: { rate: (index) => (index >= first ? factor : 1) },
      undoes: 'sharpness',
      interference: 1 - factor,
      skipSteps: null,
      learningRateFactor: factor,
    });
  const end = positions.findLast((index) => index >= first) ?? until;
  const at = Math.max(end, until) + 1;
  if (at < steps.length)
    planned.push({
      arm: { kind: 'restore-optimizer-state', at: steps[at]! },
      training: { restore: { from: first, at } },
      undoes: 'optimizer-state',
      interference: 0,
      skipSteps: null,
      learningRateFactor: null,
    });
  return planned;
}
