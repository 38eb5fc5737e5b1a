/** Why a run left its band and what would have prevented it: the cause and the remedies of a report, by experiment where one could be made. */

import type { SkippedRows } from './replay.ts';

/** What changed. `none-found` where nothing that changed could be found, or nothing went wrong. */
export const TRIGGERS = [
  'data',
  'learning-rate',
  'optimizer-state',
  'weight-decay',
  'precision',
  'sharpness',
  'code',
  'hardware',
  'initialisation',
  'order',
  'schedule',
  'evaluation',
  'none-found',
] as const;
export type Trigger = (typeof TRIGGERS)[number];

/** What the change did to the run. `none` of a calm run, `unknown` where no experiment could tell. */
export const MECHANISMS = [
  'bad-batch-only',
  'overshoot',
  'poisoned-accumulators',
  'overflow',
  'none',
  'unknown',
] as const;
export type Mechanism = (typeof MECHANISMS)[number];

/** Kinds of evidence, and what each of them says; every one has a section in docs/cause.md. */
export const EVIDENCE = {
  'batch-at-older-state':
    'Loss of a batch at the weights of an earlier step: high there, the batch is the cause.',
  'batches-unlike':
    'Batches of the incident whose loss, at weights from before it, is unlike that of the batches before.',
  'reference-loss': 'Loss on batches from before the incident (and clean later ones) at the recorded states.',
  'learning-rate': 'Learning rate of a step against those of the steps before.',
  'weight-decay': 'Weight decay against the most that shrinks the weights, and how the weights grew.',
  option: 'An option of the optimizer that was written into a parameter group while the run went on.',
  'update-norm':
    'Norm of the whole update, and of the tensors that most of it is in, against those of the steps before.',
  'gradient-norm': 'Norm of the gradient against those of the steps before.',
  surprise: 'Largest |gradient| over the root of the second moment before the step, against its own history.',
  'effective-rate': 'Norm of the update for a gradient of norm 1, after the incident against before it.',
  'non-finite-gradient': 'First step whose gradient holds NaN or ±Infinity.',
  'skipped-steps': 'Steps that the loss scaler skipped shortly before the onset, or that a guard changed.',
  'optimizer-state': 'State of the optimizer that was lost or does not follow from the recorded steps.',
  resume: 'The onset lies right after a resume.',
  'loss-level': 'Logged losses against those before.',
  throughput: 'Steps, samples or tokens per second, or a pause in seconds, against those before.',
  'evaluation-loss': 'Logged losses of evaluations against those of the training.',
  'curvature-ratio':
    'Top eigenvalue over the limit of stability on the incoming batch, against four batches before at the same weights.',
  arm: 'A training that changed one thing, and how it ended on the reference batches.',
} as const satisfies Record<string, string>;
export type EvidenceId = keyof typeof EVIDENCE;
export const EVIDENCE_IDS = Object.keys(EVIDENCE) as readonly EvidenceId[];

export interface CauseEvidence {
  readonly id: EvidenceId;
  /** One sentence with its numbers. */
  readonly statement: string;
  readonly value: number | null;
  /** What `value` counts: "loss", "ratio", "learning rate", "steps". */
  readonly unit: string;
  /** Range of the earlier values, widened by half of it; null where there were fewer than four. */
  readonly usual: readonly [number, number] | null;
  readonly at: { readonly step: number | null; readonly batchStep: number | null };
}

/** Of the run's leading incident. */
export interface Cause {
  readonly trigger: Trigger;
  /** What had changed too and, put back alone, holds too. */
  readonly alsoTriggers: readonly Trigger[];
  readonly mechanism: Mechanism;
  /** First harmful step; null where none was found. */
  readonly step: number | null;
  /** First loss out of its band; null without an incident. */
  readonly onsetStep: number | null;
  /** `shown` by an experiment, `likely` by what was recorded; null where nothing is said. */
  readonly confidence: 'shown' | 'likely' | null;
  readonly statement: string;
  /** What was used over what should have been, where the cause is a factor; a report of 2.x does not tell it. */
  readonly factor?: number | null;
  /** The known failure that the log shows, by the id of its page; left out where it shows none, and in a report of 2.x. */
  readonly failure?: string;
  readonly evidence: readonly CauseEvidence[];
}

export const REMEDY_ACTIONS = [
  'clip',
  'skip-batches',
  'skip-rows',
  'lower-learning-rate',
  'lower-weight-decay',
  'restore-optimizer-state',
  'restore-schedule',
  'rewind',
  'reload-weights',
  'replace-device',
  'fix-code',
  'fix-data',
  'fix-evaluation',
  'raise-precision',
  'none-needed',
] as const;
export type RemedyAction = (typeof REMEDY_ACTIONS)[number];

/** How an arm ended on the reference batches, against the level before. */
export const ARM_OUTCOMES = ['holds', 'hurt', 'lost', 'frozen'] as const;
export type ArmOutcome = (typeof ARM_OUTCOMES)[number];

/** Of a try whose `outcome` is not known for one reason: it holds every update back. Part of its `statement`. */
export const LEARNS_SLOWER = 'it is not harmed, but learns too slowly to come down to where the run broke';

export interface Remedy {
  readonly action: RemedyAction;
  /** As `--rule` takes it; null where no rule is part of it. */
  readonly rule: string | null;
  /** Inclusive. */
  readonly skipSteps: readonly [number, number] | null;
  /** Of `skip-rows` alone; a report of 2.x has none. */
  readonly skipRows?: readonly SkippedRows[] | null;
  /** Against the rate of the trigger's step. */
  readonly learningRateFactor: number | null;
  readonly learningRate: number | null;
  /** Times the weight decay of every group; of `lower-weight-decay` alone. */
  readonly weightDecayFactor?: number;
  /** The state to go on from, and the newest whole file at or before it. */
  readonly from: { readonly step: number; readonly path: string | null } | null;
  readonly tried: 'closed-loop' | 'recorded' | null;
  /** null where it was not tried, or the capture goes on for too short to tell, or it learns too slowly to tell. */
  readonly holds: boolean | null;
  readonly outcome: ArmOutcome | null;
  /** Median of the last ten losses on the reference batches, with it and without. */
  readonly finalLoss: number | null;
  readonly finalLossWithout: number | null;
  /** Share of the steps before the incident that it changes, times how hard: 0 none, 1 all of every step. */
  readonly interference: number;
  readonly perturbations: { readonly tried: number; readonly held: number };
  readonly statement: string;
  /** A line for the user's own training script; null where there is none. */
  readonly paste: string | null;
}

/** Whether a remedy takes back what changed, and not what it did. */
export const takesBack = (
  { action, learningRate }: Pick<Remedy, 'action' | 'learningRate'>,
  trigger: Trigger,
): boolean =>
  (trigger === 'data' && (action === 'skip-batches' || action === 'skip-rows' || action === 'fix-data')) ||
  (trigger === 'order' && action === 'fix-data') ||
  (trigger === 'code' && action === 'fix-code') ||
  (trigger === 'hardware' && (action === 'reload-weights' || action === 'replace-device')) ||
  (trigger === 'evaluation' && action === 'fix-evaluation') ||
  (trigger === 'learning-rate' && action === 'restore-schedule') ||
  // A rate of its own is that of before the change; a factor is a lower one.
  (trigger === 'learning-rate' && action === 'lower-learning-rate' && learningRate !== null) ||
  (trigger === 'weight-decay' && action === 'lower-weight-decay') ||
  (trigger === 'optimizer-state' && action === 'restore-optimizer-state') ||
  (trigger === 'precision' && action === 'raise-precision');
