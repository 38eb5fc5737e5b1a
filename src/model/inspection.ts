/** What `inspect` says of its inputs: the vocabulary of its `--json` document and of its text (docs/json.md). */
import type { InspectedCheckpoint, TensorInfo } from './checkpoint.ts';
import type { DiagError, ErrorRecord } from './errors.ts';
import type { Account, ReadBy } from './log.ts';
import type { Role, Run } from './run.ts';

export interface InspectedSeries {
  readonly name: string;
  readonly role: Role;
  readonly task?: string;
  /** Every point, non-finite ones too. */
  readonly points: number;
  /** In file order. */
  readonly firstStep: number;
  readonly lastStep: number;
  readonly first: number;
  readonly last: number;
  /** Over the finite values; null where there is none. */
  readonly min: number | null;
  readonly max: number | null;
  readonly nan: number;
  readonly posInf: number;
  readonly negInf: number;
  /** Cells without a value (`null`, empty, `NA`), and cells that are no number: cells = points + missing + refused. */
  readonly missing: number;
  readonly refused: number;
}

export interface InspectedRun {
  readonly id: string;
  readonly attempts: number;
  readonly stepUnit: Run['stepUnit'];
  readonly paths: readonly string[];
  readonly notes: readonly string[];
  readonly hyperparameters: Run['hyperparameters'];
  readonly series: readonly InspectedSeries[];
}

export interface InspectedLog {
  readonly path: string;
  readonly kind: 'log';
  readonly format: string;
  readonly sha256: string | null;
  readonly errors: readonly ErrorRecord[];
  readonly kept: number;
  readonly lost: number;
  /** Bytes of a last record that is not whole. */
  readonly unreadBytes: number;
  /** Of several files their sum; a place counts from the beginning of its own file. */
  readonly account: Account;
  /** How a text of no known layout was read. */
  readonly readBy?: ReadBy;
  /** The files that were joined, in the order of their names, where there are several. */
  readonly files?: readonly {
    readonly path: string;
    readonly sha256: string | null;
    readonly account: Account;
  }[];
  readonly runs: readonly InspectedRun[];
}

export interface InspectedCapture {
  /** The folder. */
  readonly path: string;
  readonly kind: 'capture';
  readonly format: 'capture';
  readonly errors: readonly ErrorRecord[];
  /** Steps that can be replayed, and those of the manifest that cannot. */
  readonly kept: number;
  readonly lost: number;
  readonly firstStep: number;
  readonly lastStep: number;
  /** Of its files, which count as one after another; tensors are the records. */
  readonly account: Account;
}

export type InspectedInput = InspectedLog | InspectedCheckpoint | InspectedCapture;

export interface NormSeries {
  /** `parameters`, `optimizer accumulator`, … for all tensors of a kind together, else the layer. */
  readonly name: string;
  /** One a checkpoint, over finite entries; null where a checkpoint lacks these tensors. */
  readonly norm: readonly (number | null)[];
  /** Entries that are not finite. */
  readonly nonFinite: readonly number[];
}

export interface Trajectory {
  readonly checkpoints: readonly { readonly path: string; readonly step: number | null }[];
  /** Whether every checkpoint says its step; else they are in the order of their names. */
  readonly bySteps: boolean;
  /** All parameters, then each slot of the optimizer. */
  readonly totals: readonly NormSeries[];
  /** Parameters by layer, in the order of the checkpoint. */
  readonly layers: readonly NormSeries[];
}

/** A file, or a folder of a tool, that a walk skipped. */
export interface Skipped {
  readonly path: string;
  readonly reason: string;
  /** What says that it is a log all the same, where something does: a gate does not skip it. */
  readonly saysLog?: 'name' | 'content';
  /** The log of the same run, where the run has another one. */
  readonly sameRun?: string;
}

/** A file of hyperparameters in the folder of a log: one that could not be read is skipped as a whole. */
export interface HyperparameterFile {
  readonly path: string;
  readonly account: Account;
  /** Why it was not read; null where it was. */
  readonly problem: string | null;
}

export interface Inspection {
  readonly inputs: readonly InspectedInput[];
  /** What was read for hyperparameters in the folders of the logs. */
  readonly hyperparameterFiles: readonly HyperparameterFile[];
  /** One for each run of which there are several checkpoints. */
  readonly trajectories: readonly Trajectory[];
  readonly skipped: readonly Skipped[];
  /** Inputs that could not be read at all. */
  readonly errors: readonly DiagError[];
}

export interface TensorChange {
  readonly name: string;
  readonly layer: string;
  readonly role: TensorInfo['role'];
  readonly elements: number;
  /** ‖a‖, ‖b‖ and ‖b − a‖; NaN or Infinity where an entry is. */
  readonly normBefore: number;
  readonly normAfter: number;
  readonly change: number;
  /** ‖b − a‖ / ‖a‖; infinite where a tensor left zero, 0 where nothing moved. */
  readonly relative: number;
  readonly largestChange: number;
  /**
   * ‖(b − a)·√G_b‖ / √Σ(G_b − G_a) with Adagrad's accumulator G: the learning rate of one standard step, times the
   * clipping factor if there was one; larger by up to √T where T steps pulled in one direction. Null without the
   * accumulators of both, or where they did not grow.
   */
  readonly effectiveLearningRate: number | null;
}

export interface LayerChange {
  readonly layer: string;
  readonly tensors: number;
  readonly change: number;
  readonly relative: number;
}

export interface CheckpointDiff {
  readonly before: { readonly path: string; readonly step: number | null };
  readonly after: { readonly path: string; readonly step: number | null };
  /** Floating tensors that both have, what moved most relative to its norm first; NaN before all. */
  readonly tensors: readonly TensorChange[];
  /** The parameters of each layer together, in the same order. */
  readonly layers: readonly LayerChange[];
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
  /** In both, but of another shape. */
  readonly reshaped: readonly string[];
}

/** One thing that `inspect --check` looks at in a capture. */
export interface CaptureCheck {
  readonly id: 'whole' | 'follows' | 'finite' | 'batches' | 'clipping' | 'recorder';
  /** Whether it is as it should be; null where it is neither right nor wrong, but good to know. */
  readonly ok: boolean | null;
  readonly message: string;
}
