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

export interface ReplayEntry {
  readonly mode: ReplayMode;
  readonly rule: string;
  readonly options: Readonly<Record<string, number | string | boolean>>;
  readonly optimizer: Readonly<Record<string, number | string | boolean>> | string;
  readonly steps: readonly number[];
  /** Loss at the parameters before step i; null where the mode cannot know it. */
  readonly loss: readonly number[] | null;
  readonly taskLoss?: Readonly<Record<string, readonly number[]>>;
  /** Smallest factor applied to any tensor or unit at step i; 1 where the rule did nothing. */
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
  readonly bottleneck: { readonly tensor: string; readonly index: number; readonly factor: number } | null;
  readonly source?: 'computed' | 'recorded';
}
