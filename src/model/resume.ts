/** Whether a training may be resumed from a checkpoint: what was looked at, and how it went. */
import type { AuditOutcome } from './audit.ts';

export const RESUME_CHECKS = [
  'whole',
  'one-step',
  'finite',
  'optimizer-state',
  'optimizer-of-model',
  'scheduler',
  'scaler',
  'random-state',
  'data-position',
  'loss',
] as const;
export type ResumeCheckId = (typeof RESUME_CHECKS)[number];

export interface ResumeCheck {
  readonly id: ResumeCheckId;
  /** `broken`: do not resume; `cannot-tell`: nothing was recorded that would tell; `not-applicable`: the run had none. */
  readonly outcome: AuditOutcome;
  /** One sentence; it may hold names from the checkpoint, which are untrusted text. */
  readonly statement: string;
}

export interface Resume {
  /** Null where the checkpoint holds no weights that could be looked at. */
  readonly ok: boolean | null;
  /** The file or folder that was judged. */
  readonly checkpoint: string;
  readonly checks: readonly ResumeCheck[];
  /** The newest checkpoint of the run that passes; null where none does. */
  readonly newestGood: string | null;
}
