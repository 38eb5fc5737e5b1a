import type { CauseEvidence, Trigger } from '../../model/cause.ts';

/** What had changed by the first harmful step: one candidate for a trigger, with its size and its evidence. */
export interface Change {
  readonly trigger: Extract<
    Trigger,
    'data' | 'learning-rate' | 'optimizer-state' | 'weight-decay' | 'precision' | 'code'
  >;
  /** Position of the first step that it touched. */
  readonly from: number;
  /** How many times the usual it was. */
  readonly size: number;
  readonly evidence: CauseEvidence;
  /** Of unlike batches: the losses of all of them are below what is usual. */
  readonly low?: true;
  /** The record states it: a setting that was written. */
  readonly written?: true;
  /** What sets it back, of a setting that is no weight decay: its group's rate at a step, from the recorded rates of all groups. */
  readonly setBack?: {
    /** As a remedy says it: "momentum of parameter group 0 at 0.9". */
    readonly words: string;
    /** The rate itself, where it is one; null of an option. */
    readonly rate: number | null;
    rates(recorded: readonly number[]): readonly number[];
  };
  /** It came step by step, as in a warm-up: no cause unless an arm shows it. */
  readonly gradual?: true;
  /** It lies before the first recorded step: no arm takes it back. */
  readonly beforeRecord?: true;
  /** Of weight decay: what multiplies it so that it is far from too strong. */
  readonly decayFactor?: number;
  /** It is known from recorded losses alone: likely, unless an arm that leaves out its batch shows it, or denies it. */
  readonly recorded?: true;
}
