/** What an optimizer is: one file in this folder and one line in registry.ts. It owns its state and the direction. */

import type { OptionSpec, Options, OptionsOf } from '../../model/options.ts';
import type { DirectionKernel } from '../kernels/direction-code.ts';
import type { Heap } from '../kernels/heap.ts';
import type { Values } from '../tensor/values.ts';

/** State of one tensor by slot: accumulator, m, v, v_max, momentum. Arrays as long as the tensor. */
export type Slots = Readonly<Record<string, Values>>;

export interface SlotSpec {
  readonly name: string;
  /** What every entry starts with. */
  readonly initial: number;
}

export interface StepContext {
  readonly learningRate: number;
  /** Steps of this tensor, this one included: 1 at the first. */
  readonly step: number;
  /** The memory of all arrays at hand, if they share one. */
  readonly heap?: Heap | undefined;
}

export interface StabilityLimit {
  /** Against the top eigenvalue of P⁻¹H, or of H where the optimizer has no preconditioner P. */
  readonly limit: number;
  /** The formula, and its source where it is not elementary. */
  readonly rule: string;
  /** Whether reruns confirm it as a forecast of the largest stable learning rate (docs/curvature.md has the numbers). */
  readonly forecast: boolean;
}

export interface OptimizerDocs {
  readonly summary: string;
  readonly equation: string;
  readonly references: readonly string[];
  readonly differences: readonly string[];
}

/** What PyTorch calls the slots and options of an optimizer, in its state and its `param_groups`. */
export interface TorchNames {
  readonly slots: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

/** How Keras writes an optimizer into its checkpoints. */
export interface KerasForm<Specs extends readonly OptionSpec[]> {
  /** Slots in the order of its variables; where these have no names, only the order shows it. */
  readonly slots: readonly string[];
  /** How many slots are side by side for each parameter, m₀ v₀ m₁ v₁ …; the others follow one after the other. */
  readonly inTurn: number;
  /** Our options by the keys of its config; absent where Keras's step is not one of ours. */
  readonly config?: {
    readonly names: Readonly<Record<string, string>>;
    /** Options that give our step the form of Keras's. */
    readonly form: Partial<OptionsOf<Specs>> & Options;
    /** Keras's defaults; `weightDecay` where the optimizer takes it off the parameters. */
    readonly defaults: Partial<OptionsOf<Specs>> & Options;
  };
}

export interface Optimizer<Specs extends readonly OptionSpec[] = readonly OptionSpec[]> {
  /** The `optimizer.name` of a capture. */
  readonly id: string;
  readonly title: string;
  /** Besides `learningRate` and `weightDecay`, which all take. */
  readonly options: Specs;
  readonly docs: OptimizerDocs;
  readonly torch: TorchNames;
  readonly keras: KerasForm<Specs>;
  slots(options: OptionsOf<Specs>): readonly SlotSpec[];
  /** Whether weight decay βw is added to the gradient, to the direction, or taken off the parameters (ηβw). */
  readonly decay: 'gradient' | 'direction' | 'parameters';
  /** LAMB: ‖w‖/‖r + βw‖ multiplies the direction. */
  readonly hasTrustRatio?: true;
  /**
   * Whether a row with zero gradient (and no weight decay) stays as it is, state included, so that a sparse gradient
   * can be applied to its rows alone.
   */
  rowwise(options: OptionsOf<Specs>): boolean;
  /** Whether a step depends on how many were taken before it, other than by its slots. Absent: it does not. */
  countsSteps?(options: OptionsOf<Specs>): boolean;
  /**
   * P, the diagonal that the direction divides by; absent where the direction is not divided. The function returned moves
   * the second moment of one entry forward by its gradient and gives the P of that entry: the direction takes its divisor
   * from here, and curvature its preconditioner.
   *
   * @param slots written to
   */
  preconditioner?(
    slots: Slots,
    options: OptionsOf<Specs>,
    context: Pick<StepContext, 'step'>,
  ): (index: number, gradient: number) => number;
  /**
   * Writes the direction r to `out` and moves the state forward. `out` may be `g` itself.
   *
   * @param g gradient after clipping and coupled weight decay; not written to
   */
  direction(g: Values, out: Values, slots: Slots, options: OptionsOf<Specs>, context: StepContext): void;
  /** The same for kernels that make the step in one pass; undefined where none has this direction. Arrays are float32. */
  kernel?(slots: Slots, options: OptionsOf<Specs>, context: StepContext): DirectionKernel | undefined;
  /** Whether something waits for the factor of the update: Adagrad's delayed accumulator. Absent: nothing does. */
  settles?(options: OptionsOf<Specs>): boolean;
  /** Moves that forward. `g` as for `direction`. */
  settle?(g: Values, factor: number, slots: Slots, options: OptionsOf<Specs>): void;
  /** Factor of `v` that corrects its bias at a step; absent where `v` needs none. */
  secondMomentCorrection?(options: OptionsOf<Specs>, step: number): number;
  /**
   * The largest top eigenvalue at which step `context.step` is stable on a quadratic, with P and the coefficients of that
   * step held: above it the spectral radius of the update of (w, momentum) exceeds 1. Weight decay is left out. A risk, not
   * a verdict: networks train at the edge of it for long (Cohen et al. 2021). Absent where none is known.
   *
   * @returns a limit that is not finite where no curvature is too large, or the options make no step
   */
  stabilityLimit?(options: OptionsOf<Specs>, context: StepContext): StabilityLimit;
}

/** Below this, making ready for a kernel costs more than it saves. */
export const KERNEL_ENTRIES = 512;

/** The arrays, where a kernel on float32 takes them and saves time. */
export function forKernel<Arrays extends readonly [Values, ...Values[]]>(
  ...arrays: Arrays
): { [K in keyof Arrays]: Float32Array } | undefined {
  return arrays[0].length >= KERNEL_ENTRIES && arrays.every((one) => one instanceof Float32Array)
    ? (arrays as { [K in keyof Arrays]: Float32Array })
    : undefined;
}
