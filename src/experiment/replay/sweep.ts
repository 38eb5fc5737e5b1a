/** Rules at other thresholds, at the states of an incident: the largest that would have limited its updates. */

import type { ThresholdSweep } from '../../model/replay.ts';
import type { Capture } from '../../read/captures/read.ts';
import { compose, optionsOf, type RulePart } from '../../step/rules/choice.ts';
import type { Precision } from '../../step/tensor/values.ts';
import { follow, type Prepared } from './follow.ts';
import { createRoom } from './room.ts';
import { createStepper } from './step.ts';
import type { Track } from './track.ts';
import type { IncidentUpdates } from './verdict.ts';
import { useWritten } from './written-options.ts';

/** Thresholds that a sweep tries: 1-2-5 steps over ten decades. */
const SWEEP = [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((e) =>
  [1, 2, 5].map((digit) => Number(`${digit}e${e}`)),
);

/** Every rule that has a threshold, at other values of it, at the states of the incident's updates. */
export async function sweepAll(
  capture: Capture,
  prepared: Prepared,
  tracks: readonly Track[],
  precision: Precision,
  updates: IncidentUpdates,
): Promise<Map<Track, ThresholdSweep>> {
  const room = createRoom(precision);
  // Which of several thresholds would be moved?
  const trials = tracks.flatMap((track) => {
    const { parts } = track.stepper.rule;
    const [part] = parts as [RulePart];
    const option = part.rule.sweepOption;
    if (parts.length > 1 || option === undefined || track.multiplier !== 1) return [];
    const spec = optionsOf(part.rule).find(({ name }) => name === option)!;
    const values = SWEEP.filter((value) => spec.type === 'number' && value <= spec.max);
    return {
      track,
      option,
      values,
      steppers: values.map((value) =>
        createStepper({
          rule: compose([{ ...part, options: { ...part.options, [option]: value } }]),
          optimizers: prepared.setup.optimizers,
          precision,
          room,
        }),
      ),
      largest: values.map(() => 0),
    };
  });
  await follow(capture, prepared, {
    precision,
    until: updates.last + 1,
    visit: (index, step, tensors) => {
      for (const { steppers } of trials) useWritten(prepared.setup, index, steppers);
      if (index < updates.first) return;
      for (const { steppers, largest } of trials)
        for (const [k, stepper] of steppers.entries()) {
          const { updateNorm } = stepper.step(tensors, step.gradients, step.learningRates, true);
          if (!(updateNorm <= largest[k]!)) largest[k] = updateNorm;
        }
    },
  });
  const limit = 2 * updates.usual;
  return new Map(
    trials.map(({ track, option, values, largest }) => {
      const held = values.filter((_, k) => largest[k]! <= limit);
      return [track, { option, values, updateNorm: largest, limit, largest: held.at(-1) ?? null }];
    }),
  );
}
