/** Learning rate × clipping rule × seed: what `matrix` trains, and prints with `--json`. */
import type { BaselineCheck } from './replay.ts';

export interface MatrixCell {
  readonly rule: string;
  readonly label: string;
  readonly learningRateMultiplier: number;
  readonly seed: number;
  /**
   * Whether the cell left the band before the baseline's incident (its own, where the baseline has none) and ends out of it; null where
   * the losses are too few to tell.
   */
  readonly diverged: boolean | null;
  /**
   * `lost` where it diverged; `hurt` where it ends in the band of single losses, but above what medians of ten reach by chance; null
   * where the losses are too few to tell.
   */
  readonly verdict: 'holds' | 'hurt' | 'lost' | null;
  /** First step from which on no loss is in the band; null where it ends there. */
  readonly leftAtStep: number | null;
  /** Median of the last ten losses; NaN if one of them is not finite. */
  readonly finalLoss: number;
  /** Largest loss from the incident on, of the baseline or the cell, relative to the median before it; null where there is none. */
  readonly peak: number | null;
  readonly ended: { readonly reason: 'completed' | 'non-finite'; readonly step: number };
}

export interface TrainingMatrix {
  readonly steps: { readonly first: number; readonly last: number; readonly count: number };
  /** Recorded at these steps, each once: groups of parameters, schedules and warm-ups have several. */
  readonly learningRates: readonly number[];
  /** Median of the losses before the incident of the baseline (at its end, where it has none), and the largest loss in their band. */
  readonly band: {
    readonly median: number;
    readonly high: number;
    /** The largest median of ten losses that losses as those before have by chance; NaN where they are too few. */
    readonly highLevel: number;
  };
  readonly baseline: BaselineCheck;
  /** Rule by rule, learning rates and then seeds within. */
  readonly cells: readonly MatrixCell[];
  /**
   * For each rule the largest multiplier up to which every cell holds, null if the smallest already does not; and the smallest at
   * which one does not, null if all hold. What it carries lies between.
   */
  readonly holds: readonly {
    readonly label: string;
    readonly upTo: number | null;
    readonly notAt: number | null;
  }[];
  readonly notes: readonly string[];
}
