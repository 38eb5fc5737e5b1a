/** Learning rate × clipping rule × seed: what `matrix` trains, and prints with `--json`. */
import type { BaselineCheck } from './replay.ts';

export interface MatrixCell {
  readonly rule: string;
  readonly label: string;
  readonly learningRateMultiplier: number;
  readonly seed: number;
  /** Whether the last losses are out of the band; null where the band or the losses are too few to tell. */
  readonly diverged: boolean | null;
  /** First step from which on no loss is in the band; null where it ends there. */
  readonly leftAtStep: number | null;
  /** Median of the last ten losses; NaN if one of them is not finite. */
  readonly finalLoss: number;
  /** Largest loss relative to the median before. */
  readonly peak: number;
  readonly ended: { readonly reason: 'completed' | 'non-finite'; readonly step: number };
}

export interface TrainingMatrix {
  readonly steps: { readonly first: number; readonly last: number; readonly count: number };
  /** Recorded at these steps, each once: groups of parameters, schedules and warm-ups have several. */
  readonly learningRates: readonly number[];
  /** Median of the losses before the incident of the baseline, and the largest loss in their band. */
  readonly band: { readonly median: number; readonly high: number };
  readonly baseline: BaselineCheck;
  /** Rule by rule, learning rates and then seeds within. */
  readonly cells: readonly MatrixCell[];
  /** For each rule the largest multiplier up to which no cell diverges; null if the smallest already does. */
  readonly holds: readonly { readonly label: string; readonly upTo: number | null }[];
  readonly notes: readonly string[];
}
