/** Options that change while a run is recorded, by the position of the step. */
import { describe, expect, it } from 'vitest';
import { optimizersAt, setupFrom, writtenOptions } from '../../src/experiment/replay/written-options.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';

const sgd = chooseOptimizer('sgd', { momentum: 0.9 });
const stepsOf = (...options: (Record<string, unknown> | null)[]) =>
  ({
    steps: options.map((one) => ({ record: { options: one === null ? null : new Map([[0, one]]) } })),
  }) as never;

describe('options of a group', () => {
  it('that are recorded once are those of the whole run', () => {
    expect(writtenOptions(stepsOf({ momentum: 0.9 }, null, null), [sgd]).size).toBe(0);
  });
  it('that are cycled are those of each step', () => {
    const written = writtenOptions(stepsOf({ momentum: 0.9 }, { momentum: 0.8 }, null, { momentum: 0.9 }), [
      sgd,
    ]);
    const setup = { optimizers: [sgd], written };
    expect([0, 1, 2, 3].map((at) => optimizersAt(setup, at)[0]!.options.momentum)).toEqual([
      0.9, 0.8, 0.8, 0.9,
    ]);
    const later = setupFrom(setup, 2);
    expect([0, 1].map((at) => optimizersAt(later, at)[0]!.options.momentum)).toEqual([0.8, 0.9]);
  });
  it('outside of their range are taken as they were', () => {
    const written = writtenOptions(stepsOf({ momentum: 0.9 }, { momentum: 1.35 }), [sgd]);
    expect(written.get(1)![0]!.options.momentum).toBe(1.35);
  });
  it('that are unknown, or of another type, are left out', () => {
    const options = [
      { momentum: 0.9, fused: true },
      { momentum: 'much', fused: false },
    ];
    expect(writtenOptions(stepsOf(...options), [sgd]).size).toBe(0);
  });
});
