/** A step that a rule leaves out, against one whose gradient is 0. */
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { copyTensors, freshTensor } from '../../src/experiment/replay/tensors.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';

const META = { name: 'w', shape: [2], layout: 'none', embedding: false } as const;

/** Twenty calm steps, then one with a gradient of that size and loss. */
function trained(optimizer: string, rule: string, last: readonly number[], loss: number) {
  const choice = chooseOptimizer(optimizer, {
    weightDecay: 0.1,
    ...(optimizer === 'sgd' && { momentum: 0.9 }),
  });
  const tensors = [freshTensor(META, Float64Array.of(1, -2), choice, 'float64')];
  const stepper = createStepper({ rule: parseRule(rule)[0]!, optimizers: [choice], precision: 'float64' });
  const calm = (k: number) => [{ values: Float64Array.of(1 + (k % 2) / 10, 1) }];
  for (let k = 0; k < 20; k++) stepper.step(tensors, calm(k), [0.01], false, undefined, 1 + (k % 3));
  const before = copyTensors(tensors);
  const moved: number[][] = [];
  const watch = { viewerOf: () => (x: ArrayLike<number>) => void moved.push([...Array.from(x)]) };
  const { updateNorm, minFactor, engaged, finite } = stepper.step(
    tensors,
    [{ values: Float64Array.from(last) }],
    [0.01],
    false,
    watch,
    loss,
  );
  return { before, tensors, moved, record: { updateNorm, minFactor, engaged, finite } };
}

describe.each(['sgd', 'adam', 'adamw', 'lamb'])('a step left out under %s', (optimizer) => {
  it('moves neither parameters nor the state nor the count of steps; a gradient of 0 does', () => {
    for (const [last, loss] of [
      [[100, 100], 1],
      [[1, 1], 100],
      [[Number.NaN, 1], 1],
      [[1, 1], Number.NaN],
    ] as const) {
      const { before, tensors, moved, record } = trained(optimizer, 'skip-step:window=20', last, loss);
      expect(tensors).toEqual(before);
      expect(moved).toEqual([[0, 0]]);
      expect(record).toEqual({ updateNorm: 0, minFactor: 0, engaged: true, finite: true });
    }
    const scaled = trained(optimizer, 'skip-step:window=20', [0, 0], 1);
    expect(scaled.record.updateNorm).toBeGreaterThan(0);
    expect(scaled.tensors[0]!.stepsTaken).toBe(scaled.before[0]!.stepsTaken + 1);
    expect(scaled.tensors[0]!.slots).not.toEqual(scaled.before[0]!.slots);
  });
});
