/** What the scripts of this folder hand each other as JSON. */

/** From what `analyze` has to answer. */
export const LEVELS = ['log', 'capture', 'model'] as const;
export type Level = (typeof LEVELS)[number];

/** A run, as make.py says it. */
export interface Made {
  readonly index: number;
  readonly made: boolean;
  readonly half: 'tune' | 'report';
  readonly family: string;
  readonly cause: string | null;
  readonly optimizer: string;
}

/** What `analyze` said. */
export interface Answer {
  readonly onsetStep: number | null;
  readonly trigger: string;
  readonly confidence: string | null;
  readonly mechanism: string;
  readonly statement: string;
  /** Step of the first piece of evidence. */
  readonly changedAt: number | null;
  readonly remedies: readonly {
    readonly action: string;
    readonly rule: string | null;
    readonly learningRate: number | null;
    readonly learningRateFactor: number | null;
    readonly from: number | null;
    readonly tried: string | null;
    readonly holds: boolean | null;
    readonly statement: string;
    readonly skip: readonly number[] | null;
    readonly rows: readonly { readonly step: number; readonly rows: readonly number[] }[] | null;
  }[];
  readonly verdicts: readonly {
    readonly mode: string;
    readonly rule: string;
    readonly verdict: string;
    readonly confidence: string;
    readonly why: string;
  }[];
}

/** What truth.py found, in float64. */
export interface Truth {
  /** Triggers that are right; empty where the truth is not known. */
  readonly triggers: readonly string[];
  /** How the run itself ends. */
  readonly outcome: string | null;
  /** Of each evidence: of each remedy, in order, how it ends; null where that is not known. */
  readonly remedies: Readonly<Record<Level, readonly (string | null)[]>>;
  /** Rules that prevent, as a run's own; null where that is not known. */
  readonly prevents: Readonly<Record<string, boolean | null>>;
}
