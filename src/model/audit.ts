/** Whether each recorded step did what its code declares: one entry a link of the chain from batch to weights. */

export const AUDIT_LINKS = [
  'batch',
  'mode',
  'loss',
  'gradient',
  'accumulation',
  'unscale',
  'clip',
  'optimizer',
  'weights',
  'between',
  'ranks',
] as const;
export type AuditLinkName = (typeof AUDIT_LINKS)[number];

export const AUDIT_OUTCOMES = ['holds', 'broken', 'cannot-tell', 'not-applicable'] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

/** What broke a link. */
export const AUDIT_CAUSES = [
  'no-zero-grad',
  'eval-mode',
  'repeated-batch',
  'constant-input',
  'not-divided',
  'divided-twice',
  'clip-inactive',
  'clip-norm-factor',
  'clip-before-unscale',
  'rate-factor',
  'rate-restarted',
  'decay-kind',
  'decay-factor',
  'state-fresh',
  'state-stale',
  'state-of-other',
  'rounded',
  'entries-changed',
  'all-scaled',
  'weights-replaced',
  'options-changed',
  'not-in-optimizer',
  'twice-in-optimizer',
  'dead-tensor',
  'detached',
  'lone-gradient',
  'ranks-apart',
  'same-data-on-ranks',
  'order-repeated',
  'loss-changed',
  'gradient-not-of-loss',
  'unknown',
] as const;
export type AuditCause = (typeof AUDIT_CAUSES)[number];

export interface AuditLink {
  readonly id: string;
  readonly link: AuditLinkName;
  readonly outcome: AuditOutcome;
  /** Comparisons that were made, and those that failed. */
  readonly checks: number;
  readonly broken: number;
  /** Where it broke first; null where it did not, or where it has no step or tensor. */
  readonly step: number | null;
  readonly tensor: string | null;
  readonly index: readonly number[] | null;
  readonly cause: AuditCause | null;
  /** What was used over what was declared: 2 for a doubled learning rate. */
  readonly factor: number | null;
  /** How far the record is from what the cause predicts, and from what the code declares, in tolerances. */
  readonly residual: number | null;
  readonly residualDeclared: number | null;
  /** `shown` where this cause alone explains the record; null where nothing is said. */
  readonly confidence: 'shown' | 'likely' | null;
  readonly statement: string;
  /** The line to change; null where no line is known. */
  readonly fix: string | null;
  /** The recording that would decide; null where the outcome is decided. */
  readonly wouldTell: string | null;
  /** Id of an earlier link whose fault breaks this one too; null otherwise. */
  readonly follows: string | null;
}

export interface Audit {
  /** Broken ones first. */
  readonly links: readonly AuditLink[];
  readonly checks: number;
  readonly broken: number;
}

/** The broken links that no other one explains, in the order of the chain. */
export const brokenLinks = ({ links }: Audit): readonly AuditLink[] =>
  links.filter(({ outcome, follows }) => outcome === 'broken' && follows === null);
