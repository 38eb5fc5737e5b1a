import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import {
  createFusedAdagradClippy,
  type FusedOptions,
  plainAdagradClippy,
} from '../../src/step/kernels/fused-adagrad-clippy.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { chooseRules } from '../../src/step/rules/choice.ts';

const float = fc.float({ min: -1e4, max: 1e4, noNaN: true });
/** Far from where float32 loses digits; half way it would round what float64 arithmetic keeps. */
const normal = float.map((x) => (Math.abs(x) < 1e-6 ? 0 : x));
const optionsOf = fc.record({
  variableRelativeThreshold: fc.constantFrom(0, 0.1, 0.5),
  absoluteThreshold: fc.constantFrom(0, 1e-7, 1e-2, Number.POSITIVE_INFINITY),
  epsilon: fc.constantFrom(0, 1e-7),
  epsilonInside: fc.boolean(),
  accumulator: fc.constantFrom('standard', 'delayed', 'clipped'),
}) as fc.Arbitrary<FusedOptions>;
const runs = { numRuns: Number(process.env.CLIPPY_DIAG_FUZZ ?? 200) };

describe('the SIMD kernel', () => {
  it('does what its plain twin does, bit for bit, NaN and infinities included', () => {
    const any = fc.oneof(float, fc.constantFrom(0, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-40, 3e38));
    fc.assert(
      fc.property(
        optionsOf,
        fc.array(fc.tuple(any, any, any), { minLength: 0, maxLength: 11 }),
        (options, rows) => {
          const kernel = createFusedAdagradClippy([rows.length, 3], options);
          const [mine] = kernel.tensors;
          rows.forEach(([w, g, G], i) => {
            mine!.parameters[i] = w;
            mine!.gradient[i] = g;
            mine!.accumulator[i] = Math.abs(G);
          });
          const twin = {
            parameters: mine!.parameters.slice(),
            gradient: mine!.gradient.slice(),
            accumulator: mine!.accumulator.slice(),
          };
          for (let step = 0; step < 3; step++) {
            const factor = plainAdagradClippy(twin, options, 0.1);
            assert.equal(kernel.step(0.1)[0], factor);
          }
          for (const name of ['parameters', 'gradient', 'accumulator'] as const)
            assert.deepEqual([...mine![name]], [...twin[name]], name);
          assert.deepEqual([...kernel.tensors[1]!.parameters], [0, 0, 0]);
        },
      ),
      runs,
    );
  });

  it('agrees with the stepper that replays use, subnormal numbers apart', () => {
    fc.assert(
      fc.property(
        optionsOf.filter(({ epsilonInside }) => epsilonInside),
        fc.array(fc.tuple(normal, normal), { minLength: 1, maxLength: 40 }),
        (options, rows) => {
          const { variableRelativeThreshold, absoluteThreshold, accumulator, epsilon } = options;
          const adagrad = chooseOptimizer('adagrad', { initialAccumulatorValue: 0.1, epsilon });
          const meta = { name: 'w', shape: [rows.length], layout: 'none', embedding: false } as const;
          const tensor = freshTensor(
            meta,
            Float32Array.from(rows, ([w]) => w),
            adagrad,
            'float32',
          );
          const kernel = createFusedAdagradClippy([rows.length], options);
          const [mine] = kernel.tensors;
          mine!.parameters.set(tensor.w);
          mine!.accumulator.fill(0.1);
          mine!.gradient.set(rows.map(([, g]) => g));
          const before = tensor.w.slice();
          const rule = chooseRules([
            { rule: 'clippy', options: { variableRelativeThreshold, absoluteThreshold, accumulator } },
          ]);
          const stepper = createStepper({ rule, optimizers: [adagrad], precision: 'float32' });
          const { minFactor } = stepper.step([tensor], [{ values: mine!.gradient.slice() }], [0.1]);
          const [factor] = kernel.step(0.1);
          assert(Math.abs(factor! - minFactor) <= 1e-6 * minFactor, `factor ${factor}, not ${minFactor}`);
          tensor.w.forEach((w: number, i: number) => {
            // A step that takes most of w away keeps the rounding of what w was.
            const size = Math.abs(w) + Math.abs(before[i]!);
            const off = Math.abs(w - mine!.parameters[i]!);
            assert(off <= 1e-6 * size + 1e-6, `parameter ${i} is off by ${off}`);
          });
        },
      ),
      runs,
    );
  });
});
