/** What a clipping rule is: one file in this folder and one line in registry.ts. */
import type { Column } from '../../model/column.ts';
import type { OptionSpec, Options, OptionsOf } from '../../model/options.ts';
import type { PastePurpose } from '../../model/paste-lines.ts';
import type { FACTOR_PLACES, OwnMembers } from '../../model/replay.ts';
import type { ClippingInForce } from '../../model/run-settings.ts';
import type { Units } from '../../model/units.ts';
import { sumOfSquares, type TensorMeta, type Values } from '../tensor/values.ts';

/** What a rule may see of one tensor at its stage. It must not write to any of it. */
export interface SeenTensor extends TensorMeta {
  /** Parameters before the step. Of a sparse gradient the touched rows only, here and below. */
  readonly w: Values;
  /** What the rule scales: the gradient, the direction r before the learning rate, or the update Δ = ηr. */
  readonly x: Values;
  /** Coupled weight decay: the optimizer adds weightDecay·w to the gradient (stage `gradient` only, else 0). */
  readonly weightDecay: number;
  /** Adagrad's accumulator as the direction divided by it, and the ε inside its root. */
  readonly accumulator?: Values | undefined;
  readonly epsilonInRoot: number;
  /** Second moment of Adam, AdamW, LAMB, RMSProp: before this step at stage `gradient`, after it later. */
  readonly secondMoment?: Values | undefined;
  /** 1/(1 − β₂ᵗ), the bias correction of `secondMoment`; 1 where the optimizer has none. */
  readonly secondMomentCorrection: number;
  /** The optimizer's ε. */
  readonly epsilon: number;
  /** The gradient that the optimizer took (clipped and decayed), at the stages after it. */
  readonly gradient?: Values | undefined;
  /** Steps that the optimizer took before this one. */
  readonly stepsTaken: number;
  /** Σx² and the largest |x| (NaN if one is), where they are known already, and Σw², where several rules share it. */
  readonly squares?: number | undefined;
  readonly largest?: number | undefined;
  readonly parameterSquares?: (() => number) | undefined;
}

/** ‖x‖ and ‖w‖ of a tensor, in float64. */
export const normOfSeen = ({ x, squares }: SeenTensor): number => Math.sqrt(squares ?? sumOfSquares(x));
export const parameterNorm = ({ w, parameterSquares }: SeenTensor): number =>
  Math.sqrt(parameterSquares?.() ?? sumOfSquares(w));

/** What a rule for the whole model may see of one tensor. */
export interface SeenNorm extends TensorMeta {
  /** Position of the tensor in the model: not every tensor takes part in every step. */
  readonly position: number;
  /** Of the gradient, as the parts before have left it. */
  readonly sumOfSquares: number;
  /** Its largest magnitude, NaN if an entry is; for rules that ask for it. */
  readonly largest?: number;
}

/** What a rule needs to know of the optimizer to say whether it is defined for it. */
export interface OptimizerTraits {
  readonly id: string;
  readonly hasAccumulator: boolean;
  readonly hasSecondMoment: boolean;
  readonly hasFirstMoment: boolean;
  readonly hasTrustRatio: boolean;
}

export interface RuleDocs {
  /** One sentence. */
  readonly summary: string;
  readonly equation: string;
  /** Papers and code, with the place. */
  readonly references: readonly string[];
  /** How implementations of the same name differ, and which form this is. */
  readonly differences: readonly string[];
  /** With `fromLog`: what a log says, as the object of a sentence. */
  readonly fromLog?: string;
}

/** State of a stateful rule: numbers only, so that it can be saved. */
export type RuleState = Readonly<Record<string, number | readonly number[]>>;

/** What a log holds of a run, one attempt: series by role. */
export interface LoggedRun {
  /** Norm of all gradients together, read as the norm before clipping. */
  readonly gradientNorm?: LoggedSeries;
  readonly learningRate?: LoggedSeries;
  readonly loss?: LoggedSeries;
  /** The optimizer as its configuration names it, in lower case. */
  readonly optimizer?: string;
  /** What was in force. */
  readonly clipping?: readonly ClippingInForce[];
}
export interface LoggedSeries {
  readonly step: Column;
  readonly value: Column;
}

/**
 * What a log alone says of a rule: the factor at each point where it is known, NaN where only `low ≤ factor ≤ 1` is; or what
 * the log would have to hold.
 */
export type FromLog =
  | {
      readonly steps: Column;
      readonly factors: Column;
      /** With it the factors are an interval, and `why` says what bounds them. */
      readonly low?: Column;
      readonly why?: string;
      /** Whether `why` holds for the log as it is, so that recording more would not help. */
      readonly final?: boolean;
      /** It was on in this run, at least as tight: it did not hold. */
      readonly inForce?: true;
    }
  | { readonly missing: string };

/** What a log misses of a rule that looks at gradients. */
export const NEEDS_GRADIENTS = 'it needs gradients, which a log does not hold';

/** What a rule says of itself beyond its factors, gathered while it measures. */
export interface RuleDetails {
  /** After each measurement of a tensor. */
  measured(tensor: number, seen: SeenTensor, factor: number): void;
  /** @param names of the tensors */
  result(names: readonly string[]): OwnMembers;
}

interface RuleBase<Specs extends readonly OptionSpec[]> {
  /** kebab-case: file name, `--rule` value, docs page. */
  readonly id: string;
  readonly title: string;
  /** Where in the step it acts; one step is gradient → optimizer → direction r → Δ = ηr → w ← w − Δ. */
  readonly stage: 'gradient' | 'direction' | 'update';
  /** What the index of its smallest factor counts: an entry or a unit of the tensor, or nothing but the tensor. */
  readonly place: (typeof FACTOR_PLACES)[number];
  /** Whether a factor may be above 1. */
  readonly mayAmplify: boolean;
  /** Whether every tensor keeps its direction; false for clamping and for unit-wise factors. */
  readonly keepsDirection: boolean;
  /** Leaves everything as it is, whatever it sees: the baseline. */
  readonly identity?: true;
  /** Which rule a conclusion speaks of where several rules were tried. */
  readonly lead?: true;
  /** Options that make the rule the identity, for the contract tests; null where it has none. */
  readonly loose: Options | null;
  readonly options: Specs;
  /** The option that may go unnamed in `rule:0.1`. */
  readonly mainOption: Specs[number]['name'] | null;
  /** The threshold that a sweep moves: the larger, the looser. */
  readonly sweepOption?: Specs[number]['name'];
  readonly presets?: Readonly<Record<string, Options>>;
  /** What a preset says of Adagrad's accumulator: left out for an optimizer that has none. */
  readonly accumulatorOptions?: readonly Specs[number]['name'][];
  readonly docs: RuleDocs;
  /** As an order to somebody who knows no rule by its id; `preset` is the one that it starts from. */
  order(options: OptionsOf<Specs>, preset?: string): string;
  /** Why the rule with these options is not defined for an optimizer; null where it is. */
  undefinedFor?(optimizer: OptimizerTraits, options: OptionsOf<Specs>): string | null;
  /** Options of the optimizer that the rule's own options replace. */
  overrides?(options: OptionsOf<Specs>): Options;
  /**
   * What it does to the optimizer itself at a step, counted from 1: whether the optimizer's state begins anew before it, and what
   * multiplies its update. Stage `gradient`.
   */
  schedule?(options: OptionsOf<Specs>, step: number): { readonly reset: boolean; readonly scale: number };
  /** The learning rate that the rule's own options put in place of the optimizer's. */
  learningRate?(options: OptionsOf<Specs>): number | undefined;
  /** Whether the weight decay joins the direction, as LAMB has it, wherever the optimizer puts it. */
  readonly decayInDirection?: true;
  /** Whether its factor multiplies gradient + weight decay (LARS), not the gradient alone. */
  readonly afterWeightDecay?: true;
  /** The line of model/paste-lines.ts that clips so in a training loop, with the options in it; absent where no loop has one. */
  paste?(options: OptionsOf<Specs>): PastePurpose;
  /** What a log without gradients says of the rule; absent where it says nothing. */
  fromLog?(log: LoggedRun, options: OptionsOf<Specs>): FromLog;
  details?(options: OptionsOf<Specs>): RuleDetails;
}

/** A rule that looks at the norms of all gradients before it says anything. Stage `gradient`. */
export interface ModelRule<
  Specs extends readonly OptionSpec[] = readonly OptionSpec[],
  State extends RuleState = RuleState,
> extends RuleBase<Specs> {
  readonly scope: 'model';
  /** Whether `measure` sees the largest magnitude of each tensor. */
  seesLargest?(options: OptionsOf<Specs>): boolean;
  /** A factor of 0 leaves parameters, the optimizer's state and its count of steps as they are: no step is taken. */
  readonly skips?: true;
  initialState(tensors: number): State;
  /**
   * The factor of every tensor into `factors`; the state after the step is returned, the one given is unchanged.
   *
   * @param loss of the step's batch; null where it is not known
   */
  measure(
    state: State,
    seen: readonly SeenNorm[],
    options: OptionsOf<Specs>,
    factors: Float64Array,
    loss: number | null,
  ): State;
}

/** A rule with one factor for each tensor, or for each of its units, from that tensor alone. */
export interface TensorRule<Specs extends readonly OptionSpec[] = readonly OptionSpec[]>
  extends RuleBase<Specs> {
  readonly scope: 'tensor' | 'unit';
  /** At stage `update`: whether `measure` or `details` look at the optimizer's state or its gradient. Absent: they do. */
  seesState?(options: OptionsOf<Specs>): boolean;
  /**
   * Factors into `factors` (one, or one for each unit); returns the index that sets the smallest, as `place` has it: an
   * entry, a unit, or 0.
   */
  measure(seen: SeenTensor, options: OptionsOf<Specs>, factors: Float64Array, units: Units): number;
}

/** A rule that clamps entries. Stage `gradient`. */
export interface EntryRule<Specs extends readonly OptionSpec[] = readonly OptionSpec[]>
  extends RuleBase<Specs> {
  readonly scope: 'entry';
  /** Where one bound holds for all entries whatever the rule sees: that, so that kernels clamp on the way. */
  bound?(options: OptionsOf<Specs>): number;
  /**
   * The clamped gradient into `out`, which may be `seen.x` itself and is of no use where the factor is 1; returns where the smallest factor bound/|g| is, and that
   * factor (1 if none).
   */
  clamp(
    seen: SeenTensor,
    options: OptionsOf<Specs>,
    out: Values,
  ): { readonly index: number; readonly factor: number };
}

export type ClipRule = ModelRule | TensorRule | EntryRule;
