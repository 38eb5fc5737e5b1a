/**
 * One training step under a clipping rule: where rules (which only measure) and optimizers (which own their state) meet.
 *
 *     gradient ─ rule ─ + βw ─ optimizer → r ─ rule ─ · η → Δ ─ rule ─ w ← w − σΔ
 *
 * Every replay takes its steps here, the closed loop too. At each place the parts of the rule act one after the other.
 * A rule measures first, and the step is made in one pass or in stages over typed arrays (tensor-step.ts); buffers are made
 * once and used again, so that a step allocates nothing that grows with the model.
 */

import { type Change, leaves } from '../../step/kernels/change.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import type { RuleState } from '../../step/rules/rule.ts';
import {
  createBench,
  openWork,
  type StepObserver,
  type StepperOptions,
  type Unclipped,
  type Work,
} from './bench.ts';
import type { Bottleneck } from './factors.ts';
import { keepSchedule, leaveOut, leavesArrays, measureShared, skippingPart, takeGradient } from './stages.ts';
import { asUnclipped, inOnePass, inStages, type TensorStep } from './tensor-step.ts';
import type { Gradient, TensorState } from './tensors.ts';

/** What one step did. */
export interface StepRecord {
  /** Smallest factor of the rule over all tensors and units; 1 where it did nothing, NaN if one is. */
  readonly minFactor: number;
  /** Smallest factor of each tensor; of several parts the product of their smallest. Overwritten by the next step. */
  readonly factors: Float64Array;
  /** Where the smallest factor is; of several parts the place of the one that is smallest there. */
  readonly bottleneck: Bottleneck;
  /** Whether any factor is not 1. */
  readonly engaged: boolean;
  /** ‖w before − w after‖ over all tensors. */
  readonly updateNorm: number;
  /** ‖w before − w after‖² of each tensor, 0 of one without a gradient. Overwritten by the next step. */
  readonly movements: Float64Array;
  /** Whether all parameters that moved are finite after the step. */
  readonly finite: boolean;
  /** Of a dry step and the one without a rule: ΣΔ², ΣΔ·Δ₀ and ΣΔ₀² over all tensors. */
  readonly beside: { readonly stored: number; readonly product: number; readonly unclipped: number };
}

export interface Stepper {
  readonly rule: RuleChoice;
  readonly optimizers: readonly OptimizerChoice[];
  /** State of each part of the rule, null before its first step; may be saved and put back. */
  ruleStates: readonly (RuleState | null)[];
  /** Between two steps: from the next one on the groups have these optimizers, the same with options that were written into them. */
  use(optimizers: readonly OptimizerChoice[]): void;
  /**
   * Takes one step.
   *
   * @param tensors parameters and state; moved on unless `dry`
   * @param gradients one for each tensor, not written to
   * @param learningRates one for each group
   * @param dry measure what the step would do and leave the tensors as they are; the rule's own state moves on
   * @param loss of the step's batch, for rules that look at it; null where it is not known
   */
  step(
    tensors: readonly TensorState[],
    gradients: readonly Gradient[],
    learningRates: readonly number[],
    dry?: boolean,
    observer?: StepObserver,
    loss?: number | null,
  ): StepRecord;
  /** The same tensor by tensor: steps under several rules go through the tensors together. */
  begin(...input: Parameters<Stepper['step']>): OpenStep;
}

/** A step of which the tensors are taken one after the other, each once, in order. */
export interface OpenStep {
  /**
   * Looks at the gradient of a tensor before its turn: what the rule makes of it, where that is all that it does; undefined where it
   * is not, or nothing.
   *
   * @param parameterSquares Σw²
   */
  ahead(t: number, parameterSquares?: () => number): Change | undefined;
  /** @param beside what the step without a rule would do to it: a dry step is compared with it, and a real one may reuse it */
  tensor(t: number, beside?: Unclipped): void;
  end(): StepRecord;
}

/**
 * The stepper of a rule and the optimizers of the groups. A rule's own options (accumulator, ε, learningRate) win over
 * the optimizer's.
 *
 * @throws rule-undefined for a combination that has no meaning, rule-conflict
 */
export function createStepper(settings: StepperOptions): Stepper {
  let bench = createBench(settings);
  let movements = new Float64Array();
  const stepper: Stepper = {
    rule: bench.rule,
    optimizers: bench.groups.map(({ choice }) => choice),
    ruleStates: settings.rule.parts.map(() => null),
    use(optimizers) {
      bench = createBench({ ...settings, optimizers, room: bench.room });
    },
    step(...input) {
      const open = stepper.begin(...input);
      for (const t of input[0].keys()) open.tensor(t);
      return open.end();
    },
    begin(tensors, gradients, learningRates, dry = false, observer, loss = null) {
      bench.observer = observer;
      bench.factors.begin(tensors.length);
      const states = [...stepper.ruleStates];
      const shared = measureShared(bench, states, tensors, gradients, learningRates, loss);
      stepper.ruleStates = states;
      const skipping = skippingPart(bench, shared);
      if (movements.length === tensors.length) movements.fill(0);
      else movements = new Float64Array(tensors.length);
      let movement = 0;
      let finite = true;
      const held = { stored: 0, product: 0, unclipped: 0 };
      const skips = dry || skipping !== undefined;
      let lookedAt: Map<number, TensorStep> | undefined;
      const look = (work: Work): TensorStep => {
        const schedule = keepSchedule(bench, work);
        const taken = takeGradient(bench, work, shared, null, true);
        return { bench, work, taken, schedule, dry, beside: undefined };
      };
      return {
        ahead(t, parameterSquares) {
          const { absent, rows } = gradients[t]!;
          if (absent || rows !== undefined || skipping !== undefined) return undefined;
          const work = openWork(bench, t, tensors[t]!, gradients[t]!, learningRates, dry);
          if (!leavesArrays(bench, work)) return undefined;
          work.parameterSquares = parameterSquares;
          const one = look(work);
          lookedAt ??= new Map();
          lookedAt.set(t, one);
          return leaves(one.taken.change) ? undefined : one.taken.change;
        },
        tensor(t, beside) {
          const tensor = tensors[t]!;
          if (gradients[t]!.absent) return;
          if (beside !== undefined) held.unclipped += beside.sums.stored;
          let one = lookedAt?.get(t);
          if (one === undefined) {
            const work = openWork(bench, t, tensor, gradients[t]!, learningRates, skips);
            // A real step adds in the order that it has alone.
            if (dry && beside !== undefined && work.group.choice === beside.choice)
              work.parameterSquares = () => beside.sums.parameters;
            if (skipping !== undefined) {
              leaveOut(bench, skipping, work);
              return;
            }
            one = look(work);
          }
          const { work } = one;
          one.beside = beside;
          const moved = asUnclipped(one) ?? inOnePass(one) ?? inStages(one);
          movement += moved.squares;
          movements[t] = moved.squares;
          held.stored += moved.stored;
          held.product += moved.product;
          finite &&= moved.finite;
          bench.factors.close(t);
          if (dry) return;
          work.store();
          tensor.stepsTaken = work.step;
        },
        end() {
          // Not `...result()`: a spread costs as much as the step of a small tensor.
          const { minFactor, factors, bottleneck, engaged } = bench.factors.result();
          return {
            minFactor,
            factors,
            bottleneck,
            engaged,
            updateNorm: Math.sqrt(movement),
            movements,
            finite,
            beside: held,
          };
        },
      };
    },
  };
  return stepper;
}
