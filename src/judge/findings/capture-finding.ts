/** What a finding about the recorded steps of a capture is: one file in this folder and one line in registry.ts. */
import type { Finding, FindingType } from '../../model/finding.ts';

type Values = Float32Array | Float64Array;

/** One tensor at a recorded state. Arrays are those of the walk: the next step writes to them. */
export interface WalkedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly embedding: boolean;
  readonly w: Values;
  /** Steps that the optimizer took. */
  readonly stepsTaken: number;
  /** The squares of past gradients that the optimizer divides by the root of; null where it keeps none. */
  readonly second: {
    readonly values: Values;
    /** What the optimizer starts them at. */
    readonly initial: number;
    /** Bias correction: what multiplies them; 1 where there is none. */
    readonly correction: number;
    /** Share of them that a step keeps: β₂ of Adam, ρ of RMSProp, whose means forget; 1 of a sum that never falls (Adagrad). */
    readonly keeps: number;
  } | null;
}

/** Gradient of one tensor before clipping: whole, or the rows of an embedding. */
export interface WalkedGradient {
  readonly values: Values;
  readonly rows?: Int32Array;
  readonly absent?: true;
}

/** What one recorded step was taken on. */
export interface WalkedStep {
  readonly step: number;
  readonly gradients: readonly WalkedGradient[];
  /** One for each tensor. */
  readonly learningRates: readonly number[];
}

/** What it did. */
export interface WalkedMove {
  /** Factor that the recorded clipping had on each tensor; of one with several the product of the smallest. */
  readonly factors: Float64Array;
}

/** What is known of the run before its first step. */
export interface WalkedRun {
  readonly path: string;
  /** Whether one factor for all tensors was on, as clipping by the global norm has it. */
  readonly globalClip: boolean;
  /**
   * The first recorded step, where the optimizer's state before it is an initial one and the step is not the run's first;
   * `stored`: whether the capture contains that state, or no state.
   */
  readonly empty: { readonly before: number; readonly stored: boolean } | null;
}

/** Looks at a run step by step. */
export interface StepWatcher {
  before?(tensors: readonly WalkedTensor[], step: WalkedStep): void;
  /** Who looks at w before − w after of a whole tensor before it is overwritten, or nobody. Nobody is shown rows alone. */
  viewerOf?(tensor: number): ((movement: Values) => void) | undefined;
  after?(tensors: readonly WalkedTensor[], step: WalkedStep, move: WalkedMove): void;
  findings(): readonly Finding[];
}

/** A finding about recorded steps. */
export interface StepFinding extends FindingType {
  /** @returns why the run cannot be looked at, or who looks at it */
  watch(run: WalkedRun, threshold: (name: string) => number): StepWatcher | string;
}

/** Steps after which the second moment of a run shows the usual size: the first ones always exceed all earlier ones. */
export const SETTLED = 20;

/** `"embedding/item"`, or `"a" and 2 more tensors`. */
export const tensorsNamed = (names: readonly string[]): string =>
  `"${names[0]}"${names.length < 2 ? '' : ` and ${names.length - 1} more ${names.length === 2 ? 'tensor' : 'tensors'}`}`;
