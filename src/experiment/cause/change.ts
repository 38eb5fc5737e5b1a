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
  /** The record states it, and the experiments do not take it back. */
  readonly written?: true;
  /** It came step by step, as in a warm-up: no cause unless an arm shows it. */
  readonly gradual?: true;
  /** It lies before the first recorded step: no arm takes it back. */
  readonly beforeRecord?: true;
  /** Of weight decay: what multiplies it so that it is far from too strong. */
  readonly decayFactor?: number;
  /** It is known from recorded losses alone: likely, unless an arm that leaves out its batch shows it, or denies it. */
  readonly recorded?: true;
}
