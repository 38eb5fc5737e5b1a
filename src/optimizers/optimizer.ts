/** What an optimizer is: one file in this folder and one line in registry.ts. It owns its state and the direction. */
import type { OptionSpec, Options } from '../model/options.ts';
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
}

export interface OptimizerDocs {
  readonly summary: string;
  readonly equation: string;
  readonly references: readonly string[];
  readonly differences: readonly string[];
}

export interface Optimizer {
  /** The `optimizer.name` of a capture. */
  readonly id: string;
  readonly title: string;
  /** Besides `learningRate` and `weightDecay`, which all take. */
  readonly options: readonly OptionSpec[];
  readonly docs: OptimizerDocs;
  slots(options: Options): readonly SlotSpec[];
  /** Whether weight decay βw is added to the gradient, to the direction, or taken off the parameters (ηβw). */
  readonly decay: 'gradient' | 'direction' | 'parameters';
  /** LAMB: ‖w‖/‖r + βw‖ multiplies the direction. */
  readonly hasTrustRatio?: true;
  /**
   * Whether a row with zero gradient (and no weight decay) stays as it is, state included, so that a sparse gradient
   * can be applied to its rows alone.
   */
  rowwise(options: Options): boolean;
  /**
   * Writes the direction r to `out` and moves the state forward. `out` may be `g` itself.
   *
   * @param g gradient after clipping and coupled weight decay; not written to
   */
  direction(g: Values, out: Values, slots: Slots, options: Options, context: StepContext): void;
  /** What waits for the factor of the update: Adagrad's delayed accumulator. `g` as for `direction`. */
  settle?(g: Values, factor: number, slots: Slots, options: Options): void;
  /** Factor of `v` that corrects its bias at a step; absent where `v` needs none. */
  secondMomentCorrection?(options: Options, step: number): number;
}
