/** What a hypothesis is: one change of the declared step that may explain the recorded weights. One file in this folder each. */

import type { AuditCause } from '../../../model/audit.ts';
import type { Capture } from '../../../read/captures/read.ts';
import type { RecordedSetup } from '../../replay/from-capture.ts';
import type { DeclaredClip } from '../declared.ts';
import type { Course, Trace } from '../simulate.ts';
import type { Survey } from '../survey.ts';

/** What the hypotheses are tried on. */
export interface Case {
  readonly capture: Capture;
  readonly setup: RecordedSetup;
  readonly clip: DeclaredClip | null;
  readonly survey: Survey;
  readonly declared: Course;
  /** Of the tensors that do not follow the declared course, and a few entries of each for searches. */
  readonly traces: readonly Trace[];
  readonly few: readonly Trace[];
  /** Of all tensors. */
  readonly all: readonly Trace[];
  /** Positions of the first snapshot that is missed, and of the one before it or of the step at which a change is tried to begin. */
  readonly from: number;
  readonly to: number;
}

export interface Candidate {
  readonly cause: AuditCause;
  /** Used over declared; null where no factor describes it. */
  readonly factor: number | null;
  readonly course: Course;
  /** It happened at one step, so that only the first missed snapshot has to follow. */
  readonly event: boolean;
  /** It changes every tensor, so that all have to follow. */
  readonly global: boolean;
  /** Position of the step at which it happened; null where it holds throughout. */
  readonly at: number | null;
  /** Share of the entries that may deviate: a number halfway between two narrow ones is rounded either way. */
  readonly mayMiss?: number;
  /** The record shows the effect and not whether it is this: never `shown`. */
  readonly isGuess?: true;
  /** What happened, as a sentence without its proof, and what to change. */
  readonly statement: string;
  readonly fix: string;
}

export type Hypothesis = (one: Case) => readonly Candidate[];

/** A factor closer to 1 than this is the declared course. */
export const NO_FACTOR = 1e-4;

/** A factor as text, with the simple number that it equals: "0.7071 (1/√2)". */
export function factorWords(factor: number): string {
  const number = Number(factor.toPrecision(4));
  for (let n = 2; n <= 4096; n++) {
    for (const [value, text] of [
      [n, `${n}`],
      [1 / n, `1/${n}`],
      [Math.sqrt(n), `√${n}`],
      [1 / Math.sqrt(n), `1/√${n}`],
    ] as const)
      if (Math.abs(factor / value - 1) < 2e-4) return text === String(number) ? text : `${number} (${text})`;
    if (n > 64 && factor < 64 && factor > 1 / 64) break;
  }
  return String(number);
}
