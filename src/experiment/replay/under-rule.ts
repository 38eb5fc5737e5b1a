/** What a clipping rule makes of the next step at a state, entry by entry: what a limit of stability under the rule takes. */

import { DiagError } from '../../model/errors.ts';
import type { Capture } from '../../read/captures/read.ts';
import { decayOf, type OptimizerChoice } from '../../step/optimizers/registry.ts';
import { type RuleChoice, ruleForOptimizer } from '../../step/rules/choice.ts';
import type { ClipRule, SeenTensor } from '../../step/rules/rule.ts';
import { unitsOf, type Values } from '../../step/tensor/values.ts';
import { alongRecorded } from './along-recorded.ts';
import { traitsOf } from './bench.ts';
import type { Prepared } from './follow.ts';
import { createStepper, type Stepper } from './step.ts';
import { copyTensors, type TensorState } from './tensors.ts';
import { useWritten } from './written-options.ts';

/** A step under a rule, its factors held. */
export interface StepUnderRule {
  readonly rule: RuleChoice;
  /** Of the groups, with the options and the learning rates that the rule replaces. */
  readonly optimizers: readonly OptimizerChoice[];
  readonly learningRates: readonly number[];
  /** Of each tensor what the optimizer takes as its gradient: clipped, with coupled weight decay. */
  readonly taken: readonly Float64Array[];
  /** Of each entry of each tensor the product of all factors on its way from the gradient to the update; NaN where the state begins anew. */
  readonly factors: readonly Float64Array[];
  /** ‖w after − w before‖. */
  readonly updateNorm: number;
}

/**
 * Steppers of rules whose own state is that of before a recorded step: it moved on with the recorded gradients. Rules that
 * are not defined for the optimizer are left out.
 *
 * @param index position of the step
 * @throws what reading the capture throws
 */
export async function steppersAt(
  capture: Capture,
  prepared: Pick<Prepared, 'setup' | 'tensors'>,
  rules: readonly RuleChoice[],
  index: number,
): Promise<readonly Stepper[]> {
  const { optimizers } = prepared.setup;
  const steppers = rules.flatMap((rule) => {
    try {
      return [createStepper({ rule, optimizers, precision: 'float32' })];
    } catch (error) {
      if (error instanceof DiagError && error.code === 'rule-undefined') return [];
      throw error;
    }
  });
  const stateful = steppers.filter(({ rule }) =>
    rule.parts.some(
      ({ rule: part }) => part.scope === 'model' && Object.keys(part.initialState(1)).length > 0,
    ),
  );
  if (stateful.length > 0)
    await alongRecorded({ capture, prepared }, index, async (i, tensors) => {
      const { gradients, learningRates, loss } = await capture.step(i, 'float32');
      useWritten(prepared.setup, i, stateful);
      for (const stepper of stateful) stepper.step(tensors, gradients, learningRates, true, undefined, loss);
    });
  return steppers;
}

/**
 * A step under the rule of a stepper. The tensors stay as they are; the rule's own state moves on.
 *
 * @param gradients of each tensor, without weight decay
 * @param learningRates of each group, as the optimizer has them
 * @param loss of the batch
 */
export function stepUnderRule(
  stepper: Stepper,
  tensors: readonly TensorState[],
  gradients: readonly Values[],
  learningRates: readonly number[],
  loss: number,
): StepUnderRule {
  const { rule, optimizers } = stepper;
  const taken = gradients.map((values) => Float64Array.from(values));
  const factors = gradients.map((values) => new Float64Array(values.length).fill(1));
  const decayed = new Set<number>();
  const { updateNorm } = stepper.step(
    copyTensors(tensors),
    gradients.map((values) => ({ values })),
    learningRates,
    true,
    {
      scheduled(t, { reset, scale }) {
        // What the optimizer divides by after a reset is not that of the state at hand.
        for (let i = 0; i < factors[t]!.length; i++) factors[t]![i]! *= reset ? Number.NaN : scale;
      },
      measured(part, t, seen, factor) {
        const { rule: definition, options } = rule.parts[part]!;
        if (definition.stage !== 'gradient') {
          for (let i = 0; i < factors[t]!.length; i++) factors[t]![i]! *= factor;
          return;
        }
        const own = entryFactors(
          definition,
          options,
          { ...seen, x: taken[t]!, squares: undefined, largest: undefined },
          factor,
        );
        for (let i = 0; i < own.length; i++) {
          factors[t]![i]! *= own[i]!;
          taken[t]![i]! *= own[i]!;
        }
        if (definition.afterWeightDecay !== true || seen.weightDecay === 0) return;
        decayed.add(t);
        for (let i = 0; i < own.length; i++) taken[t]![i]! += own[i]! * seen.weightDecay * seen.w[i]!;
      },
    },
    loss,
  );
  const inDirection = rule.parts.some(({ rule: part }) => part.decayInDirection === true);
  for (const [t, { w, group }] of tensors.entries()) {
    const { options } = optimizers[group]!;
    if (
      inDirection ||
      decayed.has(t) ||
      decayOf(optimizers[group]!) !== 'gradient' ||
      options.weightDecay === 0
    )
      continue;
    for (let i = 0; i < w.length; i++) taken[t]![i]! += options.weightDecay * w[i]!;
  }
  return {
    rule,
    optimizers,
    learningRates: learningRates.map(
      (rate, group) => ruleForOptimizer(rule, traitsOf(optimizers[group]!)).learningRate ?? rate,
    ),
    taken,
    factors,
    updateNorm,
  };
}

/** The factor of each entry of a tensor at the gradient's stage. */
function entryFactors(
  definition: ClipRule,
  options: StepUnderRule['rule']['parts'][number]['options'],
  seen: SeenTensor,
  factor: number,
): Float64Array {
  const { x } = seen;
  const factors = new Float64Array(x.length).fill(factor);
  if (definition.scope === 'entry') {
    const out = new Float64Array(x.length);
    if (definition.clamp(seen, options, out).factor === 1) return factors;
    for (let i = 0; i < x.length; i++) factors[i] = x[i] === 0 ? 1 : out[i]! / x[i]!;
  } else if (definition.scope === 'unit') {
    const units = unitsOf(seen);
    const measured = new Float64Array(units.count);
    definition.measure(seen, options, measured, units);
    for (let i = 0; i < x.length; i++) factors[i] = measured[Math.floor(i / units.stride) % units.count]!;
  }
  return factors;
}
