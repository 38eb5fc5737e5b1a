/** What a known failure is: one file in this folder and one line in registry.ts. */
import type { CauseEvidence, Remedy, Trigger } from '../../model/cause.ts';
import type { LogEvidence } from './log-evidence.ts';

/** A failure that the log shows. */
export interface FoundFailure {
  readonly trigger: Trigger;
  /** `likely` where the log speaks for one cause and against the usual others; null where it leaves the cause open. */
  readonly confidence: 'likely' | null;
  /** First harmful step; null where the log shows no such step. */
  readonly step: number | null;
  /** What was used over what should have been, where the cause is a factor. */
  readonly factor?: number;
  /** The cause as a short clause, where it is likely: "one batch broke it". */
  readonly lead?: string;
  /** Why: clauses separated by "; ", each of which a page makes a sentence. */
  readonly statement: string;
  readonly evidence: readonly CauseEvidence[];
  /** What to do, with the command or the look that confirms the cause; clauses as in `statement`. */
  readonly remedy: { readonly action: Remedy['action']; readonly statement: string } & Partial<Remedy>;
}

export interface KnownFailure {
  /** Name of its page. */
  readonly id: string;
  readonly title: string;
  /** Words that a user searches for, in lower case: `explain` finds the page by them. */
  readonly symptoms: readonly string[];
  readonly docs: {
    readonly summary: string;
    /** What of the log speaks for it, with every number of ours. */
    readonly evidence: string;
    /** What looks alike and is not it. */
    readonly notThis: string;
    /** What to do, and what confirms or refutes it. */
    readonly whatToDo: string;
  };
  /** Pure. Null where the log does not show this failure. Defined on any number of points. */
  look(log: LogEvidence): FoundFailure | null;
}
