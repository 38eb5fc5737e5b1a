/** An eigenvalue estimate against the stability limit: an entry of `curvature` in the report. */
export interface EigenEstimate {
  /** Signed. */
  readonly value: number;
  /** ‖Hv − λv‖: there is an eigenvalue within this distance of `value`. */
  readonly residualNorm: number;
  readonly converged: boolean;
  readonly iterations: number;
}

export const CURVATURE_OPERATORS = ['hessian', 'preconditioned-hessian', 'gauss-newton'] as const;

/** The ratio at one state on single batches: what one batch's ratio is worth. */
export interface RatioSpread {
  /** On the four batches right before the incident, each alone; without an incident on the first four that were recorded. */
  readonly before: readonly RatioOnBatch[];
  /** Their range, widened by half of it; null for fewer than four. */
  readonly usual: readonly [number, number] | null;
  /** On the batch of the incident's first harmful step; null without an incident. */
  readonly incoming: RatioOnBatch | null;
  /** Whether that is above what is usual; null where one of them is not known. */
  readonly unusual: boolean | null;
  /** On that batch under each rule, at the state before that step; elsewhere none. */
  readonly rules: readonly {
    readonly rule: string;
    /** With the rule's factors held. */
    readonly ratio: number | null;
    /** Of the whole step that the rule lets through. */
    readonly updateNorm: number;
  }[];
}

export interface RatioOnBatch {
  readonly batchStep: number;
  /** null where the gradient was not finite or the search did not converge. */
  readonly ratio: number | null;
}

export interface CurvatureEntry {
  readonly checkpoint: string;
  readonly step: number | null;
  readonly method: 'power' | 'lanczos';
  readonly operator: (typeof CURVATURE_OPERATORS)[number];
  readonly block: string;
  readonly task: string;
  /** Largest algebraic first. */
  readonly eigenvalues: readonly EigenEstimate[];
  readonly largestMagnitude: number;
  readonly hvpCount: number;
  readonly hvpMethod: string;
  readonly stability: {
    readonly learningRate: number | null;
    readonly limit: number | null;
    readonly ratio: number | null;
    /** The formula of the limit and its source. */
    readonly rule?: string;
    /** Whether the limit forecasts the largest stable learning rate; absent where nothing is known of it. */
    readonly forecast?: boolean;
  };
  readonly seed: number;
  readonly backend: string;
  readonly source: 'computed' | 'recorded';
  readonly notes?: readonly string[];
  /** Hutchinson's estimate of the trace, where asked for. */
  readonly trace?: { readonly value: number; readonly standardError: number };
  /** The ratio on single batches, where a capture has them. */
  readonly spread?: RatioSpread;
  /** 2/η_c along the optimizer's own update, and the multiple of the learning rate at which the loss first rises. */
  readonly criticalSharpness?: {
    readonly value: number;
    readonly criticalMultiple: number;
    /** Of the loss. */
    readonly evaluations: number;
  };
}

/** Points of a density: `weight[i]` of the spectrum lies around `value[i]`; the weights sum to 1. */
export interface SpectralDensity {
  readonly value: readonly number[];
  readonly weight: readonly number[];
  readonly products: number;
}

/** The density of one operator, with what distinguishes it from others. */
export interface LabelledDensity
  extends SpectralDensity,
    Pick<CurvatureEntry, 'checkpoint' | 'step' | 'operator' | 'block'> {}
