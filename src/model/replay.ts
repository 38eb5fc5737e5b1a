/** The result of replaying a capture under one clipping rule: an entry of `replay` in the report. */
export const REPLAY_MODES = ['as-recorded', 'open-loop', 'closed-loop'] as const;
export type ReplayMode = (typeof REPLAY_MODES)[number];

export const REPLAY_VERDICTS = [
  'prevented',
  'delayed',
  'not-prevented',
  'cannot-tell',
  'not-needed',
  'harmful',
] as const;
export type ReplayVerdict = (typeof REPLAY_VERDICTS)[number];

/** Replaces the optimizer in entries that were made of a log alone. */
export const NO_OPTIMIZER = 'not in the log';

export type RuleOptions = Readonly<Record<string, number | string | boolean>>;

/** What the index of the smallest factor counts: an entry or a unit of the tensor, or nothing but the tensor. */
export const FACTOR_PLACES = ['tensor', 'unit', 'entry'] as const;

/** The rule that leaves every gradient as it is: the baseline of every comparison. */
export const NO_RULE = 'none';

/** Rows of one batch to leave out: their places in it, and their ids where each was recorded with one. */
export interface SkippedRows {
  readonly step: number;
  readonly rows: readonly number[];
  readonly ids: readonly (number | string)[] | null;
}

/** The one thing that a closed loop changes besides the rule. */
export interface ReplayArm {
  /** `skip-batches`, `skip-rows`, `earlier-batches`, `learning-rate`, `weight-decay`, `settings`, `restore-optimizer-state`, or what else the recorder names. */
  readonly kind: string;
  /** Steps whose batches are left out, in whole or in part, or have earlier ones in their place. */
  readonly steps?: readonly number[];
  /** Their ids, as the recorder was given them, where it was given one for each. */
  readonly batchIds?: readonly (number | string)[];
  /** Rows of batches that are left out; of `skip-rows` alone. */
  readonly rows?: readonly SkippedRows[];
  /** What multiplies the learning rate or the weight decay, or the rate that was put in its place. */
  readonly factor?: number;
  readonly learningRate?: number;
  /** Step at which the optimizer's old state is put back, or from which on settings are those of before. */
  readonly at?: number;
}

export interface ReplayEntry {
  readonly mode: ReplayMode;
  /** Id of the rule; of several that act one after the other their ids, joined with `+`. */
  readonly rule: string;
  /** Of several rules empty: `rules` has them. */
  readonly options: RuleOptions;
  readonly optimizer: Readonly<Record<string, number | string | boolean>> | string;
  readonly steps: readonly number[];
  /** Loss at the parameters before step i; null where the mode cannot know it. */
  readonly loss: readonly number[] | null;
  readonly taskLoss?: Readonly<Record<string, readonly number[]>>;
  readonly arm?: ReplayArm;
  /** Mean loss on batches from before the incident, at the parameters before step i. */
  readonly referenceLoss?: readonly number[];
  /** Smallest factor applied to any tensor or unit at step i; of several rules their product; 1 where they did nothing. */
  readonly minClipFactor: readonly number[];
  /** L2 norm of the whole update at step i. */
  readonly updateNorm: readonly number[];
  readonly firstEngagedStep: number | null;
  readonly engagedFraction: number;
  readonly ended: { readonly reason: 'completed' | 'non-finite'; readonly step: number };
  readonly verdict: ReplayVerdict;
  readonly confidence: 'exact' | 'estimate';
  readonly why: string;
  readonly peak?: number;
  /** Verdict of each task, where the mode knows the tasks' losses. */
  readonly tasks?: readonly {
    readonly name: string;
    readonly verdict: ReplayVerdict;
    readonly why: string;
  }[];
  readonly bottleneck: {
    readonly tensor: string;
    readonly index: number;
    readonly factor: number;
    readonly place?: (typeof FACTOR_PLACES)[number];
  } | null;
  readonly source?: 'computed' | 'recorded';
  /** The rule as `--rule` text, presets and options included. */
  readonly label?: string;
  /** Of several rules each, in the order as written. */
  readonly rules?: readonly {
    readonly rule: string;
    readonly label: string;
    readonly options: RuleOptions;
  }[];
  /** Which entry a conclusion speaks of where several rules were tried. */
  readonly lead?: boolean;
  /** 1 unless `--learning-rate-multiplier` asked for another. */
  readonly learningRateMultiplier?: number;
  /** First step at which the run under the rule departs from the recorded one; open-loop is exact until then. */
  readonly firstChangedStep?: number | null;
  /** Norm of the update relative to the unclipped one at the same state, and the cosine between them. */
  readonly keptUpdate?: readonly number[];
  readonly cosine?: readonly number[];
  /** Of the recorded run, without any rule: the gradient's norm, and the largest |r| of the direction before the learning rate. */
  readonly gradientNorm?: readonly number[];
  readonly directionMax?: readonly number[];
  /** Whether the rule acts in emergencies or most of the time before the incident. */
  readonly character?: 'idle' | 'safety-net' | 'step-limiter';
  /** For each tensor the smallest factor, where, and the factor at the incident's last step. */
  readonly tensors?: readonly {
    readonly tensor: string;
    readonly factor: number;
    readonly step: number;
    readonly atIncident: number;
    /** At each step, to four digits; of the tensors that were cut hardest. */
    readonly factors?: readonly number[];
  }[];
  /** Onset of the incident that the verdict is about; null where the losses show none. */
  readonly onsetStep?: number | null;
  /** From a log alone: bounds of the smallest factor at each step, where no more can be said. */
  readonly factorInterval?: { readonly low: readonly number[]; readonly high: readonly number[] };
  readonly clippy?: ClippyDetails;
  readonly sweep?: ThresholdSweep;
}

/** Members that one rule alone has. */
export type OwnMembers = Pick<ReplayEntry, 'clippy'>;

/** What sets Clippy's factor. */
export interface ClippyDetails {
  /** At the smallest σ: the larger part of the threshold of the entry that sets it, and the entry itself. */
  readonly dominatedBy:
    | 'variableRelativeThreshold'
    | 'absoluteThreshold'
    | 'accumulatorRelativeThreshold'
    | null;
  readonly parameter: number | null;
  readonly update: number | null;
  /** Tensors with σ < 1e-3 at some step, and the absoluteThreshold that would have left all their updates alone. */
  readonly frozen: readonly {
    readonly tensor: string;
    readonly steps: number;
    readonly factor: number;
    readonly absoluteThreshold: number;
  }[];
}

/** The same rule at other thresholds, at the incident's recorded states. */
export interface ThresholdSweep {
  readonly option: string;
  readonly values: readonly number[];
  /** Largest update norm at the incident for each value. */
  readonly updateNorm: readonly number[];
  /** What counts as held: twice the median update norm before. */
  readonly limit: number;
  /** The largest value that holds the update; null if none does. */
  readonly largest: number | null;
}

/** Whether the run under the recorded clipping follows the recorded losses. */
export interface BaselineCheck {
  readonly follows: boolean;
  /** Largest relative difference over the first steps. */
  readonly firstSteps: number;
  /** First recorded step whose loss differs by more than 1 %; null if none does. */
  readonly departsAt: number | null;
  readonly why: string;
}
