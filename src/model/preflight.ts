/** The largest stable learning rate of a training, measured before it starts. */

export const PREFLIGHT_VERDICTS = ['well-within', 'near', 'above', 'cannot-tell'] as const;
export type PreflightVerdict = (typeof PREFLIGHT_VERDICTS)[number];

export const PREFLIGHT_LIMITS = ['curvature', 'noise', 'tensor', 'unknown'] as const;

/**
 * Where the limit of a ladder of rates lies: from the highest rate that is held, over √2, to the lowest that is not, and to twice that one
 * under an optimizer that divides by its past gradients. `high` is Infinity where every rate that was tried is held. The geometric middle is
 * the single number. No confidence goes with it: docs/preflight.md says how often it held the critical rate of reruns.
 */
export interface RateBand {
  readonly low: number;
  readonly high: number;
}

export interface Preflight {
  /** The learning rate that the training is set to. */
  readonly asked: number;
  /** Null where none could be measured. */
  readonly stableRate: RateBand | null;
  /** `asked` over the geometric middle of `stableRate`; null without one. */
  readonly ratio: number | null;
  readonly verdict: PreflightVerdict;
  /** What limits the rate; `tensor` names one where `kind` is `tensor`. */
  readonly limitedBy: {
    readonly kind: (typeof PREFLIGHT_LIMITS)[number];
    readonly tensor: string | null;
  };
  /** The stable rate under each clipping rule that was tried. */
  readonly underRules: readonly { readonly rule: string; readonly stableRate: RateBand | null }[];
  /** Exponent of the stable rate in the batch size, to a half (1: twice the batch allows twice the rate); null where it was not measured. */
  readonly batchScaling: number | null;
  /** Quiet steps after which the asked rate is held, where it is not held at first. */
  readonly warmup: { readonly steps: number } | null;
  /** Gradients that were computed, and seconds that it took. */
  readonly gradients: number;
  readonly seconds: number;
  /** Rates that were tried, with the loss on fixed batches before and after. */
  readonly ladder: readonly {
    readonly rate: number;
    readonly before: number;
    readonly after: number;
    readonly held: boolean;
  }[];
  readonly statement: string;
}
