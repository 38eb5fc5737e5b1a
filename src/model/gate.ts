/** The result of a gate: a policy judged on a report. */
import type { Severity } from './finding.ts';
import type { SourceRef } from './source-ref.ts';

export const RULE_STATUSES = ['pass', 'fail', 'inconclusive'] as const;
export type RuleStatus = (typeof RULE_STATUSES)[number];

/** One rule, judged on one run (or on one group of seeds). */
export interface GateRule {
  /** As in the config: a detector, a class of verdict, a threshold, `baseline` or `expect.steps`. Untrusted text. */
  readonly id: string;
  /** Run, or the pattern of a group of seeds. */
  readonly run: string;
  readonly severity: Severity;
  /** Holds, on complete data: exactly `status === 'pass'`. */
  readonly passed: boolean;
  readonly status: RuleStatus;
  readonly expected: string;
  /** What was compared; null where there was nothing to compare. */
  readonly found: number | null;
  readonly series: string | null;
  readonly step: number | null;
  readonly message: string;
  readonly locations: readonly SourceRef[];
}

/** Why a gate cannot pass, whatever its rules say. */
export interface GateProblem {
  /** 3: an input is damaged; 4: what is there does not suffice for a judgement. */
  readonly exitCode: 3 | 4;
  readonly id: string;
  readonly run: string | null;
  readonly message: string;
}

export interface GateResult {
  /** Every rule was judged on complete data and none of severity `error` failed: exactly `exitCode === 0`. */
  readonly passed: boolean;
  /** 0 passed, 1 failed, 3 damaged input, 4 inconclusive. */
  readonly exitCode: 0 | 1 | 3 | 4;
  readonly rules: readonly GateRule[];
  readonly problems: readonly GateProblem[];
  /** Rules that were left out because the config says `missing: skip` or `warn`, with the reason. */
  readonly skipped: readonly {
    readonly id: string;
    readonly run: string;
    readonly severity: 'note' | 'warning';
    readonly reason: string;
  }[];
}
