/** What one rule, at one multiplier of the learning rate, did at each step. */

import type { OwnMembers, ReplayEntry } from '../../model/replay.ts';
import type { Capture } from '../../read/captures/read.ts';
import { leavesAll } from '../../step/rules/choice.ts';
import type { RuleDetails } from '../../step/rules/rule.ts';
import type { StepObserver, Unclipped } from './bench.ts';
import type { Prepared } from './follow.ts';
import type { OpenStep, Stepper, StepRecord } from './step.ts';
import type { Gradient, TensorState } from './tensors.ts';

/** Gradients and learning rates of a step. */
export interface StepInput {
  readonly gradients: readonly Gradient[];
  readonly learningRates: readonly number[];
  /** null where none was recorded. */
  readonly loss: number | null;
}

/** A step that is measured tensor by tensor, in order. */
export interface DryStep extends Pick<OpenStep, 'ahead'> {
  /** @param unclipped what the step without a rule would do to it, where that is known */
  tensor(t: number, unclipped?: Unclipped): void;
  end(): void;
}

export interface Track {
  readonly stepper: Stepper;
  readonly multiplier: number;
  readonly minClipFactor: readonly number[];
  readonly updateNorm: readonly number[];
  /** Norm of the update relative to the unclipped one, and the cosine between them; of dry steps. */
  readonly kept: readonly number[];
  readonly cosine: readonly number[];
  readonly engaged: readonly boolean[];
  /** Whether its steps are those without a rule. */
  readonly isUnclipped: boolean;
  /** Whether the rule replaces options of the recorded optimizer, so that its run is another from the first step on. */
  readonly optimizerDiffers: boolean;
  /** Whether the parameters are finite after the last step. */
  readonly finite: () => boolean;
  /** Measures what a step would do. */
  dryStep(input: StepInput, tensors: readonly TensorState[]): DryStep;
  /** Takes what the step without a rule did as its own. */
  take(record: StepRecord): void;
  /** Takes a step; whether the parameters are finite after it. */
  realStep(input: StepInput, tensors: readonly TensorState[]): boolean;
  bottleneck(): ReplayEntry['bottleneck'];
  /** For each tensor the smallest factor, where, and the factor at the onset. */
  tensors(onset: number | null): NonNullable<ReplayEntry['tensors']>;
  /** What the parts of the rule tell of themselves. */
  ownMembers(): OwnMembers;
}

/** Tensors whose factor is reported at every step: more rows than this no screen shows. */
const TENSORS_TOLD = 40;

/** The largest of the factors that are reported at every step; below 1, so that what was left alone has none. */
function toldFrom(factors: readonly number[]): number {
  const cut = factors.filter((factor) => factor < 1).sort((a, b) => a - b);
  return cut[Math.min(cut.length, TENSORS_TOLD) - 1] ?? Number.NEGATIVE_INFINITY;
}

export function createTrack(
  stepper: Stepper,
  multiplier: number,
  prepared: Prepared,
  capture: Capture,
): Track {
  const names = prepared.tensors.map(({ name }) => name);
  const minClipFactor: number[] = [];
  const updateNorm: number[] = [];
  const kept: number[] = [];
  const cosine: number[] = [];
  const engaged: boolean[] = [];
  const smallest = names.map(() => ({ factor: Number.POSITIVE_INFINITY, step: 0 }));
  /** Factors of each tensor at each step: a number for each, whatever the size of the tensor. */
  const history: Float64Array[] = [];
  let bottleneck: StepRecord['bottleneck'] | null = null;
  let finite = true;
  const details = stepper.rule.parts.map(({ rule, options }): RuleDetails | undefined =>
    rule.details?.(options),
  );
  const watching: StepObserver = {
    measured: (part, tensor, seen, factor) => details[part]?.measured(tensor, seen, factor),
  };

  const note = (record: StepRecord): void => {
    const { step } = capture.steps[minClipFactor.length]!;
    minClipFactor.push(record.minFactor);
    updateNorm.push(record.updateNorm);
    engaged.push(record.engaged);
    history.push(record.factors.slice());
    finite = record.finite;
    record.factors.forEach((factor, t) => {
      if (factor < smallest[t]!.factor) smallest[t] = { factor, step };
    });
    if (record.engaged && !(bottleneck !== null && bottleneck.factor <= record.bottleneck.factor))
      bottleneck = record.bottleneck;
  };

  const optimizerDiffers = stepper.optimizers.some(
    ({ options }, group) =>
      JSON.stringify(options) !== JSON.stringify(prepared.setup.optimizers[group]!.options),
  );
  const isUnclipped = leavesAll(stepper.rule) && multiplier === 1 && !optimizerDiffers;
  return {
    stepper,
    multiplier,
    minClipFactor,
    updateNorm,
    kept,
    cosine,
    engaged,
    isUnclipped,
    optimizerDiffers,
    finite: () => finite,
    take(record) {
      note(record);
      const same = Number.isFinite(record.updateNorm) ? 1 : Number.NaN;
      kept.push(same);
      cosine.push(same);
    },
    dryStep({ gradients, learningRates, loss }, tensors) {
      const step = stepper.begin(tensors, gradients, learningRates, true, watching, loss);
      return {
        ahead: step.ahead,
        tensor: step.tensor,
        end() {
          const record = step.end();
          note(record);
          const { stored, product, unclipped } = record.beside;
          kept.push(unclipped === 0 ? 1 : Math.sqrt(stored / unclipped));
          cosine.push(stored === 0 || unclipped === 0 ? 1 : product / Math.sqrt(stored * unclipped));
        },
      };
    },
    realStep({ gradients, learningRates, loss }, tensors) {
      note(stepper.step(tensors, gradients, learningRates, false, watching, loss));
      return finite;
    },
    bottleneck: () => bottleneck && { ...bottleneck, tensor: names[bottleneck.tensor]! },
    tensors(onset) {
      const told = toldFrom(smallest.map(({ factor }) => factor));
      return names.map((tensor, t) => ({
        tensor,
        ...smallest[t]!,
        atIncident: onset === null ? Number.NaN : (history[onset]?.[t] ?? Number.NaN),
        ...(smallest[t]!.factor <= told
          ? { factors: capture.steps.map((_, i) => Number((history[i]?.[t] ?? Number.NaN).toPrecision(4))) }
          : {}),
      }));
    },
    ownMembers: () => Object.assign({}, ...details.map((one) => one?.result(names))),
  };
}
