/** How many steps an optimizer had taken before the first one of a capture. */
import { expect, it } from 'vitest';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import type { Capture } from '../../src/read/captures/read.ts';

const tensor = { name: 'w', shape: [1], layout: 'none', embedding: false, elements: 1, group: 0 };

/** As much of a capture as it takes: one tensor. */
function beginning(step: number, state: Record<string, number>, name = 'adam'): Capture {
  const slots = new Map(Object.entries(state).map(([slot, value]) => [slot, Float64Array.of(value)]));
  return {
    path: 'capture',
    manifest: {
      steps: [{ step }],
      optimizers: [{ name, options: {}, formula: true }],
      clipping: [],
      parameters: [tensor],
    },
    steps: [],
    initial: async () => ({ parameters: [Float64Array.of(1)], slots: [slots] }),
  } as unknown as Capture;
}

it.each([
  // Loops count from 0, trainers from 1; before the first step there is no state.
  { step: 0, state: {}, taken: 0, missing: [] },
  { step: 1, state: {}, taken: 0, missing: [] },
  { step: 1, state: { m: 0.1, v: 0.2 }, taken: 1, missing: [] },
  { step: 1, state: { m: 0.1, v: 0.2, step: 7 }, taken: 7, missing: [] },
  // What is not stored starts as the optimizer starts it, the count too; where that is stored, nothing is missing.
  { step: 300, state: {}, taken: 0, missing: ['m', 'v'] },
  { step: 300, state: { step: 0 }, taken: 0, missing: [] },
  { step: 300, state: { step: 300 }, taken: 300, missing: ['m', 'v'] },
  { step: 300, state: { m: 0.1, v: 0.2 }, taken: 300, missing: [] },
])('step $step with the state $state: $taken were taken', async ({ step, state, taken, missing }) => {
  const { tensors, missingState } = await prepareReplay(beginning(step, state), 'float64');
  expect([tensors[0]!.stepsTaken, missingState]).toEqual([taken, missing]);
});

it('an optimizer that keeps no state has taken the steps of the run', async () => {
  const { tensors, missingState } = await prepareReplay(beginning(300, {}, 'sgd'), 'float64');
  expect([tensors[0]!.stepsTaken, missingState]).toEqual([300, []]);
});
