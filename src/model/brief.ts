/** The answer of a report in a kilobyte, for a program, an agent or an alert. A selection from a report, never a second judgement. */
import type { GateResult } from './gate.ts';
import type { Proofs } from './proofs.ts';
import type { VerdictClass } from './report.ts';
import type { StepUnit } from './run.ts';

/** Largest size of the answer as text, in bytes of UTF-8 with its last line break. */
export const BRIEF_BYTES = 1024;
/** Runs that are named, at most. */
export const BRIEF_RUNS = 5;

/** A run that is not well. */
export interface BriefRun {
  readonly run: string;
  readonly class: VerdictClass;
  readonly title: string;
}

export interface Brief {
  /** Class of the worst run's verdict. */
  readonly verdict: VerdictClass;
  /** The run that the answer is about: the worst one; null where none was judged. */
  readonly run: string | null;
  readonly stepUnit: StepUnit;
  readonly onsetStep: number | null;
  readonly recoveredStep: number | null;
  /** The first line of the page: `DIVERGED at step 400`. */
  readonly title: string;
  /** What the loss did. */
  readonly change: string;
  /** Name, number of points, steps. */
  readonly facts: string;
  /** The finding or the trigger of the cause, in words, with its confidence; null where none was looked for. */
  readonly why: string | null;
  readonly confidence: 'shown' | 'likely' | null;
  /** What to do; null where there is nothing to say. */
  readonly fix: string | null;
  /** A line to paste into the training program. */
  readonly code: string | null;
  /** What the verdict rests on; null of a report that does not tell it, and where no run was judged. */
  readonly proofs: Proofs | null;
  /** How many runs there are, how many are bad or doubtful, and the first of these. */
  readonly runs: {
    readonly total: number;
    readonly bad: number;
    readonly doubtful: number;
    readonly worst: readonly BriefRun[];
  };
  /** What a policy says, where one was judged. */
  readonly gate: {
    readonly passed: boolean;
    readonly exitCode: GateResult['exitCode'];
    /** Rules and problems that keep it from passing, each once. */
    readonly failed: readonly string[];
  } | null;
  /** A second finding, and what was not read; null where there is neither. */
  readonly also: string | null;
  readonly beware: string | null;
  /** A command that shows more. */
  readonly next: string;
}
