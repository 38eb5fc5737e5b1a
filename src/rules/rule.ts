/** What a clipping rule is: one file in this folder and one line in registry.ts. */
import type { OptionSpec, Options } from '../model/options.ts';
import type { TensorMeta, Units, Values } from '../tensor/values.ts';

/** What a rule may see of one tensor at its stage. It must not write to any of it. */
export interface SeenTensor extends TensorMeta {
  /** Parameters before the step. Of a sparse gradient the touched rows only, here and below. */
  readonly w: Values;
  /** What the rule scales: the gradient, the direction r before the learning rate, or the update Δ = ηr. */
  readonly x: Values;
  /** Coupled weight decay: the optimizer adds weightDecay·w to the gradient (stage `gradient` only, else 0). */
  readonly weightDecay: number;
  /** Adagrad's accumulator as the direction divided by it, and the ε inside its root. */
  readonly accumulator?: Values;
  readonly epsilonInRoot: number;
  /** Second moment of Adam, AdamW, LAMB, RMSProp: before this step at stage `gradient`, after it later. */
  readonly secondMoment?: Values;
  /** 1/(1 − β₂ᵗ), the bias correction of `secondMoment`; 1 where the optimizer has none. */
  readonly secondMomentCorrection: number;
  /** The optimizer's ε. */
  readonly epsilon: number;
  /** The gradient that the optimizer took (clipped and decayed), at the stages after it. */
  readonly gradient?: Values;
  /** Steps that the optimizer took before this one. */
  readonly stepsTaken: number;
}

/** What a rule needs to know of the optimizer to say whether it is defined for it. */
export interface OptimizerTraits {
  readonly id: string;
  readonly hasAccumulator: boolean;
  readonly hasSecondMoment: boolean;
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
}

/** State of a stateful rule: numbers only, so that it can be saved. */
export type RuleState = Readonly<Record<string, number | readonly number[]>>;

interface RuleBase {
  /** kebab-case: file name, `--rule` value, docs page. */
  readonly id: string;
  readonly title: string;
  /** Where in the step it acts; one step is gradient → optimizer → direction r → Δ = ηr → w ← w − Δ. */
  readonly stage: 'gradient' | 'direction' | 'update';
  /** Whether a factor may be above 1. */
  readonly mayAmplify: boolean;
  /** Whether every tensor keeps its direction; false for clamping and for unit-wise factors. */
  readonly keepsDirection: boolean;
  /** Options that make the rule the identity, for the contract tests; null where it has none. */
  readonly loose: Options | null;
  readonly options: readonly OptionSpec[];
  /** The option that may go unnamed in `rule:0.1`. */
  readonly mainOption: string | null;
  /** The threshold that a sweep moves: the larger, the looser. */
  readonly sweepOption?: string;
  readonly presets?: Readonly<Record<string, Options>>;
  readonly docs: RuleDocs;
  /** Why the rule with these options is not defined for an optimizer; null where it is. */
  undefinedFor?(optimizer: OptimizerTraits, options: Options): string | null;
  /** Options of the optimizer that the rule's own options replace. */
  overrides?(options: Options): Options;
  /** Whether the weight decay joins the direction, as LAMB has it, wherever the optimizer puts it. */
  readonly decayInDirection?: true;
  /** Whether its factor multiplies gradient + weight decay (LARS), not the gradient alone. */
  readonly afterWeightDecay?: true;
}

/** A rule that looks at all gradients before it says anything. Stage `gradient`. */
export interface ModelRule extends RuleBase {
  readonly scope: 'model';
  initialState(tensors: number): RuleState;
  /**
   * The factor of every tensor into `factors`; the state after the step is returned, the one given is left as it is.
   */
  measure(state: RuleState, seen: readonly SeenTensor[], options: Options, factors: Float64Array): RuleState;
}

/** A rule with one factor for each tensor, or for each of its units, from that tensor alone. */
export interface TensorRule extends RuleBase {
  readonly scope: 'tensor' | 'unit';
  /**
   * Factors into `factors` (one, or one for each unit); returns the index that sets the smallest: the entry for
   * `clippy`, the unit for unit-wise rules, 0 otherwise.
   */
  measure(seen: SeenTensor, options: Options, factors: Float64Array, units: Units): number;
}

/** A rule that clamps entries, each by its own bound. Stage `gradient`. */
export interface EntryRule extends RuleBase {
  readonly scope: 'entry';
  /** The clamped gradient into `out`; returns where the smallest factor bound/|g| is, and that factor (1 if none). */
  clamp(seen: SeenTensor, options: Options, out: Values): { readonly index: number; readonly factor: number };
}

export type ClipRule = ModelRule | TensorRule | EntryRule;
